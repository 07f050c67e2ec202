-- What an execution could have run and did not, as far as other executions of its workflow show.

-- name: names_that_ran
-- the names of a trace's nodes that were not skipped
SELECT DISTINCT name, NULL::text AS following
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND status <> 'skipped'

-- name: executions_near
-- executions of the workflow before and after a moment, the nearest first; served by execution_workflow_idx
WITH nearest AS (
    (
        SELECT trace_id, day, kind, skipped_nodes, total_count, %(started_ns)s::bigint - started_ns AS distance_ns
        FROM spantree.execution
        WHERE tenant_id = %(tenant_id)s
            AND workflow_name = %(workflow)s
            AND service = %(service)s
            AND started_ns <= %(started_ns)s::bigint
            AND day BETWEEN %(first_day)s AND %(last_day)s
            AND trace_id <> %(trace_id)s::uuid
        ORDER BY started_ns DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT trace_id, day, kind, skipped_nodes, total_count, started_ns - %(started_ns)s::bigint AS distance_ns
        FROM spantree.execution
        WHERE tenant_id = %(tenant_id)s
            AND workflow_name = %(workflow)s
            AND service = %(service)s
            AND started_ns > %(started_ns)s::bigint
            AND day BETWEEN %(first_day)s AND %(last_day)s
            AND trace_id <> %(trace_id)s::uuid
        ORDER BY started_ns
        LIMIT %(limit)s
    )
)
SELECT trace_id, day, kind, skipped_nodes, total_count
FROM nearest
ORDER BY distance_ns, trace_id

-- name: steps_that_follow
-- which name followed which in some executions; the traces are parameters and no join, because PostgreSQL otherwise
-- reads all nodes and edges of these days: 0.6 s instead of 30 ms beside 700,000 others
SELECT DISTINCT earlier.name AS name, later.name AS following
FROM spantree.edge
INNER JOIN spantree.node AS earlier
    ON earlier.trace_id = edge.trace_id
    AND earlier.span_id = edge.from_span_id
    AND earlier.ordinal = edge.from_ordinal
INNER JOIN spantree.node AS later
    ON later.trace_id = edge.trace_id
    AND later.span_id = edge.to_span_id
    AND later.ordinal = edge.to_ordinal
WHERE edge.tenant_id = %(tenant_id)s
    AND edge.trace_id = ANY (%(trace_ids)s::uuid[])
    AND edge.day BETWEEN %(first_day)s AND %(last_day)s
    AND edge.type IN ('sequential', 'conditional', 'parallel', 'join', 'dependency', 'handoff')
    AND edge.from_trace_id IS NULL
    AND earlier.tenant_id = %(tenant_id)s
    AND earlier.trace_id = ANY (%(trace_ids)s::uuid[])
    AND earlier.day BETWEEN %(first_day)s AND %(last_day)s
    AND later.tenant_id = %(tenant_id)s
    AND later.trace_id = ANY (%(trace_ids)s::uuid[])
    AND later.day BETWEEN %(first_day)s AND %(last_day)s
    AND later.kind IN ('step', 'task', 'agent', 'workflow', 'chain', 'function')
