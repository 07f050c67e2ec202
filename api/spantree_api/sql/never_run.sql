-- What an execution could have run and did not, as far as other executions of its workflow show.

-- name: names_that_ran
-- the names of a trace's nodes that were not skipped
SELECT DISTINCT name, NULL::text AS following
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND status <> 'skipped'

-- name: steps_that_follow
-- which name followed which in executions of the workflow near in time, and (name null) the steps that its definition
-- names; served by execution_workflow_idx, then by the keys of edge and node
WITH near AS (
    (
        SELECT trace_id, day, kind, skipped_nodes
        FROM spantree.execution
        WHERE tenant_id = %(tenant_id)s
            AND workflow_name = %(workflow)s
            AND service = %(service)s
            AND started_ns <= %(started_ns)s
            AND day BETWEEN %(first_day)s AND %(last_day)s
            AND trace_id <> %(trace_id)s::uuid
        ORDER BY started_ns DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT trace_id, day, kind, skipped_nodes
        FROM spantree.execution
        WHERE tenant_id = %(tenant_id)s
            AND workflow_name = %(workflow)s
            AND service = %(service)s
            AND started_ns > %(started_ns)s
            AND day BETWEEN %(first_day)s AND %(last_day)s
            AND trace_id <> %(trace_id)s::uuid
        ORDER BY started_ns
        LIMIT %(limit)s
    )
)
SELECT DISTINCT earlier.name AS name, later.name AS following
FROM near
INNER JOIN spantree.edge
    ON edge.tenant_id = %(tenant_id)s
    AND edge.trace_id = near.trace_id
    AND edge.day BETWEEN near.day AND near.day + 1
    AND edge.type IN ('sequential', 'conditional', 'parallel', 'join', 'dependency', 'handoff')
    AND edge.from_trace_id IS NULL
INNER JOIN spantree.node AS earlier
    ON earlier.tenant_id = %(tenant_id)s
    AND earlier.trace_id = near.trace_id
    AND earlier.day BETWEEN near.day AND near.day + 1
    AND earlier.span_id = edge.from_span_id
    AND earlier.ordinal = edge.from_ordinal
INNER JOIN spantree.node AS later
    ON later.tenant_id = %(tenant_id)s
    AND later.trace_id = near.trace_id
    AND later.day BETWEEN near.day AND near.day + 1
    AND later.span_id = edge.to_span_id
    AND later.ordinal = edge.to_ordinal
    AND later.kind IN ('step', 'task', 'agent', 'workflow', 'chain', 'function')
UNION ALL
SELECT DISTINCT NULL::text, named
FROM near, unnest(near.skipped_nodes) AS named
WHERE near.kind = 'definition'
