-- Figures over days: of nodes, of workflows. From rollups: `grains`, `since` and `until` are the parts of the range, each
-- of one grain (spantree_api.figures.intervals). Served by rollup_pkey, those of one workflow by rollup_workflow_idx.

-- name: outdated_intervals
-- days and intervals of eight days in a range that are not made of their hours, or not yet
SELECT grain_h, (extract(epoch FROM started_at) / 3600)::bigint AS hour
FROM spantree.rollup_outdated
WHERE tenant_id = %(tenant_id)s
    AND started_at > %(since)s::timestamptz - interval '192 hours'

-- name: gathering_intervals
-- days and intervals of eight days of a range in which a workflow, or a name, of some subjects may be counted among others;
-- served by rollup_pkey
SELECT DISTINCT grain.hours AS grain_h, (extract(epoch FROM begun.at) / 3600)::bigint AS hour
FROM (VALUES (24), (192)) AS grain (hours)
CROSS JOIN LATERAL generate_series(
    to_timestamp(floor(extract(epoch FROM %(since)s::timestamptz) / (grain.hours * 3600)) * (grain.hours * 3600)),
    %(until)s::timestamptz,
    grain.hours * interval '1 hour'
) AS begun (at)
CROSS JOIN unnest(%(subjects)s::text[], %(by_workflow)s::boolean[]) AS asked (subject, by_workflow)
WHERE EXISTS (
        SELECT
        FROM spantree.rollup
        WHERE asked.by_workflow
            AND rollup.tenant_id = %(tenant_id)s
            AND rollup.subject = asked.subject
            AND rollup.grain_h = grain.hours
            AND rollup.started_at = begun.at
            AND rollup.workflow_name = %(other)s
    )
    OR EXISTS (
        SELECT
        FROM spantree.rollup
        WHERE rollup.tenant_id = %(tenant_id)s
            AND rollup.subject = asked.subject
            AND rollup.grain_h = grain.hours
            AND rollup.started_at = begun.at
            AND rollup.workflow_name = ANY (ARRAY['', %(other)s])
            AND rollup.service = ''
            AND rollup.name = %(other)s
    )

-- name: node_totals
-- nodes by workflow and name, worst success rate first
SELECT
    NULLIF(held.workflow_name, '') AS workflow_name,
    held.name,
    min(held.kind) AS kind,
    sum(held.total)::bigint AS total,
    sum(held.completed)::bigint AS completed,
    sum(held.failed + held.timed_out)::bigint AS failed,
    sum(held.retried)::bigint AS retried,
    sum(held.skipped)::bigint AS skipped,
    sum(held.cancelled)::bigint AS cancelled,
    sum(held.timed_out)::bigint AS timed_out,
    (sum(held.duration_ns) / NULLIF(sum(held.ended), 0) / 1000000)::double precision AS avg_ms,
    max(held.last_failed_ns) AS last_failed_ns
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'node'
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(kind)s::text IS NULL OR rollup.kind = %(kind)s)
    OFFSET 0
) AS held
GROUP BY held.workflow_name, held.name
HAVING sum(held.total) > 0
ORDER BY
    sum(held.completed)::double precision / NULLIF(sum(held.completed + held.failed + held.timed_out), 0) NULLS LAST,
    sum(held.total) DESC,
    held.workflow_name,
    held.name
LIMIT %(limit)s

-- name: node_durations
-- histograms of the durations of some nodes, in a part for each bucket and no order: sorted, a quarter of a million parts are written to disk
SELECT
    NULLIF(held.workflow_name, '') AS workflow_name,
    held.name,
    each.bucket,
    sum(each.held)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'node'
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
    OFFSET 0
) AS held
CROSS JOIN LATERAL unnest((held.durations).buckets, (held.durations).counts) AS each (bucket, held)
WHERE (held.workflow_name, held.name) IN (
        SELECT * FROM unnest(%(workflows)s::text[], %(names)s::text[])
    )
    AND (%(kind)s::text IS NULL OR held.kind = %(kind)s)
GROUP BY held.workflow_name, held.name, each.bucket

-- name: workflow_totals
-- executions by workflow, most runs first
SELECT
    held.name,
    sum(held.total)::bigint AS runs,
    sum(held.completed)::bigint AS completed,
    sum(held.failed + held.timed_out)::bigint AS failed,
    sum(held.partial)::bigint AS partial,
    sum(held.timed_out)::bigint AS timed_out,
    sum(held.cancelled)::bigint AS cancelled,
    sum(held.pending + held.running)::bigint AS open,
    sum(held.waiting)::bigint AS waited,
    (sum(held.duration_ns) / NULLIF(sum(held.ended), 0) / 1000000)::double precision AS avg_ms,
    max(held.last_started_ns) AS last_started_ns
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'workflow'
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND rollup.name <> ''
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
    OFFSET 0
) AS held
GROUP BY held.name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name
LIMIT %(limit)s

-- name: workflow_durations
-- histograms of the durations of executions of some workflows, in a part for each bucket and no order: sorted, a quarter of a million parts are written to disk.
-- Workflow by workflow: before version 17 PostgreSQL does not look a list of them up in rollup_workflow_idx.
SELECT
    held.name AS workflow_name,
    held.name,
    each.bucket,
    sum(each.held)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN (SELECT DISTINCT unnest(%(names)s::text[])) AS wanted (name)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'workflow'
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND rollup.workflow_name = wanted.name
        AND (%(hidden)s OR NOT rollup.hidden)
    OFFSET 0
) AS held
CROSS JOIN LATERAL unnest((held.durations).buckets, (held.durations).counts) AS each (bucket, held)
GROUP BY held.name, each.bucket

-- name: workflow_errors
-- how often executions of one workflow failed for each category
SELECT COALESCE(NULLIF(held.kind, ''), 'unknown') AS name, sum(held.total)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'error'
        AND rollup.workflow_name = %(workflow)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
    OFFSET 0
) AS held
GROUP BY COALESCE(NULLIF(held.kind, ''), 'unknown')
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, 1

-- name: most_used_node
-- the step that one workflow runs most; the workflow's own node does not count
SELECT held.name, sum(held.total)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'node'
        AND rollup.workflow_name = %(workflow)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
    OFFSET 0
) AS held
WHERE held.role <> 'root'
    AND held.name <> %(workflow)s
GROUP BY held.name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name
LIMIT 1
