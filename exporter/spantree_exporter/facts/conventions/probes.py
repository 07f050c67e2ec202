"""Requests that nobody asks for in a list: health checks, probes, scrapes. Hidden, and counted, unless they fail.

By the path of the request, by who sent it, or by gRPC's health service (github.com/grpc/grpc, doc/health-checking.md).
A team's own list stands in the rules file, section [hidden].
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of, whole_number
from spantree_exporter.facts.url_names import path_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_SERVER, STATUS_ERROR, Span

HIDDEN_PATHS: Final = (
    "/health",
    "/health/*",
    "/healthz",
    "/healthcheck",
    "/health-check",
    "/_health",
    "/live",
    "/livez",
    "/liveness",
    "/ready",
    "/readyz",
    "/readiness",
    "/startupz",
    "/ping",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/actuator/health",
    "/actuator/health/*",
    "/actuator/prometheus",
    "/favicon.ico",
)
"""`/*` at the end takes in all that is below; below a prefix (`/api/healthz`) the same names count."""

_PATHS: Final = ("url.path", "http.target", "http.route")
# All that Spring's observations and Vert.x tell of where a request went.
_URLS: Final = ("http.url",)
_AGENTS: Final = ("user_agent.original", "http.user_agent")
_PROBES: Final = (
    "kube-probe/",
    "GoogleHC/",
    "ELB-HealthChecker/",
    "Prometheus/",
    "Blackbox Exporter/",
    "Consul Health",
)
_CODES: Final = ("http.response.status_code", "http.status_code", "status")
_HEALTH_SERVICE: Final = "grpc.health.v1.Health"
_SERVER_ERROR: Final = 500
# Below a prefix only names that are nothing else: an order may well be `/orders/live`.
_ANYWHERE: Final = frozenset({"healthz", "livez", "readyz", "healthcheck"})


def probes(paths: Iterable[str]) -> Convention:
    """The convention with these paths instead of HIDDEN_PATHS."""
    listed = tuple(path.rstrip("/") or "/" for path in paths)
    whole = frozenset(path for path in listed if not path.endswith("/*"))
    below = tuple(path.removesuffix("*") for path in listed if path.endswith("/*"))
    anywhere = frozenset(name for name in _ANYWHERE if f"/{name}" in whole)

    def read(span: Span, facts: Facts) -> None:
        if span.kind != KIND_SERVER or span.status_code == STATUS_ERROR or _failed(span):
            return
        told = first_text(span, _PATHS) or path_of(first_text(span, _URLS) or "") or ""
        path = told.partition("?")[0].rstrip("/") or "/"
        agent = first_text(span, _AGENTS) or ""
        if (
            path in whole
            or path.startswith(below)
            or path.rpartition("/")[2] in anywhere
            or agent.startswith(_PROBES)
            or text_of(span.attributes.get("rpc.service")) == _HEALTH_SERVICE
        ):
            facts.setdefault("hidden", True)

    return Convention("probes", read, keys=(*_PATHS, *_AGENTS, "rpc.service", "outcome"), scopes=("io.vertx",))


def _failed(span: Span) -> bool:
    return any((whole_number(span.attributes.get(code)) or 0) >= _SERVER_ERROR for code in _CODES)


CONVENTION = probes(HIDDEN_PATHS)
