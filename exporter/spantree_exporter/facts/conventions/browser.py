"""Pages in a browser: OpenTelemetry's instrumentation of their load tells each file that was fetched by one name."""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, put_preview
from spantree_exporter.facts.url_names import path_of, shown_url, template_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_FETCHES: Final = frozenset({"documentFetch", "resourceFetch"})
_URLS: Final = ("url.full", "http.url")


def _read(span: Span, facts: Facts) -> None:
    if span.name not in _FETCHES:
        return
    facts.setdefault("kind", "http_client")
    url = first_text(span, _URLS)
    path = path_of(url) if url is not None else None
    if url is not None and path is not None:
        facts.setdefault("name", f"{span.name} {template_of(path)}")
        put_preview(facts, "input", shown_url(url))


CONVENTION = Convention("browser", _read, scopes=("@opentelemetry/instrumentation-document-load",))
