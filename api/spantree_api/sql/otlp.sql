-- A trace as it came in.

-- name: spans_of_trace
-- every span, in the order of the index, so that a trace of any size is neither sorted nor waited for; served by
-- span_pkey
SELECT
    span.trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.kind, span.status_code, span.start_ns,
    span.end_ns, span.flags, span.received_ns, span.name, span.status_message, span.trace_state, span.resource_id,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.anomalies, span.raw IS NOT NULL AS raw_available, span.raw,
    resource.attributes AS resource_attributes, resource.schema_url AS resource_schema_url,
    resource.dropped_attributes_count AS resource_dropped_attributes_count
FROM spantree.span
JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.trace_id = %(trace_id)s::uuid
    AND span.day = ANY (%(days)s::date[])
ORDER BY span.span_id, span.fingerprint
