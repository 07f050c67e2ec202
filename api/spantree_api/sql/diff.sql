-- What an execution is compared with.

-- name: steps_of_trace
-- what a comparison needs of the nodes, in sequence order; of their inputs whether they are equal, for which 64 bits do;
-- served by node_sequence_idx
SELECT
    span_id, ordinal, parent_span_id, parent_ordinal, name, status, started_ns, ended_ns, task_key, attempt, error_type,
    hashtextextended(input, 0) AS input_hash
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
ORDER BY sequence

-- name: last_good_before
-- the newest completed execution of the same workflow (of the same service, where there is no workflow: of the same
-- name) that started before the given one, of the days around it; served by execution_workflow_idx, execution_started_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
    AND started_ns < %(started_ns)s::bigint
    AND trace_id <> %(trace_id)s::uuid
    AND status = 'completed'
    AND service = %(service)s::text
    AND CASE
        WHEN %(workflow)s::text IS NULL THEN workflow_name IS NULL AND name = %(name)s::text
        ELSE workflow_name = %(workflow)s
    END
ORDER BY started_ns DESC, trace_id DESC
LIMIT 1
