-- Nodes, edges and spans of one trace. The days are those that the trace has rows on: no other partition is looked at.

-- name: nodes_of_trace
-- nodes in sequence order, or a part of them: from one, up to one, no deeper than; served by node_sequence_idx, in which
-- the depth is told before any row is read
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND sequence >= %(from_sequence)s::integer
    AND sequence < %(to_sequence)s::integer
    AND depth <= %(max_depth)s::integer
ORDER BY sequence
LIMIT %(limit)s::bigint

-- name: node_of_trace
-- one node by its span id and ordinal; served by node_pkey
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND span_id = %(span_id)s::bigint
    AND ordinal = %(ordinal)s::integer
    AND day = ANY (%(days)s::date[])
LIMIT 1

-- name: sequence_after_subtree
-- the sequence number of the first node that is no longer below the given one; no row: none follows; served by
-- node_sequence_idx, without a row being read
SELECT NULL::text AS name, sequence::bigint AS count
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND sequence > %(sequence)s::integer
    AND depth <= %(depth)s::integer
ORDER BY sequence
LIMIT 1

-- name: outline_of_trace
-- roots, and nodes that failed or were skipped, in sequence order; served by node_outline_idx, whose condition this is
SELECT span_id, ordinal, parent_span_id, name, status
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND sequence >= %(from_sequence)s::integer
    AND sequence < %(to_sequence)s::integer
    AND (parent_span_id IS NULL OR status IN ('failed', 'timed_out', 'skipped'))
ORDER BY sequence
LIMIT %(outline_limit)s::bigint

-- name: edges_of_trace
-- every stored edge; served by edge_pkey
SELECT edge.*
FROM spantree.edge
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
ORDER BY to_span_id, to_ordinal, from_span_id, from_ordinal, type
LIMIT %(limit)s::bigint

-- name: edges_to_nodes
-- the stored edges that lead to the given nodes; served by edge_pkey, of which to_span_id is the third column
SELECT edge.*
FROM spantree.edge
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND to_span_id = ANY (%(span_ids)s::bigint[])
    AND (to_span_id, to_ordinal) IN (
        SELECT * FROM unnest(%(span_ids)s::bigint[], %(ordinals)s::integer[])
    )
ORDER BY from_span_id, from_ordinal, to_span_id, to_ordinal, type

-- name: spans_of_node
-- the span a node stands for first, then the spans folded into it; served by span_pkey
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
    AND span.day = ANY (%(days)s::date[])
    AND (
        (span.span_id = %(span_id)s::bigint AND span.fingerprint = %(fingerprint)s::bigint)
        OR span.span_id = ANY (%(folded_span_ids)s::bigint[])
    )
ORDER BY
    (span.span_id = %(span_id)s::bigint AND span.fingerprint = %(fingerprint)s::bigint) DESC NULLS LAST,
    span.start_ns,
    span.fingerprint
LIMIT 200
