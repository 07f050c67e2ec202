"""How a browser becomes somebody: at a provider of OpenID Connect, or by a token that it shows once. And who one is.

/login            the form, and the way to the provider
/login/oidc       begins a log-in there: state, nonce and PKCE's verifier go into a signed cookie of ten minutes
/login/callback   where the provider sends the browser back to: a session's cookie
/login/tenant     chooses among the tenants that one may see
/account          who one is, and the way out
/logout           forgets the browser here, and leads to where one logs out at the provider
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from html import escape
from typing import Final, Literal
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request, Response

from spantree_api.authentication import COOKIE, LOGIN_PATH, identity_of
from spantree_api.errors import Forbidden, NotFound, Unavailable
from spantree_api.http.path_prefix import with_prefix
from spantree_api.people.origin import comes_from_own_page, own_path
from spantree_api.people.people import SESSION_COOKIE, TENANT_COOKIE, Known, People, cookie_name, known_of
from spantree_exporter.tokens import Identity, KnownTokens

router = APIRouter(include_in_schema=False)

_KEPT_S: Final = 30 * 86_400
_LOGIN_S: Final = 600
_FIELDS_MAX: Final = 5
_LOGIN_COOKIE: Final = "spantree_login"
_CLIENT_ERROR: Final = 400
_LONGEST_CODE: Final = 4_096
_CSP: Final = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>spantree: {title}</title>{head}
</head>
<body>
<main>
<h1>spantree</h1>
{content}
</main>
</body>
</html>
"""
_FORM: Final = """<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<p><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required></p>
<p><button>Log in</button></p>
</form>
<p>A token is made by <code>spantree token create --scope read</code>.</p>"""


@router.get(LOGIN_PATH)
async def ask(request: Request) -> Response:
    """The form, and the way to the provider."""
    return _form(request, 200, "Log in to go on.", request.query_params.get("next"))


@router.post(LOGIN_PATH)
async def log_in(request: Request) -> Response:
    """Keep the token in a cookie where it is a good one."""
    _refuse_other_sites(request)
    fields = await _fields(request)
    token = fields.get("token", [""])[0].strip()
    path = own_path(fields.get("next", ["/"])[0])
    known: KnownTokens | None = request.app.state.tokens.known
    identity = known.identity_of(token, time.time_ns()) if known is not None and token else None
    if identity is None or not identity.may("read"):
        await request.app.state.authenticator.slow_down()
        return _form(request, 401, "That token is not known, out of date, revoked or not one for reading.", path)
    _told_as(request, identity)
    response = _led_to(path)
    _keep(request, response, COOKIE, token, _KEPT_S, "strict")
    return response


@router.get(f"{LOGIN_PATH}/oidc")
async def begin(request: Request) -> Response:
    """Send the browser to the provider."""
    from spantree_api.people.sessions import Login

    people = _people(request)
    if people.provider is None or people.sessions is None:
        raise NotFound("nobody logs in at a provider here: SPANTREE_API_OIDC_ISSUER names none")
    # A verifier has 43 to 128 characters (RFC 7636, 4.1).
    login = Login(
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(48),
        own_path(request.query_params.get("next")),
    )
    try:
        url = await people.provider.authorization_url(_callback(request), login.state, login.nonce, login.verifier)
    except Unavailable as error:
        return _form(request, 503, str(error), login.path)
    response = _led_to(url)
    # Lax: the browser comes back from another site.
    _keep(request, response, _LOGIN_COOKIE, people.sessions.login_cookie(login), _LOGIN_S, "lax")
    return response


@router.get(f"{LOGIN_PATH}/callback")
async def come_back(request: Request) -> Response:
    """Begin a session for whom the provider names."""
    people = _people(request)
    if people.provider is None or people.sessions is None:
        raise NotFound("nobody logs in at a provider here: SPANTREE_API_OIDC_ISSUER names none")
    response = await _session(request, people)
    if response.status_code >= _CLIENT_ERROR:
        _told_as(request, None)
    _forget(request, response, _LOGIN_COOKIE, "lax")
    return response


