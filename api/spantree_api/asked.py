"""What a request asked for, by its method and route's template: what of it the own audit tells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.routing import compile_path

from spantree_exporter.own_audit_event import Level

Category = Literal["change", "export", "content", "list"]

_RECORDED: Final[Mapping[Level, frozenset[Category]]] = {
    "changes": frozenset({"change", "export"}),
    "content": frozenset({"change", "export", "content"}),
    "all": frozenset({"change", "export", "content", "list"}),
}
# What the process is asked, and what pages are made of: no rows of anybody.
_NOTHING: Final = frozenset(
    {
        "/healthz", "/readyz", "/metrics", "/static/{version}/{name}", "/api/v1/health", "/api/v1/docs",
        "/api/v1/openapi.json", "/tempo/api/echo", "/tempo/api/status/buildinfo", "/tempo/ready",
    }
)  # fmt: skip
# Lists that hold whole traces.
_CONTENT: Final = frozenset({"/jaeger/api/traces", "/jaeger/api/v3/traces", "/api/traces", "/api/v1/stream"})
# The same by gRPC, of Jaeger's storage API, which asks for some traces, or for all that a search finds.
_CONTENT_CALLS: Final = frozenset({"GetTraces", "FindTraces"})
# Each trace that a call names is told by itself, up to so many: a call may name ten thousand.
_NAMED_MAX: Final = 100
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OBJECTS: Final = {
    "trace_id": "execution",
    "a": "execution",
    "run_id": "run",
    "conversation_id": "conversation",
    "fingerprint": "failure_group",
    "rule_id": "alert_rule",
}
_CONTENT_OBJECTS: Final = frozenset({"execution", "run", "conversation"})
_MADE: Final = {"/api/v1/alerts/rules": "alert_rule"}
_CHANGES: Final = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
# What POST does besides making something, by the last part of its route.
_POSTED: Final = {"test": "test", "analyze": "analyze", "login": "login", "logout": "logout"}


@dataclass(frozen=True, slots=True)
class Asked:
    """An action on an object; `object_type` None where it is about no single one."""

    category: Category
    action: str
    object_type: str | None
    object_id: str | None

    def is_recorded(self, level: Level) -> bool:
        """Whether the own audit tells it at this level; who is refused is told at each."""
        return self.category in _RECORDED[level]


def asked(method: str, route: str, parameters: Mapping[str, Any]) -> Asked | None:
    """What a request is, None for what is nobody's rows. `parameters`: those of the path."""
    if route in _NOTHING or (route == "/login" and method in _SAFE):
        return None
    if route == "/login/callback":
        # Where the provider sends a browser back to: somebody has logged in, or has not.
        return Asked("change", "login", None, None)
    object_type, object_id = _MADE.get(route) if method not in _SAFE else None, None
    for name, kind in _OBJECTS.items():
        if name in parameters:
            object_type, object_id = kind, str(parameters[name])
            break
    last = route.rpartition("/")[2]
    if method not in _SAFE:
        return Asked("change", _POSTED.get(last, _CHANGES.get(method, method.lower())), object_type, object_id)
    if "/export/" in route or "/otlp" in route:
        return Asked("export", "export", object_type, object_id)
    if object_type in _CONTENT_OBJECTS or route in _CONTENT:
        return Asked("content", "read", object_type, object_id)
    return Asked("list", "list", object_type, object_id)


def asked_by_call(method: str, trace_ids: Sequence[str]) -> list[Asked]:
    """What a call of Jaeger's storage API is: each trace that it names, or the call where it names none or too many."""
    if method not in _CONTENT_CALLS:
        return [Asked("list", "list", None, None)]
    if not 0 < len(trace_ids) <= _NAMED_MAX:
        return [Asked("content", "read", None, None)]
    return [Asked("content", "read", "execution", trace_id) for trace_id in dict.fromkeys(trace_ids)]


class Templates:
    """The template of a path, for requests that were refused before any route was looked for."""

    def __init__(self, templates: Iterable[str]) -> None:
        self._compiled = [(compile_path(template)[0], template) for template in dict.fromkeys(templates)]

    def of(self, path: str) -> str | None:
        """None where no route has such a path: it is whatever a client chose, and told nowhere."""
        return next((template for pattern, template in self._compiled if pattern.match(path)), None)
