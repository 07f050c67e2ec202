"""A provider of OpenID Connect: where it is, what it signs with, who it says has logged in.

OpenID Connect Core 1.0 (3.1, authorization code flow) with PKCE (RFC 7636); Discovery 1.0; RP-Initiated Logout 1.0.
What is signed is believed only by the keys that the provider publishes, by asymmetric algorithms, for us and in time.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import ClaimError, JoseError
from joserfc.jwk import KeySet

from spantree_api.errors import Unavailable
from spantree_api.people.roles import values_of
from spantree_api.people.settings import OidcSettings, is_safe
from spantree_exporter.stored import NUL_SIGN

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signed by a key that only the provider has; none and HMAC, whose key we have too, are not."""
_TIMEOUT_S: Final = 10.0
_METADATA_S: Final = 3_600.0
# Who sends tokens of unknown keys must not make us ask for keys each time.
_KEYS_AGAIN_S: Final = 10.0
# One that the provider takes away, because somebody else has it, is good for so long at most while it answers.
_KEYS_S: Final = 600.0
_KEYS_TRIED_AGAIN_S: Final = 60.0
_AGAIN_S: Final = 2.0
_LEEWAY_S: Final = 60
_MOST_BYTES: Final = 2**20
_LONGEST_TOKEN: Final = 16_384
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_KEY_TYPES: Final = frozenset({"RSA", "EC", "OKP"})
# What is no token at all: a head of unforeseen types is answered by TypeError.
_NO_TOKEN: Final = (JoseError, ValueError, TypeError)


class LoginRefused(Exception):
    """What the provider sent is no proof of anybody; the sentence is for the person's eyes and tells no secret."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who has logged in, and the values of the claim that roles are found by."""

    subject: str
    name: str
    values: tuple[str, ...]


