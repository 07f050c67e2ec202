-- What a timeline shows of the nodes of one trace: few columns of many rows. The days are those that the trace is on.

-- name: timeline_of_trace
-- the nodes of a part of the tree in sequence order; served by node_sequence_idx
SELECT
    span_id, ordinal, sequence, depth, name, kind, status, service, started_ns, ended_ns, attempt, task_key, iteration,
    error_type, on_critical_path, cardinality(folded_span_ids) AS folded_count, input_tokens, output_tokens, cost_usd
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND sequence >= %(from_sequence)s::integer
ORDER BY sequence
LIMIT %(limit)s::bigint

-- name: ends_of_subtrees
-- for each depth the first sequence number after the given one that is no deeper: where subtrees end that are open there;
-- served by node_sequence_idx, without a row being read
SELECT asked.depth, (
    SELECT min(node.sequence)
    FROM spantree.node
    WHERE node.tenant_id = %(tenant_id)s
        AND node.trace_id = %(trace_id)s::uuid
        AND node.day = ANY (%(days)s::date[])
        AND node.sequence > %(sequence)s::integer
        AND node.depth <= asked.depth
) AS sequence
FROM unnest(%(depths)s::integer[]) AS asked (depth)

-- name: overview_of_trace
-- when neighbours in the tree ran, so many of them together; served by node_sequence_idx
SELECT
    (sequence - 1) / %(size)s::integer AS band,
    min(started_ns) AS started_ns,
    max(ended_ns) AS ended_ns,
    bool_or(ended_ns IS NULL) AS is_open,
    min(started_ns) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed_from_ns,
    max(coalesce(ended_ns, started_ns)) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed_to_ns
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
GROUP BY band
ORDER BY band

-- name: flame_of_trace
-- the first nodes in sequence order, with what took time of their own; served by node_sequence_idx
SELECT span_id, ordinal, depth, left(name, 200) AS name, kind, status, started_ns, ended_ns, self_ns
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND sequence > 0
ORDER BY sequence
LIMIT %(limit)s::bigint

-- name: nodes_that_match
-- sequence numbers of the nodes that are as find.py says, or that failed; served by node_sequence_idx, and span_pkey for
-- the spans of each node where an attribute is asked for
SELECT sequence, span_id, ordinal
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND (
        %(text)s::text IS NULL
        OR strpos(lower(name), %(text)s::text) > 0
        OR strpos(lower(coalesce(error_type, '')), %(text)s::text) > 0
        OR strpos(lower(coalesce(error_message, '')), %(text)s::text) > 0
    )
    AND (NOT %(failed)s::boolean OR status IN ('failed', 'timed_out', 'retried'))
    AND (cardinality(%(status_in)s::text[]) = 0 OR status = ANY (%(status_in)s::text[]))
    AND (cardinality(%(kind_in)s::text[]) = 0 OR kind = ANY (%(kind_in)s::text[]))
    AND (cardinality(%(service_in)s::text[]) = 0 OR service = ANY (%(service_in)s::text[]))
    AND status <> ALL (%(status_out)s::text[])
    AND kind <> ALL (%(kind_out)s::text[])
    AND service <> ALL (%(service_out)s::text[])
    AND (
        %(attribute)s::text IS NULL
        OR %(without_attribute)s::boolean <> (
            strpos(lower(name), %(attribute)s::text) > 0
            OR EXISTS (
                SELECT
                FROM spantree.span
                WHERE span.tenant_id = %(tenant_id)s
                    AND span.trace_id = %(trace_id)s::uuid
                    AND span.day = ANY (%(days)s::date[])
                    AND span.span_id = ANY (node.span_id || node.folded_span_ids)
                    AND span.attributes @> ANY (%(attribute_forms)s::text[]::jsonb[])
            )
        )
    )
    AND (
        %(anywhere)s::text IS NULL
        OR strpos(lower(concat_ws(' ', name, error_type, error_message, input, output)), %(anywhere)s::text) > 0
        OR EXISTS (
            SELECT
            FROM spantree.span
            WHERE span.tenant_id = %(tenant_id)s
                AND span.trace_id = %(trace_id)s::uuid
                AND span.day = ANY (%(days)s::date[])
                AND span.span_id = ANY (node.span_id || node.folded_span_ids)
                AND strpos(lower(span.attributes::text), %(anywhere)s::text) > 0
        )
    )
ORDER BY sequence
LIMIT %(limit)s::bigint

-- name: folded_spans
-- spans that are folded into nodes, by the nodes' order; served by node_sequence_idx, and span_pkey for each span
SELECT folded.sequence, span.span_id, span.name, span.scope ->> 'name' AS scope, span.start_ns, span.end_ns, span.status_code
FROM (
    SELECT node.sequence, each.span_id
    FROM spantree.node
    CROSS JOIN LATERAL unnest(node.folded_span_ids) AS each (span_id)
    WHERE node.tenant_id = %(tenant_id)s
        AND node.trace_id = %(trace_id)s::uuid
        AND node.day = ANY (%(days)s::date[])
        AND node.sequence >= %(from_sequence)s::integer
    ORDER BY node.sequence
    LIMIT %(limit)s::bigint
) AS folded
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.span AS one
    WHERE one.tenant_id = %(tenant_id)s
        AND one.trace_id = %(trace_id)s::uuid
        AND one.span_id = folded.span_id
        AND one.day = ANY (%(days)s::date[])
    ORDER BY one.start_ns
    LIMIT 1
) AS span
ORDER BY folded.sequence, span.start_ns, span.span_id
