"""What all pages share: the template environment, the headers, the navigation, the page of an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spantree_api.authentication import identity_of
from spantree_api.http.path_prefix import with_prefix
from spantree_api.pages import json_view, series, wording
from spantree_api.pages.assets import asset_path
from spantree_api.pages.in_process import NotAnswered
from spantree_api.pages.visible_text import visible
from spantree_api.timeline.find import attribute_find

# (path, name, the second key after g)
NAVIGATION = (
    ("/", "Now", "n"),
    ("/executions", "Executions", "e"),
    ("/failures", "Failures", "f"),
    ("/stuck", "Stuck", "s"),
    ("/workflows", "Workflows", "w"),
    ("/conversations", "Conversations", "c"),
    ("/usage", "Usage", "u"),
    ("/alerts", "Alerts", "a"),
    ("/system", "System", "y"),
)
# Nothing inline, nothing evaluated, nothing from elsewhere, in nobody's frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    # Executions change, and who may see them too.
    "cache-control": "no-store",
}
_NAME = "name"
_LINKS = ("http://", "https://")


def render(request: Request, template: str, /, status_code: int = 200, **values: Any) -> Response:
    """A page. `now_ns` is the API's clock at this moment."""
    now_ns: int = request.app.state.service.clock()
    text = _environment.get_template(template).render(
        path=request.url.path,
        query=request.url.query,
        now_ns=now_ns,
        navigation=NAVIGATION,
        account=_account(request),
        **values,
    )
    text = with_prefix(text, request.app.state.people.settings.prefix)
    return Response(text, status_code, headers=_HEADERS, media_type="text/html; charset=utf-8")


def _account(request: Request) -> str:
    """Who looks, where that is somebody."""
    identity = identity_of(request.scope.get("state", {}))
    return identity.person_name or identity.token_id


async def error_page(request: Request, error: Exception) -> Response:
    """The page that says what the API refused and what can be done."""
    assert isinstance(error, NotAnswered)  # noqa: S101  # as it was registered
    answer = render(request, "error.html", error.status, code=error.code, message=str(error), status=error.status)
    if error.status == 503:
        answer.headers["retry-after"] = "5"
    return answer


def is_link(text: object) -> bool:
    """Whether `text` is an address that may be followed: never `javascript:`, `data:` or a path of ours."""
    return isinstance(text, str) and text.lower().startswith(_LINKS) and not any(char.isspace() for char in text)


def with_query(path: str, parameters: Mapping[str, object]) -> str:
    """`path` with those parameters that are something."""
    given = {name: value for name, value in parameters.items() if value not in (None, "", [], ())}
    joined = "&" if "?" in path else "?"
    return f"{path}{joined}{urlencode(given, doseq=True)}" if given else path


def path_of(text: object) -> str:
    """`text` as one segment of a path."""
    return quote(str(text), safe="")


def segment_of(name: object) -> str:
    """What follows `/workflows/` and the like in the address of a page.

    Of `.` and `..` browsers make other paths, however they are quoted: these names come as a parameter (`name_of`).
    """
    return f"?{_NAME}={name}" if name in (".", "..") else path_of(name)


def name_of(request: Request, segment: str) -> str:
    """The name that the address of a page names: its last part, or a parameter where that is empty."""
    return segment or request.query_params.get(_NAME, "")


def _shown(value: object) -> object:
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        return visible(value)
    return value


def _environment_of() -> Environment:
    environment = Environment(
        loader=PackageLoader("spantree_api.pages", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(
        asset=asset_path, with_query=with_query, status_word=wording.status_word, statuses=wording.STATUSES
    )
    environment.filters.update(
        duration=wording.duration,
        ago=wording.ago,
        utc=wording.utc,
        utc_seconds=wording.utc_seconds,
        short_type=wording.short_type,
        iso=wording.iso,
        count=wording.count,
        share=wording.share,
        cost=wording.cost,
        size=wording.size,
        segment=segment_of,
        found_by=lambda value, key: attribute_find(key, value),
        folded=json_view.folded,
        messages=json_view.messages,
        spoken=json_view.spoken,
        asked_text=json_view.asked_text,
        json=json_view.json_text,
        count_bars=series.count_bars,
        moment_ns=wording.moment_ns,
    )
    environment.tests["link"] = is_link
    return environment


_environment = _environment_of()
