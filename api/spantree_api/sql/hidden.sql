-- What a list leaves out.

-- name: count_hidden
-- hidden executions that started in the range of a page, up to a limit; served by execution_started_idx
SELECT NULL::text AS name, count(*) AS count
FROM (
    SELECT
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND hidden
        AND (%(since_day)s::date IS NULL OR day >= %(since_day)s OR day = DATE '1970-01-01')
        AND (%(until_day)s::date IS NULL OR day <= %(until_day)s OR day = DATE '1970-01-01')
        AND (%(since_ns)s::bigint IS NULL OR started_ns >= %(since_ns)s)
        AND (%(until_ns)s::bigint IS NULL OR started_ns < %(until_ns)s)
    LIMIT %(limit)s
) AS hidden
