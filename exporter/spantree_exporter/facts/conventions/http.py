"""HTTP semantic conventions, old names and new.

Old names are still what instrumentations send unless OTEL_SEMCONV_STABILITY_OPT_IN says otherwise.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.exception_types import is_answer
from spantree_exporter.facts.reading import Convention, digest_of, first_text, put_preview, text_of, whole_number
from spantree_exporter.facts.url_names import path_of, shown_url, template_of
from spantree_exporter.facts.vocabulary import MODEL_CALLS, Facts
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER, STATUS_ERROR, STATUS_UNSET, Span

_METHODS: Final = ("http.request.method", "http.method")
_PATHS: Final = ("url.path", "http.target")
_URLS: Final = ("url.full", "http.url")
_TEMPLATES: Final = ("url.template", "http.route")
_RESENT: Final = ("http.request.resend_count", "http.resend_count")
# Requests whose body is part of what they ask for, and is not sent: two of them are never known to be equal.
_WITH_BODY: Final = frozenset({"POST", "PATCH"})
# nginx' code for a request whose client went away before it was answered, which others have taken over: Traefik, Go's
# services (hatchet-dev/hatchet#4667), ASP.NET Core since 8. No client is ever answered so; tracers that look at sockets
# from outside tell it of connections whose answer they did not see (opentelemetry-ebpf-instrumentation#3067).
_CLIENT_GONE: Final = "499"
_SOCKET_TRACERS: Final = ("go.opentelemetry.io/obi", "github.com/grafana/beyla")
# Effect's middleware for servers: its tracer sets OK wherever an effect has not failed, and one that made an answer of
# its failure has not (MapleTechLabs/maple#421).
_OK_OF_ITSELF: Final = "http.server "
# The answer to the question whether something is there (RFC 9110, 9.3.2), which SDKs of stores ask before they write:
# Azure's (azure-sdk-for-net#18592, azure-sdk-for-java#42452), AWS' of S3 (opentracing-contrib/java-aws-sdk#16).
_IS_IT_THERE: Final = frozenset({"HEAD", "HeadObject", "HeadBucket"})
_NOT_THERE: Final = "404"
_ASKED: Final = (*_METHODS, "rpc.method")
# The last is agentgateway's, and of a few of Elixir's.
_CODES: Final = ("http.response.status_code", "http.status_code", "http.status")


def _read(span: Span, facts: Facts) -> None:
    method = first_text(span, _METHODS)
    if span.kind == KIND_SERVER:
        _put_server(span, facts, method)
    elif span.kind == KIND_CLIENT and method:
        _put_client(span, facts, method)
    code = first_text(span, _CODES)
    if code is None or len(code) != 3:
        if code in {None, "0"} and span.kind == KIND_CLIENT and span.status_code == STATUS_UNSET:
            _put_unanswered(span, facts)
        return
    if code == _CLIENT_GONE and (span.kind == KIND_SERVER or span.scope.name.startswith(_SOCKET_TRACERS)):
        facts.setdefault("status", "cancelled")
        facts.setdefault("status_reason", "HTTP 499: client closed request")
        return
    # Proxies and servers that leave the status unset (nginx, Envoy) answer 5xx none the less.
    failed = span.status_code == STATUS_ERROR or (
        (span.status_code == STATUS_UNSET or _is_ok_of_itself(span)) and _is_failure(span, code)
    )
    if failed and _is_as_answered(span, code):
        facts.setdefault("status", "completed")
        if code[0] == "4":
            facts.setdefault("status_reason", f"HTTP {code}")
    elif failed:
        if span.status_code != STATUS_ERROR:
            facts.setdefault("weak_status", "failed")
        # Where an exception was recorded, that says more than the code it was answered with; 200 says nothing.
        if code[0] in "345" and not _tells_exception(span):
            facts.setdefault("error_message", f"HTTP {code}")
        elif code[0] in "45" and facts.get("kind") in MODEL_CALLS:
            # The class is that of a provider's client, the same for a quota as for a wrong key (vercel/ai#20643).
            facts.setdefault("status_reason", f"HTTP {code}")
    elif span.kind in {KIND_SERVER, KIND_CLIENT} and code[:1] in "45":
        # A server's 4xx is no error of the span's, nor is a client's to some: without a word it would look like a 200.
        facts.setdefault("status_reason", f"HTTP {code}")


def _is_ok_of_itself(span: Span) -> bool:
    return span.kind == KIND_SERVER and span.name.startswith(_OK_OF_ITSELF)


def _tells_exception(span: Span) -> bool:
    """Whether an exception was recorded; Datadog's and OpenTracing's bridges tell it by attributes."""
    return "error.message" in span.attributes or any(event.name == "exception" for event in span.events)


def _put_unanswered(span: Span, facts: Facts) -> None:
    """Put how a request ended that had no answer: XMLHttpRequest's and Mule's events tell that, the status does not."""
    for event in span.events:
        if event.name == "abort":
            facts.setdefault("status", "cancelled")
        elif event.name in {"timeout", "error"}:
            facts.setdefault("weak_status", "failed")
            if event.name == "timeout":
                facts.setdefault("error_type", event.name)
            else:
                facts.setdefault("error_message", "network error: no response")
        elif event.name == "exception":
            facts.setdefault("weak_status", "failed")


def _is_failure(span: Span, code: str) -> bool:
    # A model that was not asked has failed whoever asked, whatever the proxy's span is besides (agentgateway#3260).
    return (code[0] == "5" and span.kind in {KIND_SERVER, KIND_CLIENT}) or (
        code[0] == "4" and "gen_ai.request.model" in span.attributes
    )


def _is_as_answered(span: Span, code: str) -> bool:
    """Whether what is marked as an error is the answer itself.

    aiohttp's handlers raise what they answer, redirects too, and its instrumentation takes that for an error; that of
    `requests` takes redirects for errors that are not followed (opentelemetry-python-contrib#4153, #2165).
    """
    if code[0] == "5" or span.status_code != STATUS_ERROR:
        return False
    if code == _NOT_THERE and span.kind == KIND_CLIENT and first_text(span, _ASKED) in _IS_IT_THERE:
        return True
    raised = next((event for event in reversed(span.events) if event.name == "exception"), None)
    if raised is None:
        return span.kind == KIND_CLIENT and code[0] == "3"
    error_type = text_of(raised.attributes.get("exception.type"))
    return span.kind == KIND_SERVER and error_type is not None and is_answer(error_type, None, code)


def _put_server(span: Span, facts: Facts, method: str | None) -> None:
    facts.setdefault("kind", "http_server")
    if not method:
        facts.setdefault("entry", span.name)
        return
    if route := text_of(span.attributes.get("http.route")):
        named = f"{method} {route.split('?')[0]}"
        facts.setdefault("entry", named)
        if span.name in {method, "HTTP", f"HTTP {method}"}:
            facts.setdefault("name", named)
    elif (told := first_text(span, _PATHS) or first_text(span, _URLS)) and (path := path_of(told)):
        named = f"{method} {template_of(path)}"
        if _is_route(span.name, method, path):
            named = span.name
        facts.setdefault("entry", named)
        if span.name in {f"{method} {path}", path, method, "HTTP", f"HTTP {method}"} and named != span.name:
            facts.setdefault("name", named)
    else:
        facts.setdefault("entry", span.name)


def _is_route(name: str, method: str, path: str) -> bool:
    """Whether the span is named for a route that no attribute tells, as Tornado's are."""
    return name.startswith(f"{method} /") and name != f"{method} {path}" and any(sign in name for sign in "{<:*")


def _put_client(span: Span, facts: Facts, method: str) -> None:
    facts.setdefault("kind", "http_client")
    if (resent := first_text(span, _RESENT)) and (count := whole_number(resent)) is not None:
        facts.setdefault("attempt", count + 1)
    url = first_text(span, _URLS)
    told = url or first_text(span, _PATHS)
    if told is not None:
        name_client(span, facts, method, told, first_text(span, _TEMPLATES), url is not None)


def name_client(span: Span, facts: Facts, method: str, told: str, template: str | None, is_url: bool) -> None:
    """Put name and input of a client's request for `told`, a URL or only its path, whose `template` may be known."""
    path = path_of(told)
    if path is None:
        return
    # A bare `POST` tells nobody which call it was: the path does, and carries no secrets of the query.
    template = template or template_of(path)
    if span.name in {method, "HTTP", f"HTTP {method}", f"http {method.lower()}"}:
        facts.setdefault("name", f"{method} {template}")
    elif template != path and path in span.name:
        facts.setdefault("name", span.name.partition("?")[0].replace(path, template))
    if template != path and is_url:
        # What the name leaves out.
        put_preview(facts, "input", shown_url(told))
    facts.setdefault(
        "input_digest",
        f"{span.span_id & 0xFFFFFFFFFFFFFFFF:016x}" if method in _WITH_BODY else digest_of(f"{method} {told}"),
    )


CONVENTION = Convention(
    "http",
    _read,
    keys=(
        "http.request.method",
        "http.method",
        "http.route",
        "http.response.status_code",
        "http.status_code",
        "http.status",
    ),
)
