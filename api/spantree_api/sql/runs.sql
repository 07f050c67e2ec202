-- One run over several traces.

-- name: executions_of_run
-- of some days, the executions that declare the run id, oldest first; served by execution_run_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
    AND run_id = %(run_id)s
ORDER BY started_ns, trace_id
LIMIT %(limit)s

-- name: traces_with_nodes_of_run
-- of some days, the traces in which nodes declare the run id; served by node_run_idx. All nodes of the run first: where
-- texts have no statistics, a run looks frequent, and LIMIT would have every node read in the order of traces.
WITH found AS MATERIALIZED (
    SELECT trace_id
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND run_id = %(run_id)s
)
SELECT DISTINCT trace_id
FROM found
LIMIT %(limit)s

-- name: executions_of_other_runs
-- of some traces, the executions of another run, or of none, oldest first; served by execution_pkey
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day = ANY (%(days)s::date[])
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND run_id IS DISTINCT FROM %(run_id)s
ORDER BY started_ns, trace_id
LIMIT %(limit)s

-- name: nodes_of_traces
-- all nodes of some traces, each trace's in sequence order; served by node_sequence_idx
SELECT node.*
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND day = ANY (%(days)s::date[])
ORDER BY trace_id, sequence

-- name: edges_of_traces
-- all stored edges of some traces; served by edge_pkey
SELECT edge.*
FROM spantree.edge
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND day = ANY (%(days)s::date[])
ORDER BY trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type

-- name: run_statuses
-- what engines themselves said of the run's state, the last word last; served by span_pkey
SELECT facts ->> 'run_status' AS name, GREATEST(start_ns, end_ns) AS count
FROM spantree.span
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND day = ANY (%(days)s::date[])
    AND facts ? 'run_status'
    AND facts ->> 'run_id' = %(run_id)s
ORDER BY GREATEST(start_ns, end_ns), span_id
