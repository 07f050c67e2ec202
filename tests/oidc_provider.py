"""A provider of OpenID Connect on 127.0.0.1: discovery, codes with PKCE, signed ID tokens, keys that change, log out.

What it signs can be spoilt (`spoil`), so that a test sees that nobody gets in by it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.waiting import wait_until

CLIENT_ID = "spantree"
CLIENT_SECRET = "a secret of the client's, with a space and a %"
Claims = dict[str, Any]


@dataclass
class _Code:
    redirect_uri: str
    nonce: str
    challenge: str
    claims: Claims


@dataclass
class Provider:
    """What it does can be changed between requests."""

    issuer: str = ""
    claims: Claims = field(default_factory=dict)
    """Of whoever logs in next; the provider asks no password."""
    spoil: Callable[[Claims], str | None] = lambda claims: None
    """Given the claims of an ID token, which it may change; a text is sent in place of the signed token."""
    user_info: Claims = field(default_factory=dict)
    is_away: bool = False
    token_answer: Callable[[], Response] | None = None
    """Answers in place of the tokens that a code is good for."""
    asked_for_keys: int = 0
    _keys: list[RSAKey | ECKey] = field(default_factory=list)
    _codes: dict[str, _Code] = field(default_factory=dict)

    def rotate(self, key: RSAKey | ECKey | None = None) -> None:
        """Sign with another key from now on; the one before is no longer published."""
        self._keys = [key or RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig"}, auto_kid=False)]

    def signed(self, claims: Claims, key: RSAKey | ECKey | None = None, **header: Any) -> str:
        """A JWT, by its own key unless another is given."""
        by = key or self._keys[0]
        algorithm = "ES256" if isinstance(by, ECKey) else "RS256"
        return str(jwt.encode({"alg": algorithm, "kid": by.kid, **header}, claims, by, algorithms=[algorithm]))

    def id_claims(self, **changes: Any) -> Claims:
        """Those of a good token, as it stands now."""
        now_s = int(time.time())
        good = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now_s, "exp": now_s + 300, **self.claims}
        return good | changes

    def signed_text(self, content: str, **header: Any) -> str:
        """A JWS of any text, by its own key."""
        by = self._keys[0]
        protected = {"alg": "ES256" if isinstance(by, ECKey) else "RS256", "kid": by.kid, **header}
        return jws.serialize_compact(protected, content, by, algorithms=[protected["alg"]])

    async def metadata(self, request: Request) -> Response:
        if self.is_away:
            return Response("away", 503)
        endpoints = {
            "authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys",
            "userinfo_endpoint": "userinfo", "end_session_endpoint": "end?from=metadata",
        }  # fmt: skip
        found = {name: f"{self.issuer}/{path}" for name, path in endpoints.items()}
        return JSONResponse({"issuer": self.issuer, **found})

    async def authorize(self, request: Request) -> Response:
        asked = request.query_params
        wanted = {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256"}
        assert {name: asked.get(name) for name in wanted} == wanted
        assert "openid" in asked["scope"].split()
        if not self.claims:
            refusal = urlencode({"error": "access_denied", "state": asked["state"]})
            return RedirectResponse(f"{asked['redirect_uri']}?{refusal}")
        code = secrets.token_urlsafe(16)
        self._codes[code] = _Code(asked["redirect_uri"], asked["nonce"], asked["code_challenge"], dict(self.claims))
        query = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{query}")

    async def token(self, request: Request) -> Response:
        sent = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        shown = request.headers.get("authorization", "").removeprefix("Basic ")
        if base64.b64decode(shown).decode() != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return JSONResponse({"error": "invalid_client"}, 401)
        code = self._codes.pop(sent.get("code", ""), None)
        verifier = sent.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        if code is None or code.challenge != challenge or code.redirect_uri != sent.get("redirect_uri"):
            return JSONResponse({"error": "invalid_grant"}, 400)
        if self.token_answer is not None:
            return self.token_answer()
        claims = self.id_claims(**code.claims, nonce=code.nonce)
        instead = self.spoil(claims)
        return JSONResponse(
            {
                "access_token": "at",
                "token_type": "Bearer",
                "id_token": instead or self.signed(claims),
            },
            headers={"cache-control": "no-store"},
        )

    async def keys(self, request: Request) -> Response:
        if self.is_away:
            return Response("away", 503)
        self.asked_for_keys += 1
        return JSONResponse({"keys": [key.as_dict(private=False) for key in self._keys]})

    async def told(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer at"
        return JSONResponse(self.user_info)


@contextlib.contextmanager
def oidc_provider() -> Iterator[Provider]:
    """One that answers until the end of the block."""
    provider = Provider()
    provider.rotate()
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", provider.metadata),
            Route("/authorize", provider.authorize),
            Route("/token", provider.token, methods=["POST"]),
            Route("/keys", provider.keys),
            Route("/userinfo", provider.told),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, name="provider under test")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 20, "the provider has started")
        provider.issuer = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield provider
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def unsigned(claims: Claims) -> str:
    """A JWT of the algorithm "none"."""

    def part(content: Claims) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."