async def _session(request: Request, people: People) -> Response:
    from spantree_api.people.provider import LoginRefused

    assert people.provider is not None and people.sessions is not None  # noqa: S101
    count = request.app.state.metrics.logged_in
    answer = request.query_params
    cookie = _kept(request, _LOGIN_COOKIE)
    login = people.sessions.login_of(cookie) if cookie else None
    if login is None or not secrets.compare_digest(answer.get("state", "").encode(), login.state.encode()):
        count("refused")
        return _form(request, 400, "This log-in was not begun in this browser within ten minutes: begin again.", "/")
    code, told = answer.get("code", ""), answer.get("error", "")
    if told or not 0 < len(code) <= _LONGEST_CODE:
        count("refused")
        return _form(request, 401, f"The provider did not let you in: {told[:100] or 'it sent no code'}.", login.path)
    try:
        # RFC 9207: an answer that names another provider is not this one's.
        if answer.get("iss", people.provider.issuer) != people.provider.issuer:
            raise LoginRefused("the answer is another provider's")
        person = await people.provider.person(code, _callback(request), login.nonce, login.verifier)
        known = known_of(person)
        tenants = _tenants(request)
        _told_as(request, people.identity(known, tenants, None))
        value = people.sessions.session_cookie(person.subject, person.name, people.roles(known))
    except LoginRefused as error:
        count("refused")
        return _form(request, 401, f"You are not logged in: {error}.", login.path)
    except Unavailable as error:
        count("unavailable")
        return _form(request, 503, str(error), login.path)
    except (Forbidden, ValueError) as error:
        count("no_role")
        return _form(request, 403, f"You are not logged in: {error}.", login.path)
    count("ok")
    response = _led_to(login.path)
    _keep(request, response, SESSION_COOKIE, value, people.sessions.lasts_s, "lax")
    # Who logs in is that person and not a token of before.
    _forget(request, response, COOKIE, "strict")
    return response


@router.post(f"{LOGIN_PATH}/tenant")
async def choose(request: Request) -> Response:
    """Look at another tenant from now on, where that is allowed: each request asks anew."""
    _refuse_other_sites(request)
    fields = await _fields(request)
    response = _led_to(own_path(fields.get("next", ["/"])[0]))
    _keep(request, response, TENANT_COOKIE, quote(fields.get("tenant", [""])[0][:63]), _KEPT_S, "lax")
    return response


@router.get("/account")
async def account(request: Request) -> Response:
    """Who one is."""
    identity = identity_of(request.scope.get("state", {}))
    people = _people(request)
    if identity.person:
        told = f"You are <b>{escape(identity.person_name)}</b>"
    elif identity.token_id:
        told = f"You show the token <b>{escape(identity.token_id)}</b>"
    else:
        told = "Nobody has to log in here"
    lines = [f"<p>{told}: {escape(identity.scope)} of {escape(identity.tenant)}.</p>"]
    known: Known | None = request.scope.get("state", {}).get("known")
    grants = [] if known is None else people.grants(known, _tenants(request))
    others = [one for one in grants if one.tenant != identity.tenant]
    if others:
        buttons = " ".join(
            f'<button name="tenant" value="{escape(one.tenant)}">{escape(one.tenant)}: {one.scope}</button>'
            for one in others
        )
        lines.append(f'<form method="post" action="/login/tenant"><p>Look at {buttons}</p></form>')
    if identity.token_id or identity.person.startswith("oidc:"):
        lines.append('<form method="post" action="/logout"><p><button>Log out</button></p></form>')
    lines.append('<p><a href="/">Back</a></p>')
    return _page(request, 200, "account", "\n".join(lines))


def _told_as(request: Request, identity: Identity | None) -> None:
    """For the own audit: who has come or goes; None where somebody was not let in."""
    request.scope.setdefault("state", {})["refused" if identity is None else "identity"] = identity


