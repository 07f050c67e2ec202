"""A browser shows its token once and then has it in a cookie that no script can read."""

from __future__ import annotations

import time
from html import escape
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from spantree_api.authentication import COOKIE, LOGIN_PATH
from spantree_exporter.tokens import KnownTokens

router = APIRouter(include_in_schema=False)

_KEPT_S: Final = 30 * 86_400
_CSP: Final = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>spantree: log in</title></head>
<body>
<main>
<h1>spantree</h1>
<p>{said}</p>
<form method="post" action="/login">
<p><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required></p>
<p><button>Log in</button></p>
</form>
<p>A token is made by <code>spantree token create --scope read</code>.</p>
</main>
</body>
</html>
"""


@router.get(LOGIN_PATH)
async def ask() -> Response:
    """The form."""
    return _page(200, "Show your token to go on.")


@router.post(LOGIN_PATH)
async def log_in(request: Request) -> Response:
    """Keep the token in a cookie where it is a good one."""
    fields = parse_qs((await request.body()).decode("latin-1"), max_num_fields=5)
    token = fields.get("token", [""])[0].strip()
    known: KnownTokens | None = request.app.state.tokens.known
    identity = known.identity_of(token, time.time_ns()) if known is not None and token else None
    if identity is None or not identity.may("read"):
        return _page(401, "That token is not known, out of date, revoked or not one for reading.")
    response = Response(status_code=303, headers={"location": "/", "cache-control": "no-store"})
    response.set_cookie(
        COOKIE, token, max_age=_KEPT_S, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return response


@router.post("/logout")
async def log_out() -> Response:
    """Forget the token here; it stays good elsewhere."""
    response = Response(status_code=303, headers={"location": LOGIN_PATH, "cache-control": "no-store"})
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _page(status: int, said: str) -> Response:
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": _CSP,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    return Response(_PAGE.format(said=escape(said)), status, headers)
