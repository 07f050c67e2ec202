"""Whose spans a request brings: the tenant of its token, never of anything else that a client may choose.

Where no token was ever made, everything is the default tenant's, on a loopback address; beyond it nothing is taken
unless SPANTREE_INSECURE says so. While PostgreSQL is away the tokens that were known last go on to be good.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from spantree_collector.receive.status import Forbidden, Overloaded, Unauthenticated
from spantree_exporter.tokens import ANYONE, DEFAULT_TENANT, Identity, KnownTokens, Watch, bearer_of

_MADE_BY: Final = '"spantree token create --scope ingest" makes one'


class _NoTokens:
    known: KnownTokens | None = KnownTokens()
    failure = ""

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
            raise Forbidden(f"the token is one of scope {identity.scope}, which does not send; {_MADE_BY}", identity)
        return identity

    @property
    def tenants(self) -> Mapping[str, int]:
        """The tenants that there are, by name."""
        known = self._watch.known
        return {ANYONE.tenant: ANYONE.tenant_id} if known is None or not known.tenants else known.tenants

    @property
    def has_many_senders(self) -> bool:
        """Whether more than one tenant has a token that sends."""
        known = self._watch.known
        return known is not None and known.many_senders

    def may_see_all(self, authorization: str | None) -> bool:
        """Whether it is somebody who may know of every tenant: by a token of the default one that reads, or by none.

        Without any as long as there has never been a token, and so there is one tenant, and only from this machine.
        """
        known = self._watch.known or KnownTokens()
        if not known.required:
            return self._anonymous
        identity = known.identity_of(bearer_of(authorization), time.time_ns())
        return identity is not None and identity.tenant_id == DEFAULT_TENANT and identity.may("read")
