-- Executions: one by its trace, and lists. `lost` is decided by told.py in answers and by the same rule here in filters.

-- name: execution_of_trace
-- one execution; at most one row, whatever day it is on
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
LIMIT 1

-- name: list_executions
-- a page, newest first; a filter that is null leaves everything in
-- 1970-01-01 is the day of starts that are out of range (sql/migrations), so it belongs to every range of days.
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND (%(since_day)s::date IS NULL OR day >= %(since_day)s OR day = DATE '1970-01-01')
    AND (%(until_day)s::date IS NULL OR day <= %(until_day)s OR day = DATE '1970-01-01')
    AND (%(since_ns)s::bigint IS NULL OR started_ns >= %(since_ns)s)
    AND (%(until_ns)s::bigint IS NULL OR started_ns < %(until_ns)s)
    AND (
        %(after_ns)s::bigint IS NULL
        OR (started_ns, trace_id) < (%(after_ns)s::bigint, %(after_trace_id)s::uuid)
    )
    AND (%(hidden)s OR NOT hidden)
    AND (
        %(statuses)s::text[] IS NULL
        OR CASE
            WHEN status IN ('pending', 'running')
                AND %(now_ns)s::bigint - last_seen_ns
                    > COALESCE(lost_after_s, %(lost_after_s)s::double precision) * 1000000000.0
                THEN CASE WHEN 'root_missing' = ANY (anomalies) THEN 'completed' ELSE 'lost' END
            ELSE status
        END = ANY (%(statuses)s::text[])
    )
    AND (%(workflow)s::text IS NULL OR workflow_name = %(workflow)s)
    AND (%(service)s::text IS NULL OR %(service)s = ANY (services) OR service = %(service)s)
    AND (%(conversation_id)s::text IS NULL OR conversation_id = %(conversation_id)s)
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
    AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(error_category)s::text IS NULL OR error_category = %(error_category)s)
    AND (
        %(min_duration_ns)s::bigint IS NULL
        OR COALESCE(ended_ns, %(now_ns)s::bigint) - started_ns >= %(min_duration_ns)s
    )
    AND (
        %(max_duration_ns)s::bigint IS NULL
        OR COALESCE(ended_ns, %(now_ns)s::bigint) - started_ns <= %(max_duration_ns)s
    )
    AND (
        %(q)s::text IS NULL
        OR trace_id IN (
            SELECT found.trace_id
            FROM spantree.execution AS found
            WHERE found.tenant_id = %(tenant_id)s
                AND (%(since_day)s::date IS NULL OR found.day >= %(since_day)s OR found.day = DATE '1970-01-01')
                AND (
                    strpos(lower(found.name), lower(%(q)s)) > 0
                    OR strpos(lower(found.workflow_name), lower(%(q)s)) > 0
                    OR strpos(lower(found.entry), lower(%(q)s)) > 0
                    OR strpos(lower(found.error_summary), lower(%(q)s)) > 0
                )
            UNION ALL
            SELECT node.trace_id
            FROM spantree.node
            WHERE node.tenant_id = %(tenant_id)s
                AND (%(since_day)s::date IS NULL OR node.day >= %(since_day)s OR node.day = DATE '1970-01-01')
                AND (
                    strpos(lower(node.name), lower(%(q)s)) > 0
                    OR strpos(lower(node.error_type), lower(%(q)s)) > 0
                    OR strpos(lower(node.error_message), lower(%(q)s)) > 0
                )
            UNION ALL
            SELECT span.trace_id
            FROM spantree.span
            WHERE %(attributes)s::jsonb[] IS NOT NULL
                AND span.tenant_id = %(tenant_id)s
                AND (%(since_day)s::date IS NULL OR span.day >= %(since_day)s OR span.day = DATE '1970-01-01')
                AND span.attributes @> ANY (%(attributes)s::jsonb[])
        )
    )
ORDER BY started_ns DESC, trace_id DESC
LIMIT %(limit)s

-- name: list_failures
-- a page of executions that failed, newest first; served by execution_failure_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND status IN ('failed', 'partial', 'timed_out')
    AND day >= %(since_day)s::date
    AND started_ns >= %(since_ns)s::bigint
    AND (
        %(after_ns)s::bigint IS NULL
        OR (started_ns, trace_id) < (%(after_ns)s::bigint, %(after_trace_id)s::uuid)
    )
    AND (%(hidden)s OR NOT hidden)
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
    AND (%(workflow)s::text IS NULL OR workflow_name = %(workflow)s)
    AND (%(error_category)s::text IS NULL OR error_category = %(error_category)s)
ORDER BY started_ns DESC, trace_id DESC
LIMIT %(limit)s

-- name: list_stuck
-- executions that are open for longer than their threshold, and lost ones; served by execution_open_idx
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND status IN ('pending', 'running', 'waiting')
    AND NOT 'root_missing' = ANY (anomalies)
    AND (%(hidden)s OR NOT hidden)
    AND (
        (
            status IN ('pending', 'running')
            AND %(now_ns)s::bigint - last_seen_ns
                > COALESCE(lost_after_s, %(lost_after_s)s::double precision) * 1000000000.0
        )
        OR %(now_ns)s::bigint - started_ns > CASE status
            WHEN 'pending' THEN %(stuck_pending_s)s::double precision
            WHEN 'running' THEN %(stuck_running_s)s::double precision
            ELSE %(stuck_waiting_s)s::double precision
        END * 1000000000.0
    )
ORDER BY started_ns, trace_id
LIMIT %(limit)s
