-- Groups of failures, brought up to date by what one fold adds to the figures: pg_temp.rollup_staging still holds it.
-- Look-ups are LATERAL with a LIMIT, so that a planner without statistics cannot make a join of whole days of them.
-- `days` are the days that it is about, bounded in number, and with them the partitions that are looked at.

-- name: reopen_groups
-- Resolved groups that failed again since: open again, with the version that they failed with. Before note_groups.
-- Served by failure_group_pkey, execution_error_idx on the days given, span_pkey and resource_pkey.
WITH seen AS MATERIALIZED (
    SELECT tenant_id, name AS fingerprint, max(last_started_ns) AS last_ns
    FROM pg_temp.rollup_staging
    WHERE subject = 'error'
        AND name <> ''
        AND total > 0
    GROUP BY tenant_id, name
),
back AS (
    SELECT
        stored.tenant_id, stored.fingerprint, to_timestamp(seen.last_ns / 1e9::double precision) AS at,
        (
            SELECT resource.attributes ->> 'service.version'
            FROM (
                SELECT execution.trace_id, execution.first_failed_span_id
                FROM spantree.execution
                WHERE execution.tenant_id = seen.tenant_id
                    AND execution.error_fingerprint = seen.fingerprint
                    AND execution.day = ANY (%(days)s::date[])
                ORDER BY execution.started_ns DESC
                LIMIT 1
            ) AS newest
            CROSS JOIN LATERAL (
                SELECT span.resource_id
                FROM spantree.span
                WHERE span.tenant_id = seen.tenant_id
                    AND span.trace_id = newest.trace_id
                    AND span.span_id = newest.first_failed_span_id
                    AND span.day = ANY (%(days)s::date[])
                LIMIT 1
            ) AS sent
            JOIN spantree.resource
                ON resource.tenant_id = seen.tenant_id
                AND resource.id = sent.resource_id
        ) AS version
    FROM seen
    JOIN spantree.failure_group AS stored
        ON stored.tenant_id = seen.tenant_id
        AND stored.fingerprint = seen.fingerprint
    WHERE stored.state = 'resolved'
        AND to_timestamp(seen.last_ns / 1e9::double precision) > stored.changed_at
),
reopened AS (
    UPDATE spantree.failure_group AS stored
    SET state = 'open',
        note = NULL,
        changed_by = NULL,
        changed_at = back.at,
        reopened_at = back.at,
        reopened_version = back.version
    FROM back
    WHERE stored.tenant_id = back.tenant_id
        AND stored.fingerprint = back.fingerprint
)
INSERT INTO spantree.failure_group_change (tenant_id, fingerprint, changed_at, state, version)
SELECT tenant_id, fingerprint, at, 'open', version
FROM back

-- name: note_groups
-- New groups, and what was seen of known ones. Of some of them, the latest, the exact first start and the version are
-- looked up: a flood of new causes is noted all the same. Served by execution_error_idx on the days given, span_pkey.
INSERT INTO spantree.failure_group AS stored (
    tenant_id, fingerprint, category, hidden, first_seen_ns, last_seen_ns, versions
)
SELECT
    seen.tenant_id, seen.fingerprint, seen.category, seen.hidden, coalesce(first.started_ns, seen.last_ns), seen.last_ns,
    CASE WHEN newest.version IS NULL THEN '{}' ELSE ARRAY[left(newest.version, 100)] END
FROM (
    SELECT
        tenant_id, name AS fingerprint, min(kind) AS category, bool_and(hidden) AS hidden,
        extract(epoch FROM min(started_at))::bigint * 1000000000 AS from_ns, max(last_started_ns) AS last_ns,
        row_number() OVER (ORDER BY max(last_started_ns) DESC) AS nth
    FROM pg_temp.rollup_staging
    WHERE subject = 'error'
        AND name <> ''
        AND total > 0
    GROUP BY tenant_id, name
) AS seen
LEFT JOIN LATERAL (
    SELECT execution.started_ns
    FROM spantree.execution
    WHERE seen.nth <= %(looked_up)s
        AND execution.tenant_id = seen.tenant_id
        AND execution.error_fingerprint = seen.fingerprint
        AND execution.day = ANY (%(days)s::date[])
        AND execution.started_ns >= seen.from_ns
    ORDER BY execution.started_ns
    LIMIT 1
) AS first ON true
LEFT JOIN LATERAL (
    SELECT resource.attributes ->> 'service.version' AS version
    FROM (
        SELECT execution.trace_id, execution.first_failed_span_id
        FROM spantree.execution
        WHERE seen.nth <= %(looked_up)s
            AND execution.tenant_id = seen.tenant_id
            AND execution.error_fingerprint = seen.fingerprint
            AND execution.day = ANY (%(days)s::date[])
        ORDER BY execution.started_ns DESC
        LIMIT 1
    ) AS latest
    CROSS JOIN LATERAL (
        SELECT span.resource_id
        FROM spantree.span
        WHERE span.tenant_id = seen.tenant_id
            AND span.trace_id = latest.trace_id
            AND span.span_id = latest.first_failed_span_id
            AND span.day = ANY (%(days)s::date[])
        LIMIT 1
    ) AS sent
    JOIN spantree.resource
        ON resource.tenant_id = seen.tenant_id
        AND resource.id = sent.resource_id
) AS newest ON true
ORDER BY seen.tenant_id, seen.fingerprint
ON CONFLICT ON CONSTRAINT failure_group_pkey
DO UPDATE SET
    category = EXCLUDED.category,
    hidden = stored.hidden AND EXCLUDED.hidden,
    first_seen_ns = least(stored.first_seen_ns, EXCLUDED.first_seen_ns),
    last_seen_ns = greatest(stored.last_seen_ns, EXCLUDED.last_seen_ns),
    versions = CASE
        WHEN EXCLUDED.versions <@ stored.versions THEN stored.versions
        ELSE (stored.versions || EXCLUDED.versions)[greatest(1, cardinality(stored.versions) - 18):]
    END
