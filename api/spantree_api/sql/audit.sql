-- Who asked what of which service.

-- name: audit_entries
-- of the newest requests of some days, those that match, newest first, and the last one looked at, which may not; served
-- by span_server_idx
WITH walked AS (
    SELECT
        audit.day, audit.execution_id, audit.span_id, audit.action, audit.resource_type, audit.resource_id, audit.tenant,
        audit.method, audit.path, audit.status, audit.success, audit.error, audit.address, audit.user_agent,
        audit.service, audit.route, audit.duration_ms, audit.hidden, audit.caller_id, audit.started_ns, audit.span_number
    FROM spantree.audit
    WHERE audit.tenant_id = %(tenant_id)s
        AND audit.day = ANY (%(days)s::date[])
        AND audit.started_ns >= %(from_ns)s::bigint
        AND audit.started_ns <= %(to_ns)s::bigint
        AND (audit.started_ns, audit.execution_id, audit.span_number)
            < (%(before_ns)s::bigint, %(before_trace_id)s::uuid, %(before_span_id)s::bigint)
    ORDER BY audit.started_ns DESC, audit.execution_id DESC, audit.span_number DESC
    LIMIT %(walked)s
),
users AS MATERIALIZED (
    SELECT wanted.execution_id, execution.user_id
    FROM (
        SELECT DISTINCT execution_id
        FROM walked
        WHERE caller_id IS NULL
    ) AS wanted
    CROSS JOIN LATERAL (
        SELECT of_trace.user_id
        FROM spantree.execution AS of_trace
        WHERE of_trace.tenant_id = %(tenant_id)s
            AND of_trace.trace_id = wanted.execution_id
            AND of_trace.day = ANY (%(days)s::date[])
        ORDER BY of_trace.tenant_id
    ) AS execution
),
whose AS (
    SELECT
        walked.*,
        COALESCE(walked.caller_id, users.user_id) AS user_id,
        row_number() OVER (ORDER BY started_ns DESC, execution_id DESC, span_number DESC) AS turn,
        count(*) OVER () AS turns
    FROM walked
    LEFT JOIN users USING (execution_id)
),
judged AS (
    SELECT
        whose.*,
        (%(hidden)s OR NOT hidden)
            AND (%(user)s::text IS NULL OR user_id = %(user)s)
            AND (%(action)s::text IS NULL OR lower(%(action)s) IN (lower(action), lower(method)))
            AND (
                %(resource)s::text IS NULL
                OR %(resource)s IN (resource_type, concat_ws('/', resource_type, resource_id), path)
            )
            AND (%(service)s::text IS NULL OR service = %(service)s)
            AND (%(success)s::boolean IS NULL OR success = %(success)s) AS matches
    FROM whose
)
SELECT *, COALESCE(matches, false) AS is_match
FROM judged
WHERE matches
    OR turn = turns
ORDER BY turn