class Provider:
    """Asks one provider. Made and used within one event loop."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()
        self._metadata: Mapping[str, Any] | None = None
        self._metadata_at_s = 0.0
        self._keys: KeySet | None = None
        self._keys_at_s = float("-inf")
        self._keys_tried_s = float("-inf")
        self._failure: tuple[float, Unavailable] | None = None

    @property
    def issuer(self) -> str:
        """What it calls itself."""
        return self._settings.issuer

    async def authorization_url(self, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser is sent. Raises Unavailable."""
        metadata = await self._known()
        # Made by hand: anybody asks for it, and a client is more than an address takes.
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._settings.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return _with_query(metadata["authorization_endpoint"], asked)

    async def person(self, code: str, redirect_uri: str, nonce: str, verifier: str) -> Person:
        """Who has logged in, by the code that the provider gave the browser. Raises LoginRefused, Unavailable."""
        metadata = await self._known()
        async with self._client(redirect_uri) as client:
            try:
                answer = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=verifier, grant_type="authorization_code"
                )
            except (AuthlibBaseError, ValueError) as error:
                raise LoginRefused("the provider does not take the code of this log-in") from error
            except Exception as error:
                # By which library Authlib asks is its own affair, and so are the errors: httpx or httpx2.
                if _is_refusal(error):
                    raise LoginRefused("the provider does not take the code of this log-in") from error
                raise self._away(error) from error
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise LoginRefused("the provider sent no ID token")
        claims = await self._claims(token, self._settings.client_id, nonce)
        if claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise LoginRefused("the ID token was issued to another client")
        if self._settings.roles_claim not in claims and metadata.get("userinfo_endpoint"):
            told = await self._user_info(metadata["userinfo_endpoint"], str(answer.get("access_token", "")))
            # Core 5.3.2: what is of another subject must not be used.
            if told.get("sub") == claims["sub"]:
                claims = {**told, **claims}
        return self._person(claims)

    async def person_of_bearer(self, token: str) -> Person:
        """Who an access token is of (a JWT, RFC 9068) that was issued for us. Raises LoginRefused, Unavailable."""
        if not self._settings.audience:
            raise LoginRefused("no access tokens of the provider are taken here")
        return self._person(await self._claims(token, self._settings.audience, None))

    async def end_session_url(self, back_to: str) -> str | None:
        """Where one logs out at the provider, None where it has no such place or cannot be asked."""
        try:
            endpoint = (await self._known()).get("end_session_endpoint")
        except Unavailable:
            return None
        if not isinstance(endpoint, str) or not is_safe(endpoint):
            return None
        return _with_query(endpoint, {"client_id": self._settings.client_id, "post_logout_redirect_uri": back_to})

    def _client(self, redirect_uri: str) -> Any:
        return AsyncOAuth2Client(
            self._settings.client_id,
            self._settings.client_secret or None,
            scope=self._settings.scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
            verify=_authorities(),
        )

    def _person(self, claims: Mapping[str, Any]) -> Person:
        subject = claims["sub"]
        # Who is written otherwise in our rows than by the provider could be taken for somebody else.
        if not isinstance(subject, str) or not 0 < len(subject) <= 255 or _whole(subject) != subject:
            raise LoginRefused("the token names nobody")
        named = (claims.get(claim) for claim in ("preferred_username", "email", "name"))
        name = next((one for one in named if isinstance(one, str) and one), subject)
        return Person(subject, _whole(name)[:100], values_of(claims.get(self._settings.roles_claim)))

    async def _claims(self, token: str, audience: str, nonce: str | None) -> Mapping[str, Any]:
        """The claims of a token, once its signature and they are found good."""
        if len(token) > _LONGEST_TOKEN:
            raise LoginRefused("the token is longer than any that a provider makes")
        wanted: dict[str, Any] = {
            "iss": {"essential": True, "value": self._settings.issuer},
            "aud": {"essential": True, "value": audience},
            "sub": {"essential": True},
            "exp": {"essential": True},
            "iat": {"essential": True},
        }
        if nonce is not None:
            wanted["nonce"] = {"essential": True, "value": nonce}
        try:
            claims = await self._signed(token)
            jwt.JWTClaimsRegistry(leeway=_LEEWAY_S, **wanted).validate(claims)
        except ClaimError as error:
            raise LoginRefused(f"the token's claim {error.claim} is not as it has to be") from error
        except _NO_TOKEN as error:
            raise LoginRefused("the token is not signed by the provider, in a way that is taken") from error
        return claims

    async def _signed(self, token: str) -> dict[str, Any]:
        """Raises one of _NO_TOKEN, Unavailable."""
        keys = await self._believed_keys()
        try:
            return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)
        except _NO_TOKEN:
            # The provider may sign with a key that is newer than those that we know.
            if self._clock() - self._keys_at_s < _KEYS_AGAIN_S:
                raise
        keys = await self._fetched_keys()
        return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)

    async def _believed_keys(self) -> KeySet:
        """The provider's keys of the last minutes; those of before while it cannot be asked. Raises Unavailable."""
        now_s = self._clock()
        if self._keys is None:
            return await self._fetched_keys()
        if now_s - self._keys_at_s >= _KEYS_S and now_s - self._keys_tried_s >= _KEYS_TRIED_AGAIN_S:
            self._keys_tried_s = now_s
            with suppress(Unavailable):
                return await self._fetched_keys()
        return self._keys

    async def _fetched_keys(self) -> KeySet:
        began_s = self._clock()
        metadata = await self._known()
        async with self._lock:
            if self._keys is not None and self._keys_at_s >= began_s:
                return self._keys  # another request has asked meanwhile
            found = await self._asked(metadata["jwks_uri"])
            keys = found.get("keys")
            usable = [
                key
                for key in (keys if isinstance(keys, list) else [])
                if isinstance(key, dict) and key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"
            ]
            try:
                self._keys = KeySet.import_key_set({"keys": usable})
            except (JoseError, ValueError, TypeError, KeyError) as error:
                raise self._away(error) from error
            self._keys_at_s = self._clock()
            return self._keys

    async def _known(self) -> Mapping[str, Any]:
        """What the provider says of itself, at most an hour old. Raises Unavailable."""
        if self._metadata is not None and self._clock() - self._metadata_at_s < _METADATA_S:
            return self._metadata
        async with self._lock:
            if self._metadata is None or self._clock() - self._metadata_at_s >= _METADATA_S:
                url = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                try:
                    metadata = await self._asked(url)
                    self._check(metadata)
                except Unavailable:
                    if self._metadata is None:
                        raise
                    return self._metadata  # of before; it is asked again by the next one
                self._metadata, self._metadata_at_s = metadata, self._clock()
            return self._metadata

    def _check(self, metadata: Mapping[str, Any]) -> None:
        # Discovery 4.3: exactly, or another provider could speak for this one.
        if metadata.get("issuer") != self._settings.issuer:
            raise self._away(f"it calls itself {str(metadata.get('issuer'))[:100]!r}")
        for name in _ENDPOINTS:
            url = metadata.get(name)
            if not isinstance(url, str) or not is_safe(url):
                raise self._away(f"its {name} is no https URL")

    async def _asked(self, url: str) -> Mapping[str, Any]:
        """What stands there; while the provider does not answer it is not asked by everybody who waits."""
        if self._failure is not None and self._clock() - self._failure[0] < _AGAIN_S:
            raise self._failure[1]
        try:
            return await self._json(url)
        except Unavailable as error:
            self._failure = (self._clock(), error)
            raise

    async def _user_info(self, url: str, access_token: str) -> Mapping[str, Any]:
        if not is_safe(url):
            return {}
        return await self._json(url, {"authorization": f"Bearer {access_token}"})

    async def _json(self, url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        try:
            # httpx's is a limit for each part of an answer: one that comes byte by byte would hold whoever waits.
            async with (
                asyncio.timeout(_TIMEOUT_S),
                httpx.AsyncClient(timeout=_TIMEOUT_S, verify=_authorities()) as client,
                client.stream("GET", url, headers=headers) as got,
            ):
                got.raise_for_status()
                body = b""
                async for part in got.aiter_bytes():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise self._away(f"{url} answers more than {_MOST_BYTES} bytes")
            found = json.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
            raise self._away(error) from error
        if not isinstance(found, dict):
            raise self._away(f"{url} answers no JSON object")
        return found

    def _away(self, reason: object) -> Unavailable:
        shown = str(reason) or type(reason).__name__
        return Unavailable(
            "provider_unavailable", f"the provider {self._settings.issuer} cannot be asked who you are: {shown[:200]}"
        )


@cache
def _authorities() -> ssl.SSLContext:
    """Whom to trust. Reading them takes 40 ms, in which nobody else is answered: once, and not for every log-in."""
    return httpx.create_ssl_context()


def _with_query(endpoint: str, query: Mapping[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


def _is_refusal(error: Exception) -> bool:
    """Whether it is of an answer that says that the request is a bad one."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return 400 <= status < 500


def _whole(text: str) -> str:
    """`text` as UTF-8 can hold it: JSON may name half of a surrogate pair, and NUL, which no row holds."""
    return text.replace("\x00", NUL_SIGN).encode("utf-8", "replace").decode()
