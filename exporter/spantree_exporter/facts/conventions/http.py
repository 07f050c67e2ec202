"""HTTP semantic conventions, old names and new (conventions.md 2.8 and 3).

Old names are still what instrumentations send unless OTEL_SEMCONV_STABILITY_OPT_IN says otherwise.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from spantree_exporter.facts.reading import Convention, first_text, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CLIENT, KIND_SERVER, STATUS_ERROR, Span

_METHODS = ("http.request.method", "http.method")
_CODES = ("http.response.status_code", "http.status_code")
_PATHS = ("http.route", "url.path", "http.target")


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    method = first_text(span, _METHODS)
    if span.kind == KIND_SERVER:
        facts.setdefault("kind", "http_server")
        path = first_text(span, _PATHS)
        if method and path:
            facts.setdefault("entry", f"{method} {path.split('?')[0]}")
        else:
            facts.setdefault("entry", span.name)
    elif span.kind == KIND_CLIENT and method:
        facts.setdefault("kind", "http_client")
        # A bare `POST` tells nobody which call it was: the path does, and carries no secrets of the query.
        url = text_of(a.get("url.full")) or text_of(a.get("http.url"))
        if span.name == method and url:
            facts.setdefault("name", f"{method} {urlsplit(url).path or '/'}")
    if span.kind == KIND_SERVER and span.status_code != STATUS_ERROR:
        # A server's 4xx is no error of the span's: without a word it would look like a 200.
        code = first_text(span, _CODES)
        if code is not None and code[:1] in "45" and len(code) == 3:
            facts.setdefault("status_reason", f"HTTP {code}")
    # Where an exception was recorded, that says more than the code it was answered with.
    if span.status_code == STATUS_ERROR and not any(event.name == "exception" for event in span.events):
        code = first_text(span, _CODES)
        if code:
            facts.setdefault("error_message", f"HTTP {code}")


CONVENTION = Convention(
    "http",
    _read,
    keys=("http.request.method", "http.method", "http.route", "http.response.status_code", "http.status_code"),
)
