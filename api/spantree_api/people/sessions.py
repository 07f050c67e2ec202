"""Signed cookies: who has logged in, and a log-in that is under way. Nothing of them is kept here but which have ended.

Whoever has the key can be anybody, so it is random, or made of the client's secret, and never leaves the server.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from itsdangerous import BadSignature, URLSafeTimedSerializer

_LOGIN_S: Final = 600
_ENDED_MAX: Final = 10_000
_LONGEST: Final = 4_000


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has logged in; `values` are the roles that the provider told."""

    subject: str
    name: str
    values: tuple[str, ...]
    session_id: str


@dataclass(frozen=True, slots=True)
class Login:
    """What a browser that was sent to the provider has to bring back."""

    state: str
    nonce: str
    verifier: str
    path: str


class Sessions:
    """Makes and reads the cookies' values. Within one event loop."""

    def __init__(self, key: str, lasts_s: float) -> None:
        self.lasts_s = int(lasts_s)
        self._sessions = _serializer(key, "session")
        self._logins = _serializer(key, "login")
        self._ended: dict[str, float] = {}

    def session_cookie(self, subject: str, name: str, values: tuple[str, ...]) -> str:
        """For a new session. Raises ValueError where a browser would not keep it."""
        session_id = secrets.token_urlsafe(12)
        cookie = self._sessions.dumps({"s": subject, "n": name[:100], "r": list(values), "i": session_id})
        if len(cookie) > _LONGEST:
            raise ValueError("the names of this person and its roles are too long for a cookie")
        return str(cookie)

    def session_of(self, cookie: str) -> Session | None:
        """None where it is forged, too old, or was ended here."""
        content = self._read(self._sessions, cookie, self.lasts_s)
        if content is None or content["i"] in self._ended:
            return None
        return Session(content["s"], content["n"], tuple(content["r"]), content["i"])

    def end(self, session: Session) -> None:
        """Refuse it from now on, in this process; the browser has been told to forget it."""
        now_s = time.monotonic()
        while self._ended and (len(self._ended) >= _ENDED_MAX or next(iter(self._ended.values())) < now_s):
            del self._ended[next(iter(self._ended))]
        self._ended[session.session_id] = now_s + self.lasts_s

    def login_cookie(self, login: Login) -> str:
        """For a log-in that begins."""
        content = {"s": login.state, "n": login.nonce, "v": login.verifier, "p": login.path}
        return str(self._logins.dumps(content))

    def login_of(self, cookie: str) -> Login | None:
        """None where it is forged or more than ten minutes old."""
        content = self._read(self._logins, cookie, _LOGIN_S)
        return None if content is None else Login(content["s"], content["n"], content["v"], content["p"])

    def _read(self, serializer: URLSafeTimedSerializer, cookie: str, lasts_s: int) -> Mapping[str, Any] | None:
        if len(cookie) > _LONGEST:
            return None
        try:
            content: Mapping[str, Any] = serializer.loads(cookie, max_age=lasts_s)
        except BadSignature:  # SignatureExpired among them
            return None
        return content


def key_of(session_key: str, client_secret: str) -> str:
    """What cookies are signed with: the key of the settings, else one made of the client's secret, else a random one.

    The first two are the same for every API process and after a restart.
    """
    if session_key:
        return session_key
    if client_secret:
        return hmac.new(client_secret.encode(), b"spantree sessions", hashlib.sha256).hexdigest()
    return secrets.token_hex(32)


def _serializer(key: str, what: str) -> URLSafeTimedSerializer:
    # The salt keeps a log-in's cookie from being taken for a session's.
    signer = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return URLSafeTimedSerializer(key, salt=f"spantree.{what}", signer_kwargs=signer)
