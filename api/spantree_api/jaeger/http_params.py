"""Jaeger's HTTP parameters -> what is searched for. Pure.

v1: https://github.com/jaegertracing/jaeger cmd/jaeger/internal/extension/jaegerquery (query_parser.go); v3: jaeger-idl
proto/api_v3/query_service.proto, in camelCase and in snake_case, as Grafana sends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from spantree_api.errors import InvalidParameter
from spantree_api.jaeger.query import DEPTH_DEFAULT, DEPTH_MAX, VALUE_DEPTH
from spantree_api.span_search.query import NS_MAX, NS_MIN, QueryParts, SpanQuery

_UNITS_NS: Final = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3_600 * 10**9,
    "d": 86_400 * 10**9,
}  # fmt: skip
_LENGTH: Final = re.compile(r"(\d{1,18}(?:\.\d{0,18})?)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_HEX_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}", re.ASCII)
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[ +-]\d\d:\d\d)?", re.ASCII)
_TAGS_MAX: Final = 100
_US: Final = 1_000


def length_ns(name: str, text: str | None) -> int | None:
    """A length of time as Go writes it: 1.5s, 300ms, 1m30s; None for none. Raises InvalidParameter."""
    if not text:
        return None
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text or len(parts) > 8:
        raise InvalidParameter(name, f"{name} is {text[:40]!r}: wanted a length of time such as 1.2s, 100ms, 500us")
    # As whole numbers, so that 1.1s is 1100000000.
    return min(sum(_scaled(number, _UNITS_NS[unit]) for number, unit in parts), NS_MAX)


def _scaled(number: str, unit_ns: int) -> int:
    whole, _, part = number.partition(".")
    return int(whole) * unit_ns + (int(part) * unit_ns // 10 ** len(part) if part else 0)


def moment_ns(name: str, text: str) -> int:
    """UTC nanoseconds of an RFC 3339 time; a space is what is left of an unescaped plus. Raises InvalidParameter."""
    found = _MOMENT.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        zone = (found[3] or "Z").replace(" ", "+")
        second = datetime.fromisoformat(found[1].replace(" ", "T") + ("+00:00" if zone == "Z" else zone))
        return int(second.astimezone(UTC).timestamp()) * 10**9 + int((found[2] or "").ljust(9, "0"))
    except (ValueError, OverflowError):
        raise InvalidParameter(name, f"{name} is {text[:40]!r}: wanted a time such as 2026-11-20T10:00:00Z") from None


def trace_id_of(text: str) -> UUID:
    """A trace id in hex, without its leading zeros perhaps. Raises InvalidParameter."""
    if not _HEX_ID.fullmatch(text):
        raise InvalidParameter("traceID", f"{text[:64]!r} is no trace id: wanted up to 32 hex digits")
    return UUID(hex=text.zfill(32))


def v1_query(values: Mapping[str, Sequence[str]]) -> SpanQuery:
    """The search of `/api/traces`. `values`: each parameter and what it was given. Raises InvalidParameter."""
    parts = QueryParts()
    for tag in values.get("tag", ()):
        key, mark, value = tag.partition(":")
        if not mark or not key:
            raise InvalidParameter("tag", f"tag is {tag[:80]!r}: wanted key:value")
        parts.add(key, value, is_text=True)
    for tags in values.get("tags", ()):
        _add_map(parts, "tags", tags)
    return _query(
        parts,
        service=_first(values, "service"),
        operation=_first(values, "operation"),
        from_ns=_whole(values, "start", NS_MIN // _US) * _US,
        to_ns=_whole(values, "end", NS_MAX // _US) * _US,
        shortest=length_ns("minDuration", _first(values, "minDuration")),
        longest=length_ns("maxDuration", _first(values, "maxDuration")),
        depth=_whole(values, "limit", DEPTH_DEFAULT),
    )


def v3_query(values: Mapping[str, Sequence[str]]) -> SpanQuery:
    """The search of `/api/v3/traces`. Raises InvalidParameter."""
    given = {name.removeprefix("query.").replace("_", "").lower(): texts for name, texts in values.items()}
    bounds = []
    for name, told in (("starttimemin", "query.startTimeMin"), ("starttimemax", "query.startTimeMax")):
        text = _first(given, name)
        if text is None:
            raise InvalidParameter(told, f"{told} is missing: wanted a time such as 2026-11-20T10:00:00Z")
        bounds.append(moment_ns(told, text))
    if _first(given, "filter"):
        raise InvalidParameter("query.filter", "structured filters are not served")
    parts = QueryParts()
    for tags in given.get("attributes", ()):
        _add_map(parts, "query.attributes", tags)
    depth = "searchdepth" if "searchdepth" in given else "numtraces"
    return _query(
        parts,
        service=_first(given, "servicename"),
        operation=_first(given, "operationname"),
        from_ns=bounds[0],
        to_ns=bounds[1],
        shortest=length_ns("query.durationMin", _first(given, "durationmin")),
        longest=length_ns("query.durationMax", _first(given, "durationmax")),
        depth=_whole(given, depth, DEPTH_DEFAULT),
    )


def whole(values: Mapping[str, Sequence[str]], name: str, default: int) -> int:
    """A whole number. Raises InvalidParameter."""
    return _whole(values, name, default)


def _query(
    parts: QueryParts,
    *,
    service: str | None,
    operation: str | None,
    from_ns: int,
    to_ns: int,
    shortest: int | None,
    longest: int | None,
    depth: int,
) -> SpanQuery:
    if len(parts.tags) > _TAGS_MAX:
        raise InvalidParameter("tags", f"{len(parts.tags)} tags: {_TAGS_MAX} is the most")
    return SpanQuery(
        service=service,
        operation=None if operation == "all" else operation,
        kind=parts.kind,
        status=parts.status,
        failed=parts.failed,
        scope_name=parts.scope_name,
        scope_version=parts.scope_version,
        tags=tuple(parts.tags),
        from_ns=max(NS_MIN, from_ns),
        to_ns=min(NS_MAX, to_ns),
        min_duration_ns=shortest,
        max_duration_ns=longest,
        limit=max(0, min(depth, DEPTH_MAX)),
    )


def _add_map(parts: QueryParts, name: str, text: str) -> None:
    try:
        given: Any = orjson.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise InvalidParameter(name, f'{name} is {text[:80]!r}: wanted a JSON object such as {{"key":"value"}}')
    if _is_deeper(list(given.values()), VALUE_DEPTH):
        raise InvalidParameter(name, f"a value of {name} nests deeper than {VALUE_DEPTH} levels")
    for key, value in given.items():
        parts.add(key, value, is_text=isinstance(value, str))


def _is_deeper(values: list[Any], levels: int) -> bool:
    for _ in range(levels + 1):
        nested = [one for one in values if isinstance(one, list | dict)]
        if not nested:
            return False
        values = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
    return True


def _first(values: Mapping[str, Sequence[str]], name: str) -> str | None:
    return next((text for text in values.get(name, ()) if text), None)


def _whole(values: Mapping[str, Sequence[str]], name: str, default: int) -> int:
    text = _first(values, name)
    if text is None:
        return default
    if not re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
        raise InvalidParameter(name, f"{name} is {text[:40]!r}: wanted a whole number")
    return int(text)
