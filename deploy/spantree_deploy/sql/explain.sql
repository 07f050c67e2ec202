-- name: days_of_trace
-- The days that name the partitions of one trace.
SELECT days
FROM spantree.trace
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::text::uuid

-- name: spans_of_trace
-- Spans of one trace in the order of their starts, or the one that %(span_id)s names, for SpanRows.
SELECT
    uuid_send(span.trace_id) AS trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.flags, span.received_ns, span.trace_state,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.facts, span.anomalies, span.raw, span.resource_id,
    resource.attributes AS resource_attributes, resource.service_name, resource.schema_url,
    resource.dropped_attributes_count AS resource_dropped
FROM spantree.span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.day = ANY (%(days)s::date[])
    AND span.trace_id = %(trace_id)s::text::uuid
    AND (%(span_id)s::bigint IS NULL OR span.span_id = %(span_id)s::bigint)
ORDER BY span.start_ns, span.span_id, span.fingerprint
LIMIT %(spans)s
