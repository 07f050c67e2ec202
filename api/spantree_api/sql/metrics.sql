-- Figures for /metrics, of now and of the last hour; read at most every few seconds.

-- name: backlog
-- what waits for projection, for how long, and what cannot be projected
SELECT
    count(*) AS traces,
    coalesce(extract(epoch FROM clock_timestamp() - min(first_pending_at)), 0)::double precision AS lag_s,
    count(*) FILTER (WHERE failures > 0 OR begun > 1) AS failing
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s

-- name: dead_letters_by_cause
-- how many different ones are kept, and how often they came
SELECT cause, count(*) AS letters, sum(count)::bigint AS count
FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
GROUP BY cause

-- name: recent_executions
-- how the executions that started lately went, by workflow; served by execution_visible_idx on the days around now
SELECT coalesce(workflow_name, '') AS workflow, status, count(*) AS count
FROM (
    SELECT workflow_name, status
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND started_ns >= %(since_ns)s::bigint
        AND NOT hidden
    -- For its index: without statistics, any other looks as good, and reads whole days.
    ORDER BY started_ns DESC
) AS recent
GROUP BY 1, 2

-- name: gathered_names
-- subjects of which this hour, or the one before, has more names than figures keep; served by rollup_pkey
SELECT asked.subject AS name, count(*) AS count
FROM unnest(%(subjects)s::text[]) AS asked (subject)
CROSS JOIN (VALUES (date_trunc('hour', %(now)s::timestamptz)), (date_trunc('hour', %(now)s::timestamptz) - interval '1 hour')) AS begun (at)
WHERE EXISTS (
        SELECT
        FROM spantree.rollup
        WHERE rollup.tenant_id = %(tenant_id)s
            AND rollup.subject = asked.subject
            AND rollup.grain_h = 1
            AND rollup.started_at = begun.at
            AND rollup.workflow_name = %(other)s
    )
    OR EXISTS (
        SELECT
        FROM spantree.rollup
        WHERE rollup.tenant_id = %(tenant_id)s
            AND rollup.subject = asked.subject
            AND rollup.grain_h = 1
            AND rollup.started_at = begun.at
            AND rollup.workflow_name = ''
            AND rollup.service = ''
            AND rollup.name = %(other)s
    )
GROUP BY asked.subject
ORDER BY asked.subject
