-- Nodes and edges of one trace. The days bound which partitions are looked at; null days look at all of them.

-- name: nodes_of_trace
-- nodes in sequence order, or a part of them: after one, up to one, no deeper than
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND (%(from_sequence)s::integer IS NULL OR sequence >= %(from_sequence)s)
    AND (%(to_sequence)s::integer IS NULL OR sequence < %(to_sequence)s)
    AND (%(max_depth)s::integer IS NULL OR depth <= %(max_depth)s)
ORDER BY sequence
LIMIT %(limit)s::bigint

-- name: node_of_trace
-- one node by its span id and ordinal
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND span_id = %(span_id)s::bigint
    AND ordinal = %(ordinal)s::integer
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
LIMIT 1

-- name: count_nodes
-- how many nodes the days hold, to compare with the execution's own count
SELECT NULL::text AS name, count(*) AS count
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day BETWEEN %(first_day)s::date AND %(last_day)s::date

-- name: sequence_after_subtree
-- the sequence number of the first node that is no longer below the given one; no row: none follows
SELECT NULL::text AS name, min(sequence)::bigint AS count
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND sequence > %(sequence)s::integer
    AND depth <= %(depth)s::integer
HAVING min(sequence) IS NOT NULL

-- name: outline_of_trace
-- roots, and nodes that failed or were skipped, in sequence order
SELECT span_id, ordinal, parent_span_id, name, status
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND (%(from_sequence)s::integer IS NULL OR sequence >= %(from_sequence)s)
    AND (%(to_sequence)s::integer IS NULL OR sequence < %(to_sequence)s)
    AND (parent_span_id IS NULL OR status IN ('failed', 'timed_out', 'skipped'))
ORDER BY sequence

-- name: edges_of_trace
-- every stored edge
SELECT edge.*
FROM spantree.edge
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
ORDER BY from_span_id, from_ordinal, to_span_id, to_ordinal, type

-- name: edges_to_nodes
-- the stored edges that lead to the given nodes
SELECT edge.*
FROM spantree.edge
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND (to_span_id, to_ordinal) IN (
        SELECT * FROM unnest(%(span_ids)s::bigint[], %(ordinals)s::integer[])
    )
ORDER BY from_span_id, from_ordinal, to_span_id, to_ordinal, type

-- name: spans_of_node
-- the span a node stands for first, then the spans folded into it
SELECT
    span.trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.kind, span.status_code, span.start_ns,
    span.end_ns, span.flags, span.received_ns, span.name, span.status_message, span.trace_state, span.resource_id,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.anomalies, span.raw IS NOT NULL AS raw_available,
    resource.attributes AS resource_attributes, resource.schema_url AS resource_schema_url,
    resource.dropped_attributes_count AS resource_dropped_attributes_count
FROM spantree.span
JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR span.day BETWEEN %(first_day)s AND %(last_day)s)
    AND (
        (span.span_id = %(span_id)s::bigint AND span.fingerprint = %(fingerprint)s::bigint)
        OR span.span_id = ANY (%(folded_span_ids)s::bigint[])
    )
ORDER BY
    (span.span_id = %(span_id)s::bigint AND span.fingerprint = %(fingerprint)s::bigint) DESC NULLS LAST,
    span.start_ns,
    span.fingerprint
LIMIT 200
