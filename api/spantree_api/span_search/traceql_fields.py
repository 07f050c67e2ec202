"""What TraceQL names: fields of a span, of its trace, and attributes wherever they are. Pure.

https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/#intrinsic-fields
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from spantree_api.span_search.query import Place
from spantree_api.span_search.traceql_tokens import refused, unquoted

_SCOPES: Final[dict[str, Place]] = {
    "span": "span",
    "resource": "resource",
    "event": "event",
    "link": "link",
    "instrumentation": "scope",
}
# Field -> what it is among a span's own values (span_query.OWN_FIELDS).
OWN: Final = {
    "name": "name",
    "span:name": "name",
    "duration": "duration_ns",
    "span:duration": "duration_ns",
    "status": "status",
    "span:status": "status",
    "statusMessage": "status_message",
    "span:statusMessage": "status_message",
    "kind": "kind",
    "span:kind": "kind",
    "event:name": "event_name",
    "span:id": "span_id",
    "span:parentID": "parent_id",
    "link:spanID": "link_span_id",
    "link:traceID": "link_trace_id",
    "instrumentation:name": "scope_name",
    "instrumentation:version": "scope_version",
}
# Fields of the whole trace: compared with its summary.
TRACE: Final = {
    "rootName": "root_name",
    "trace:rootName": "root_name",
    "rootServiceName": "root_service",
    "trace:rootService": "root_service",
    "traceDuration": "duration_ns",
    "trace:duration": "duration_ns",
}
# Where a span is in its trace, as ranges within ranges; only told, and what is compared to find roots.
NESTED: Final = {
    "nestedSetLeft": "nested_left",
    "nestedSetRight": "nested_right",
    "nestedSetParent": "nested_parent",
}
# Those that forms offer, in the order of their names.
OFFERED: Final = tuple(sorted({*OWN, *TRACE, "trace:id"}))
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Field:
    """A value that a span may have: `name` is what answers call it, `place` and `key` say where it is."""

    name: str
    place: Place
    key: str

    @property
    def is_nested(self) -> bool:
        """Whether it says where a span is in its trace."""
        return self.key in NESTED.values() and self.place == "own"

    @property
    def is_told(self) -> bool:
        """Whether the rows that are read of a span tell it; others are only compared."""
        return self.place != "own" or not self.key.startswith(("event_", "link_"))


def field_of(text: str) -> Field:
    """The field that is written so. Raises InvalidParameter where there is none."""
    own = OWN.get(text) or NESTED.get(text)
    if own is not None:
        short = text.removeprefix("span:")
        return Field(short if short in OWN else text, "own", own)
    scope, _, key = text.partition(".")
    if not key or (scope and scope not in _SCOPES):
        raise refused(f"{text} is no field that is served: wanted .name, span.name, resource.name, name, duration ...")
    name = _QUOTED.sub(lambda part: unquoted(part[0]), key)
    return Field(name, _SCOPES[scope] if scope else "any", name)
