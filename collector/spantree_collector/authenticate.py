"""Whose spans a request brings: the tenant of its token, never of anything else that a client may choose.

Where no token was ever made, everything is the default tenant's, on a loopback address; beyond it nothing is taken
unless SPANTREE_INSECURE says so. While PostgreSQL is away the tokens that were known last go on to be good.
"""

from __future__ import annotations

import time
from typing import Final

from spantree_collector.status import Forbidden, Overloaded, Unauthenticated
from spantree_exporter.tokens import Identity, KnownTokens, Watch, bearer_of

_MADE_BY: Final = '"spantree token create --scope ingest" makes one'


class _NoTokens:
    known: KnownTokens | None = KnownTokens()

    def used(self, identity: Identity) -> None:
        """Nothing to note."""


NO_TOKENS: Final = _NoTokens()
"""What is known where nobody has ever made a token."""


class Authenticator:
    """Tells who sends. Any thread may use it."""

    def __init__(self, watch: Watch, *, anonymous: bool) -> None:
        """`anonymous`: everybody may send while there has never been a token."""
        self._watch = watch
        self._anonymous = anonymous

    def sender(self, authorization: str | None) -> Identity:
        """Who sends, by the header of that name. Raises Unauthenticated, Forbidden, or Overloaded: try again."""
        known = self._watch.known
        if known is None:
            if not self._anonymous:
                raise Overloaded("PostgreSQL has not said yet which tokens there are; send it again a little later")
            # Nobody but this machine can send, and no token was known when PostgreSQL was last there.
            known = KnownTokens()
        if not known.required and not self._anonymous:
            raise Forbidden(f"no token has been made, and this collector listens beyond its own machine: {_MADE_BY}")
        token = bearer_of(authorization)
        identity = known.identity_of(token, time.time_ns())
        if identity is None and token is None:
            raise Unauthenticated(f"a token is wanted: send the header authorization: Bearer TOKEN; {_MADE_BY}")
        if identity is None:
            raise Unauthenticated(f"the token is unknown, out of date or revoked; {_MADE_BY}")
        self._watch.used(identity)
        if not identity.may("ingest"):
            raise Forbidden(f"the token is one of scope {identity.scope}, which does not send; {_MADE_BY}")
        return identity
