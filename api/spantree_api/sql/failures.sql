-- What went wrong, and with what else.

-- name: cascade_of_node
-- a node and its ancestors, up to the root; as many levels as the execution has nodes ends any cycle; served by node_pkey
WITH RECURSIVE cascade AS (
    SELECT node.*, 0 AS level
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND trace_id = %(trace_id)s::uuid
        AND day = ANY (%(days)s::date[])
        AND span_id = %(span_id)s::bigint
        AND ordinal = %(ordinal)s::integer
    UNION ALL
    SELECT parent.*, cascade.level + 1
    FROM cascade
    JOIN spantree.node AS parent
        ON parent.tenant_id = %(tenant_id)s
        AND parent.trace_id = %(trace_id)s::uuid
        AND parent.day = ANY (%(days)s::date[])
        AND parent.span_id = cascade.parent_span_id
        AND parent.ordinal = cascade.parent_ordinal
    WHERE cascade.level < %(total_count)s::integer
)
SELECT *
FROM cascade
ORDER BY level

-- name: retried_nodes_of_trace
-- every attempt of every task that was attempted more than once; served by node_sequence_idx
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND (
        (task_key IS NULL AND (attempt > 1 OR status = 'retried'))
        OR task_key IN (
            SELECT retried.task_key
            FROM spantree.node AS retried
            WHERE retried.tenant_id = %(tenant_id)s
                AND retried.trace_id = %(trace_id)s::uuid
                AND retried.day = ANY (%(days)s::date[])
                AND retried.task_key IS NOT NULL
                AND (retried.attempt > 1 OR retried.status = 'retried')
        )
    )
ORDER BY sequence
LIMIT %(limit)s

-- name: same_cause
-- of some days, the newest other executions of the same fingerprint, each with the number of all, of which no more than
-- `counted` are looked at; served by execution_error_idx
SELECT trace_id, name, status, started_ns, count(*) OVER () AS total
FROM (
    SELECT trace_id, name, status, started_ns
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND error_fingerprint = %(error_fingerprint)s
        AND trace_id <> %(trace_id)s::uuid
    ORDER BY started_ns DESC
    LIMIT %(counted)s
) AS newest
ORDER BY started_ns DESC, trace_id DESC
LIMIT %(limit)s

-- name: failed_nodes_of_traces
-- the first failed nodes of each of some executions, in the order they failed; served by node_outline_idx
SELECT failed.trace_id, failed.span_id, failed.ordinal, failed.name, failed.status, failed.error_type, failed.error_message
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT node.*
    FROM spantree.node
    WHERE node.tenant_id = %(tenant_id)s
        AND node.trace_id = wanted.trace_id
        AND node.day = ANY (%(days)s::date[])
        AND node.status IN ('failed', 'timed_out')
    ORDER BY node.ended_ns NULLS LAST, node.sequence DESC
    LIMIT %(limit)s
) AS failed
LIMIT %(limit)s::bigint * cardinality(%(trace_ids)s::uuid[])

-- name: open_steps_of_traces
-- what each of some executions is at: its open nodes without an open one below, which would come next in their order;
-- those that began first; served by node_sequence_idx
SELECT at_work.trace_id, at_work.span_id, at_work.ordinal, at_work.name, at_work.status, at_work.started_ns
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT opened.*
    FROM (
        SELECT node.*, lead(node.depth) OVER (ORDER BY node.sequence) AS next_depth
        FROM spantree.node
        WHERE node.tenant_id = %(tenant_id)s
            AND node.trace_id = wanted.trace_id
            AND node.day = ANY (%(days)s::date[])
            AND node.status IN ('running', 'waiting')
    ) AS opened
    WHERE opened.next_depth IS NULL OR opened.next_depth <= opened.depth
    ORDER BY opened.started_ns, opened.sequence
    LIMIT %(limit)s
) AS at_work
LIMIT %(limit)s::bigint * cardinality(%(trace_ids)s::uuid[])

-- name: failed_before_node
-- failed nodes below a node that had ended by some moment, in the order they failed; served by node_outline_idx on the days given
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND status IN ('failed', 'timed_out')
    AND ended_ns <= %(ended_ns)s::bigint
    AND sequence > %(from_sequence)s::integer
    AND sequence < COALESCE(
        (
            SELECT min(following.sequence)
            FROM spantree.node AS following
            WHERE following.tenant_id = %(tenant_id)s
                AND following.trace_id = %(trace_id)s::uuid
                AND following.day = ANY (%(days)s::date[])
                AND following.sequence > %(from_sequence)s::integer
                AND following.depth <= %(depth)s::integer
        ),
        2147483647
    )
ORDER BY ended_ns, sequence DESC
LIMIT %(limit)s
