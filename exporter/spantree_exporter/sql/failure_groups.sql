-- Groups of failures, brought up to date by what one fold adds to the figures: pg_temp.rollup_staging still holds it.
-- Look-ups are LATERAL with a LIMIT, so that a planner without statistics cannot make a join of whole days of them; they
-- are statements of their own, with DISTINCT ON and a LIMIT at their ends, for Citus asks each shard for one.
-- `days` are the days that it is about, bounded in number, and with them the partitions that are looked at.

-- name: seen_groups
-- The groups that failed again, the latest first, and whether they were resolved before; of how many of them more is
-- looked up is the caller's. Served by failure_group_pkey.
SELECT
    seen.tenant_id, seen.fingerprint, seen.from_ns,
    coalesce(stored.state = 'resolved' AND to_timestamp(seen.last_ns / 1e9::double precision) > stored.changed_at, false)
FROM (
    SELECT
        tenant_id, name AS fingerprint, extract(epoch FROM min(started_at))::bigint * 1000000000 AS from_ns,
        max(last_started_ns) AS last_ns
    FROM pg_temp.rollup_staging
    WHERE subject = 'error'
        AND name NOT IN ('', '(other names)')
        AND total > 0
    GROUP BY tenant_id, name
) AS seen
LEFT JOIN spantree.failure_group AS stored
    ON stored.tenant_id = seen.tenant_id
    AND stored.fingerprint = seen.fingerprint
ORDER BY seen.last_ns DESC

-- name: push_limits
-- Within the transaction, for Citus: whether limits of subqueries are asked of every shard.
SELECT set_config('citus.subquery_pushdown', %(pushed)s::text, true)

-- name: first_of_groups
-- The first start of an execution that failed of each. Served by execution_error_idx on the days given.
SELECT DISTINCT ON (wanted.tenant_id, wanted.fingerprint) wanted.tenant_id, wanted.fingerprint, first.started_ns
FROM unnest(%(tenant_ids)s::integer[], %(fingerprints)s::text[], %(from_ns)s::bigint[])
    AS wanted (tenant_id, fingerprint, from_ns)
CROSS JOIN LATERAL (
    SELECT execution.started_ns
    FROM spantree.execution
    WHERE execution.tenant_id = wanted.tenant_id
        AND execution.error_fingerprint = wanted.fingerprint
        AND execution.day = ANY (%(days)s::date[])
        AND execution.started_ns >= wanted.from_ns
    ORDER BY execution.started_ns
    LIMIT 1
) AS first
ORDER BY wanted.tenant_id, wanted.fingerprint, first.started_ns
LIMIT cardinality(%(fingerprints)s::text[])

-- name: newest_of_groups
-- The newest execution that failed of each, and what failed first in it. Served by execution_error_idx on the days given.
SELECT DISTINCT ON (wanted.tenant_id, wanted.fingerprint)
    wanted.tenant_id, wanted.fingerprint, newest.trace_id, newest.first_failed_span_id
FROM unnest(%(tenant_ids)s::integer[], %(fingerprints)s::text[]) AS wanted (tenant_id, fingerprint)
CROSS JOIN LATERAL (
    SELECT execution.trace_id, execution.first_failed_span_id, execution.started_ns
    FROM spantree.execution
    WHERE execution.tenant_id = wanted.tenant_id
        AND execution.error_fingerprint = wanted.fingerprint
        AND execution.day = ANY (%(days)s::date[])
    ORDER BY execution.started_ns DESC
    LIMIT 1
) AS newest
ORDER BY wanted.tenant_id, wanted.fingerprint, newest.started_ns DESC
LIMIT cardinality(%(fingerprints)s::text[])

-- name: versions_of_spans
-- service.version of what sent some spans. Served by span_pkey on the days given, and resource_pkey.
SELECT wanted.tenant_id, wanted.trace_id, left(resource.attributes ->> 'service.version', 100)
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::uuid[], %(span_ids)s::bigint[])
    AS wanted (tenant_id, trace_id, span_id)
CROSS JOIN LATERAL (
    SELECT span.resource_id
    FROM spantree.span
    WHERE span.tenant_id = wanted.tenant_id
        AND span.trace_id = wanted.trace_id
        AND span.span_id = wanted.span_id
        AND span.day = ANY (%(days)s::date[])
    LIMIT 1
) AS sent
JOIN spantree.resource
    ON resource.tenant_id = wanted.tenant_id
    AND resource.id = sent.resource_id
LIMIT cardinality(%(trace_ids)s::uuid[])

-- name: reopen_groups
-- Resolved groups that failed again since: open again, with the version that they failed with. Before note_groups.
WITH back AS (
    SELECT seen.tenant_id, seen.fingerprint, to_timestamp(seen.last_ns / 1e9::double precision) AS at, known.version
    FROM (
        SELECT tenant_id, name AS fingerprint, max(last_started_ns) AS last_ns
        FROM pg_temp.rollup_staging
        WHERE subject = 'error'
            AND name NOT IN ('', '(other names)')
            AND total > 0
        GROUP BY tenant_id, name
    ) AS seen
    JOIN unnest(%(tenant_ids)s::integer[], %(fingerprints)s::text[], %(versions)s::text[])
        AS known (tenant_id, fingerprint, version) USING (tenant_id, fingerprint)
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
-- New groups, and what was seen of known ones. Of some of them the exact first start and the version were looked up.
INSERT INTO spantree.failure_group AS stored (
    tenant_id, fingerprint, category, hidden, first_seen_ns, last_seen_ns, versions
)
SELECT
    seen.tenant_id, seen.fingerprint, seen.category, seen.hidden, coalesce(known.first_ns, seen.last_ns), seen.last_ns,
    CASE WHEN known.version IS NULL THEN '{}' ELSE ARRAY[known.version] END
FROM (
    SELECT
        tenant_id, name AS fingerprint, min(kind) AS category, bool_and(hidden) AS hidden,
        max(last_started_ns) AS last_ns
    FROM pg_temp.rollup_staging
    WHERE subject = 'error'
        AND name NOT IN ('', '(other names)')
        AND total > 0
    GROUP BY tenant_id, name
) AS seen
LEFT JOIN unnest(%(tenant_ids)s::integer[], %(fingerprints)s::text[], %(first_ns)s::bigint[], %(versions)s::text[])
    AS known (tenant_id, fingerprint, first_ns, version) USING (tenant_id, fingerprint)
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
