-- name: missing_partitions
-- Days of %(days)s whose partition of span is not there.
SELECT wanted.day
FROM unnest(%(days)s::date[]) AS wanted (day)
WHERE NOT EXISTS (
    SELECT
    FROM pg_inherits
    WHERE inhparent = 'spantree.span'::regclass
        AND inhrelid = to_regclass('spantree.span_' || to_char(wanted.day, 'YYYYMMDD'))
)
ORDER BY wanted.day

-- name: limit_check
-- For this transaction: a check that takes longer is given up.
SELECT set_config('statement_timeout', '5s', true)

-- name: gathered_names
-- Tenants that had more names of something in an hour of the last day than figures keep, and of what; served by rollup_pkey.
SELECT tenant.name, array_agg(DISTINCT asked.subject ORDER BY asked.subject)
FROM spantree.tenant AS tenant
CROSS JOIN unnest(%(subjects)s::text[]) AS asked (subject)
CROSS JOIN generate_series(date_trunc('hour', now()) - interval '23 hours', now(), interval '1 hour') AS begun (at)
WHERE EXISTS (
        SELECT
        FROM spantree.rollup
        WHERE rollup.tenant_id = tenant.tenant_id
            AND rollup.subject = asked.subject
            AND rollup.grain_h = 1
            AND rollup.started_at = begun.at
            AND rollup.workflow_name = %(other)s
    )
    OR EXISTS (
        SELECT
        FROM spantree.rollup
        WHERE rollup.tenant_id = tenant.tenant_id
            AND rollup.subject = asked.subject
            AND rollup.grain_h = 1
            AND rollup.started_at = begun.at
            AND rollup.workflow_name = ''
            AND rollup.service = ''
            AND rollup.name = %(other)s
    )
GROUP BY tenant.tenant_id, tenant.name
ORDER BY tenant.tenant_id

-- name: dead_letters
-- How many spans were kept out of the tables, why the newest was, and of which tenants they are.
SELECT
    count(*),
    (SELECT reason FROM spantree.dead_letter ORDER BY last_received_ns DESC LIMIT 1),
    (
        SELECT array_agg(tenant.name ORDER BY tenant.tenant_id)
        FROM spantree.tenant AS tenant
        WHERE tenant.tenant_id IN (SELECT letter.tenant_id FROM spantree.dead_letter AS letter)
    )
FROM spantree.dead_letter

-- name: hides_rows
-- Whether this role is shown but some tenant's rows.
SELECT row_security_active('spantree.pending_projection')

-- name: pending
-- Traces that wait for projection, how long the oldest has, how many cannot be projected and why one of them.
SELECT
    count(*),
    extract(epoch FROM now() - min(first_pending_at))::double precision,
    count(*) FILTER (WHERE failures > 0),
    min(error) FILTER (WHERE failures > 0)
FROM spantree.pending_projection

-- name: spool_backlog
-- For SQLite: requests and their bytes in the spool of a collector that is not running.
SELECT count(*), coalesce(sum(size_bytes), 0) FROM body
