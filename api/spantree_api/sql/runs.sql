-- One run over several traces.

-- name: executions_of_run
-- the executions that declare the run id, oldest first; served by execution_run_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND run_id = %(run_id)s
ORDER BY started_ns, trace_id
LIMIT %(limit)s

-- name: traces_with_nodes_of_run
-- executions of another run, or of none, in which nodes declare the run id, oldest first; served by node_run_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND run_id IS DISTINCT FROM %(run_id)s
    AND trace_id IN (
        SELECT node.trace_id
        FROM spantree.node
        WHERE node.tenant_id = %(tenant_id)s AND node.run_id = %(run_id)s
    )
ORDER BY started_ns, trace_id
LIMIT %(limit)s

-- name: nodes_of_traces
-- all nodes of some traces, each trace's in sequence order
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
ORDER BY trace_id, sequence

-- name: edges_of_traces
-- all stored edges of some traces
SELECT edge.*
FROM spantree.edge
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
ORDER BY trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type

-- name: run_statuses
-- what engines themselves said of the run's state, the last word last
SELECT facts ->> 'run_status' AS name, GREATEST(start_ns, end_ns) AS count
FROM spantree.span
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND (%(first_day)s::date IS NULL OR day BETWEEN %(first_day)s AND %(last_day)s)
    AND facts ? 'run_status'
    AND facts ->> 'run_id' = %(run_id)s
ORDER BY GREATEST(start_ns, end_ns), span_id
