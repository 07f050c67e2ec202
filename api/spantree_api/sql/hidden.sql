-- What a list leaves out.

-- name: count_hidden
-- hidden executions that started in the range of a page, up to a limit; served by execution_started_idx
SELECT NULL::text AS name, count(*) AS count
FROM (
    SELECT trace_id
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND hidden
        AND (day BETWEEN %(first_day)s::date AND %(last_day)s::date OR day = DATE '1970-01-01')
        AND started_ns >= %(from_ns)s::bigint
        AND started_ns <= %(to_ns)s::bigint
    ORDER BY started_ns DESC, trace_id DESC
    LIMIT %(limit)s
) AS hidden