def _who(request: Request) -> Identity | None:
    """Who the browser's cookies are of, None where nobody's."""
    people = _people(request)
    known = people.by_session(request.cookies, request.scope["scheme"])
    if known is not None:
        with suppress(Forbidden, Unavailable):
            return people.identity(known, _tenants(request), _kept(request, TENANT_COOKIE))
        return None
    tokens: KnownTokens | None = request.app.state.tokens.known
    return None if tokens is None else tokens.identity_of(_kept(request, COOKIE), time.time_ns())


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Forget who this browser is; a token stays good elsewhere."""
    _refuse_other_sites(request)
    people = _people(request)
    session = people.session(request.cookies, request.scope["scheme"])
    if (identity := _who(request)) is not None:
        _told_as(request, identity)
    elsewhere = None
    if session is not None and people.sessions is not None and people.provider is not None:
        people.sessions.end(session)
        elsewhere = await people.provider.end_session_url(f"{_base(request)}{LOGIN_PATH}")
    if elsewhere is None:
        response = _led_to(LOGIN_PATH)
    else:
        # By a page of its own: after a form's request browsers follow no way to a host that form-action does not name.
        link = escape(elsewhere, quote=True)
        response = _page(
            request,
            200,
            "logged out",
            f'<p>You are logged out here. <a href="{link}">Log out at the provider, too</a>.</p>',
            f'<meta http-equiv="refresh" content="0; url={link}">',
        )
    _forget(request, response, COOKIE, "strict")
    _forget(request, response, SESSION_COOKIE, "lax")
    _forget(request, response, TENANT_COOKIE, "lax")
    return response


def _kept(request: Request, name: str) -> str:
    return request.cookies.get(cookie_name(name, request.scope["scheme"]), "")


def _keep(
    request: Request, response: Response, name: str, value: str, lasts_s: int, samesite: Literal["lax", "strict"]
) -> None:
    scheme = request.scope["scheme"]
    response.set_cookie(
        cookie_name(name, scheme),
        value,
        max_age=lasts_s,
        httponly=True,
        samesite=samesite,
        secure=scheme == "https",
    )


def _forget(request: Request, response: Response, name: str, samesite: Literal["lax", "strict"]) -> None:
    scheme = request.scope["scheme"]
    response.delete_cookie(cookie_name(name, scheme), httponly=True, samesite=samesite, secure=scheme == "https")


async def _fields(request: Request) -> dict[str, list[str]]:
    """What a form holds; nothing where that is more than any form of ours has."""
    try:
        return parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=_FIELDS_MAX)
    except ValueError:
        return {}


def _people(request: Request) -> People:
    people: People = request.app.state.people
    return people


def _tenants(request: Request) -> dict[str, int]:
    return dict(request.app.state.authenticator.known.tenants)


def _base(request: Request) -> str:
    return _people(request).base_url(request.scope["scheme"], request.headers.get("host", ""))


def _callback(request: Request) -> str:
    return f"{_base(request)}{LOGIN_PATH}/callback"


def _refuse_other_sites(request: Request) -> None:
    """Raise Forbidden where the browser says that a page of another site asks."""
    headers = dict(request.scope["headers"])
    if comes_from_own_page(headers, _people(request).own_origins(request.scope["scheme"], headers)) is False:
        raise Forbidden("a page of another site asks for this")


def _led_to(location: str) -> Response:
    return Response(status_code=303, headers={"location": location, "cache-control": "no-store"})


def _form(request: Request, status: int, said: str, path: str | None) -> Response:
    back = own_path(path)
    way = ""
    if _people(request).provider is not None:
        query = "" if back == "/" else f"?next={quote(back, safe='/')}"
        way = f'<p><a href="/login/oidc{query}">Log in at the provider</a></p>\n'
    return _page(
        request, status, "log in", f"<p>{escape(said)}</p>\n{way}{_FORM.format(next=escape(back, quote=True))}"
    )


def _page(request: Request, status: int, title: str, content: str, head: str = "") -> Response:
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": _CSP,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
    }
    page = with_prefix(_PAGE.format(title=title, head=head, content=content), _people(request).settings.prefix)
    return Response(page, status, headers)
