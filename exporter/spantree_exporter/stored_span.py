"""Rows of `span` back to spans."""

from __future__ import annotations

from typing import Any, Final

from spantree_exporter.otlp.build import events_from_json, links_from_json
from spantree_exporter.span import Resource, Scope, Span
from spantree_exporter.stored import json_bytes

# One that is larger is made anew for each of its spans: as many of them as there are spans would fill the memory.
_SHARED_BYTES: Final = 64 * 2**10


class SpanRows:
    """Turns rows into spans that share their resources, as they did when they came.

    A row is a mapping with the columns of the statement `spans_after` in sql/rebuild.sql. A span is equal to the one
    that was written but for the order of keys, which jsonb does not keep.
    """

    def __init__(self) -> None:
        self._resources: dict[int, Resource] = {}

    def span(self, row: dict[str, Any]) -> Span:
        """The span that `row` holds."""
        resource = self._resources.get(row["resource_id"])
        if resource is None:
            attributes = row["resource_attributes"] or {}
            resource = Resource(
                row["resource_id"],
                row["service_name"] or "",
                attributes,
                json_bytes(attributes),
                row["schema_url"] or "",
                row["resource_dropped"] or 0,
            )
            if len(resource.attributes_json) <= _SHARED_BYTES:
                self._resources[row["resource_id"]] = resource
        scope = row["scope"] or {}
        events_json = None if row["events"] is None else json_bytes(row["events"])
        links_json = None if row["links"] is None else json_bytes(row["links"])
        return Span(
            trace_id=row["trace_id"],
            span_id=row["span_id"],
            parent_span_id=row["parent_span_id"],
            name=row["name"],
            kind=row["kind"],
            start_ns=row["start_ns"],
            end_ns=row["end_ns"],
            status_code=row["status_code"],
            status_message=row["status_message"] or "",
            flags=row["flags"],
            trace_state=row["trace_state"] or "",
            resource=resource,
            scope=Scope(
                scope.get("name", ""),
                scope.get("version", ""),
                scope.get("attributes", {}),
                json_bytes(scope) if scope else None,
            ),
            attributes=row["attributes"],
            attributes_json=json_bytes(row["attributes"]),
            events=events_from_json(events_json) if events_json else [],
            events_json=events_json,
            links=links_from_json(links_json) if links_json else [],
            links_json=links_json,
            dropped_attributes_count=row["dropped_attributes_count"] or 0,
            dropped_events_count=row["dropped_events_count"] or 0,
            dropped_links_count=row["dropped_links_count"] or 0,
            received_ns=row["received_ns"],
            fingerprint=row["fingerprint"],
            raw=row["raw"],
            anomalies=row["anomalies"] or [],
        )
