-- Rows of many executions for an export: some hundred traces at a time, whose days are named, each answer bounded and
-- continued by the key of its last row, so that nothing is held open while a client reads.

-- name: days_of_each_trace
-- the days of each of some traces; served by trace_pkey
SELECT trace_id, days
FROM spantree.trace
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])

-- name: next_nodes
-- the next nodes of some traces, trace by trace as they are given, each in sequence order; served by node_sequence_idx
SELECT node.*, wanted.position
FROM unnest(%(trace_ids)s::uuid[]) WITH ORDINALITY AS wanted (trace_id, position)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.node AS of_trace
    WHERE of_trace.tenant_id = %(tenant_id)s
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
        AND of_trace.sequence > CASE WHEN wanted.position = %(position)s::bigint THEN %(sequence)s::integer ELSE 0 END
    ORDER BY of_trace.sequence
    LIMIT %(limit)s::bigint
) AS node
WHERE wanted.position >= %(position)s::bigint
ORDER BY wanted.position, node.sequence
LIMIT %(limit)s::bigint

-- name: next_spans
-- the next spans of some traces, trace by trace as they are given, each in order of the key; served by span_pkey
SELECT
    span.trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.kind, span.status_code, span.start_ns,
    span.end_ns, span.flags, span.received_ns, span.name, span.status_message, span.trace_state, span.resource_id,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.anomalies, span.raw IS NOT NULL AS raw_available, span.raw,
    resource.attributes AS resource_attributes, resource.schema_url AS resource_schema_url,
    resource.dropped_attributes_count AS resource_dropped_attributes_count, wanted.position
FROM unnest(%(trace_ids)s::uuid[]) WITH ORDINALITY AS wanted (trace_id, position)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.span AS of_trace
    WHERE of_trace.tenant_id = %(tenant_id)s
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
        AND (of_trace.span_id, of_trace.fingerprint) > (
            CASE WHEN wanted.position = %(position)s::bigint THEN %(span_id)s::bigint ELSE -9223372036854775808 END,
            CASE WHEN wanted.position = %(position)s::bigint THEN %(fingerprint)s::bigint ELSE -9223372036854775808 END
        )
    ORDER BY of_trace.span_id, of_trace.fingerprint
    LIMIT %(limit)s::bigint
) AS span
JOIN spantree.resource
    ON resource.tenant_id = %(tenant_id)s
    AND resource.id = span.resource_id
WHERE wanted.position >= %(position)s::bigint
ORDER BY wanted.position, span.span_id, span.fingerprint
LIMIT %(limit)s::bigint
