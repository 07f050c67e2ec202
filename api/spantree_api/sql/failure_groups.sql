-- Groups of failures of the same cause. Figures come from rollups, as in stats.sql: `grains`, `since` and `until` are the
-- parts of the range.

-- name: failure_groups_of_range
-- groups seen since some moment, last seen first; served by failure_group_seen_idx, those of one workflow also by
-- rollup_workflow_idx
SELECT stored.*
FROM spantree.failure_group AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.last_seen_ns >= %(since_ns)s::bigint
    AND (%(before_ns)s::bigint IS NULL
        OR (stored.last_seen_ns, stored.fingerprint) < (%(before_ns)s::bigint, %(before_fingerprint)s::text))
    AND (%(state)s::text IS NULL OR stored.state = %(state)s)
    AND (%(category)s::text IS NULL OR stored.category = %(category)s)
    AND (%(hidden)s OR NOT stored.hidden)
    AND (
        %(workflow)s::text IS NULL
        OR stored.fingerprint IN (
            SELECT held.name
            FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
            CROSS JOIN LATERAL (
                SELECT rollup.name, rollup.total
                FROM spantree.rollup
                WHERE rollup.tenant_id = %(tenant_id)s
                    AND rollup.subject = 'error'
                    AND rollup.workflow_name = %(workflow)s
                    AND rollup.grain_h = part.grain_h
                    AND rollup.started_at >= part.since
                    AND rollup.started_at < part.until
                    AND (%(hidden)s OR NOT rollup.hidden)
                OFFSET 0
            ) AS held
            WHERE held.total > 0
        )
    )
ORDER BY stored.last_seen_ns DESC, stored.fingerprint DESC
LIMIT %(limit)s

-- name: failure_group
-- one group; served by failure_group_pkey
SELECT stored.*
FROM spantree.failure_group AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.fingerprint = %(fingerprint)s

-- name: failure_group_changes
-- the newest changes of one group's state, newest first; served by failure_group_change_pkey
SELECT state, note, changed_by, changed_at, version
FROM spantree.failure_group_change
WHERE tenant_id = %(tenant_id)s
    AND fingerprint = %(fingerprint)s
ORDER BY changed_at DESC, id
LIMIT %(limit)s

-- name: failure_group_counts
-- executions that failed of some causes, by workflow and bucket of time; served by rollup_error_idx
SELECT
    held.name AS fingerprint,
    held.workflow_name,
    (floor(extract(epoch FROM held.started_at) / 3600 / %(bucket_h)s::integer) * %(bucket_h)s::integer)::bigint AS hour,
    sum(held.total)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT rollup.name, rollup.workflow_name, rollup.started_at, rollup.total
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'error'
        AND rollup.name = ANY (%(fingerprints)s::text[])
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
    OFFSET 0
) AS held
GROUP BY held.name, held.workflow_name, 3
HAVING sum(held.total) > 0
ORDER BY 1, 2, 3

-- name: failure_group_examples
-- the newest execution of each of some causes, on the day that it was last seen or the sentinel's; served by
-- execution_error_idx on the days given
SELECT DISTINCT ON (wanted.fingerprint)
    wanted.fingerprint, newest.trace_id, newest.name, newest.error_summary, newest.started_ns
FROM unnest(%(fingerprints)s::text[], %(newest_days)s::date[]) AS wanted (fingerprint, day)
CROSS JOIN LATERAL (
    SELECT execution.trace_id, execution.name, execution.error_summary, execution.started_ns
    FROM spantree.execution
    WHERE execution.tenant_id = %(tenant_id)s
        AND execution.error_fingerprint = wanted.fingerprint
        AND execution.day = ANY (%(days)s::date[])
        AND (execution.day = wanted.day OR execution.day = DATE '1970-01-01')
    ORDER BY execution.started_ns DESC
    LIMIT 1
) AS newest
ORDER BY wanted.fingerprint, newest.started_ns DESC
LIMIT cardinality(%(fingerprints)s::text[])

-- name: change_failure_group
-- a group's new state, and a line of its history; no row where there is no such group; served by failure_group_pkey
WITH changed AS (
    UPDATE spantree.failure_group
    SET state = coalesce(%(state)s::text, state),
        note = %(note)s::text,
        changed_by = %(changed_by)s::text,
        changed_at = %(changed_at)s::timestamptz
    WHERE tenant_id = %(tenant_id)s
        AND fingerprint = %(fingerprint)s
    RETURNING tenant_id, fingerprint, changed_at, state, note, changed_by
)
INSERT INTO spantree.failure_group_change (tenant_id, fingerprint, changed_at, state, note, changed_by)
SELECT tenant_id, fingerprint, changed_at, state, note, changed_by
FROM changed
RETURNING fingerprint AS name, 1 AS count
