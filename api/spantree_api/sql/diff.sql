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
-- the newest completed execution of the same service among the newest so many of the same workflow (where there is none: of
-- all, one of the same name) that started before the given one, of the days around it; served by execution_workflow_idx,
-- execution_started_idx. Of what has never completed all of these days would be read otherwise
SELECT *
FROM (
    SELECT execution.*
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND started_ns < %(started_ns)s::bigint
        AND trace_id <> %(trace_id)s::uuid
        AND CASE WHEN %(workflow)s::text IS NOT NULL THEN workflow_name = %(workflow)s ELSE true END
    ORDER BY started_ns DESC
    LIMIT %(walked)s
) AS newest
WHERE status = 'completed'
    AND service = %(service)s::text
    AND workflow_name IS NOT DISTINCT FROM %(workflow)s::text
    AND (workflow_name IS NOT NULL OR name = %(name)s::text)
ORDER BY started_ns DESC, trace_id DESC
LIMIT 1

-- name: last_good_in_hour
-- the newest completed execution of the same workflow and service in a part of an hour; served by execution_started_idx or
-- execution_workflow_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day = %(day)s::date
    AND workflow_name = %(workflow)s
    AND started_ns >= %(from_ns)s::bigint
    AND started_ns < %(to_ns)s::bigint
    AND status = 'completed'
    AND service = %(service)s::text
ORDER BY started_ns DESC, trace_id DESC
LIMIT 1

-- name: good_hours
-- the newest hours of some days in which an execution of a workflow completed, by the figures; served by
-- rollup_workflow_idx
SELECT (extract(epoch FROM started_at) * 1000000000)::bigint AS started_ns
FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s
    AND subject = 'workflow'
    AND workflow_name = left(%(workflow)s::text, 100)
    AND grain_h = 1
    AND started_at >= %(since)s::timestamptz
    AND started_at < %(until)s::timestamptz
    AND completed > 0
GROUP BY started_at
ORDER BY started_at DESC
LIMIT %(limit)s
