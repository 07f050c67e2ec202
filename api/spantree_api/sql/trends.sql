-- Figures by name and over time. From rollups: `grains`, `since` and `until` are the parts of the range, each of one
-- grain (spantree_api.figures.intervals). Served by rollup_pkey, those of one workflow by rollup_workflow_idx. Below an hour
-- rollups tell nothing: there the newest rows of a bounded range are counted.

-- name: name_totals
-- what is counted under a subject, by name, most first
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
    sum(held.input_tokens)::bigint AS input_tokens,
    sum(held.output_tokens)::bigint AS output_tokens,
    sum(held.cost_usd)::double precision AS cost_usd,
    max(held.last_started_ns) AS last_started_ns
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND rollup.name <> ''
        AND (%(name)s::text IS NULL OR rollup.name = %(name)s)
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
        AND NOT (
            rollup.subject = 'model'
            AND rollup.kind = ANY (spantree.kinds_that_sum_up())
            AND spantree.is_told_by_calls(
                rollup.kind, rollup.tenant_id, rollup.workflow_name, rollup.grain_h, rollup.started_at
            )
        )
    OFFSET 0
) AS held
GROUP BY held.name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name
LIMIT %(limit)s

-- name: name_durations
-- histograms of the durations of some names of a subject, in a part for each bucket and no order: sorted, a quarter of a million parts are written to disk
SELECT NULL::text AS workflow_name, held.name, each.bucket, sum(each.held)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND rollup.name = ANY (%(names)s::text[])
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
        AND NOT (
            rollup.subject = 'model'
            AND rollup.kind = ANY (spantree.kinds_that_sum_up())
            AND spantree.is_told_by_calls(
                rollup.kind, rollup.tenant_id, rollup.workflow_name, rollup.grain_h, rollup.started_at
            )
        )
    OFFSET 0
) AS held
CROSS JOIN LATERAL unnest((held.durations).buckets, (held.durations).counts) AS each (bucket, held)
GROUP BY held.name, each.bucket

-- name: names_of_workflows
-- how often a subject's name ran under each workflow, most first
SELECT held.workflow_name AS name, sum(held.total)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND rollup.name = %(name)s
        AND rollup.workflow_name <> ''
    OFFSET 0
) AS held
GROUP BY held.workflow_name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.workflow_name
LIMIT %(limit)s

-- name: most_used_nodes_of_workflows
-- the step that some workflows run most; their own nodes do not count; served by rollup_workflow_idx
SELECT held.name, sum(held.total)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'node'
        AND rollup.workflow_name = ANY (%(workflows)s::text[])
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
    OFFSET 0
) AS held
WHERE held.role <> 'root'
    AND held.name <> held.workflow_name
GROUP BY held.name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name
LIMIT 1

-- name: longest_of_project
-- the execution of a project that took longest, of those that took at least so long; served by execution_duration_idx
SELECT trace_id, (ended_ns - started_ns) / 1e6::double precision AS duration_ms
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day = ANY (%(days)s::date[])
    AND ended_ns - started_ns >= %(min_duration_ns)s::bigint
    AND project = %(project)s
    AND started_ns >= %(from_ns)s::bigint
    AND started_ns < %(end_ns)s::bigint
ORDER BY ended_ns - started_ns DESC
LIMIT 1

-- name: queues_of_project
-- queues that a project's newest executions were taken from, most first; served by execution_project_idx
SELECT substr(newest.entry, 7) AS name, count(*) AS count
FROM (
    SELECT entry
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day = ANY (%(days)s::date[])
        AND project = %(project)s
        AND started_ns >= %(from_ns)s::bigint
        AND started_ns < %(end_ns)s::bigint
    ORDER BY started_ns DESC
    LIMIT %(walked)s
) AS newest
WHERE newest.entry LIKE 'queue %%'
GROUP BY newest.entry
ORDER BY count(*) DESC, newest.entry
LIMIT 1

-- name: map_nodes
-- the steps of one workflow, most runs first; its own node does not count; served by rollup_workflow_idx
SELECT
    held.name,
    min(held.kind) AS kind,
    sum(held.total)::bigint AS runs,
    sum(held.completed)::bigint AS completed,
    sum(held.failed + held.timed_out)::bigint AS failed,
    sum(held.retried)::bigint AS retried,
    sum(held.skipped)::bigint AS skipped,
    (sum(held.duration_ns) / NULLIF(sum(held.ended), 0) / 1000000)::double precision AS avg_ms
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
GROUP BY held.name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name
LIMIT %(limit)s

-- name: map_edges
-- how many executions of one workflow went from one step to another, most first; served by rollup_workflow_idx
SELECT
    held.name AS from_name, held.target AS to_name, held.role AS type, sum(held.total)::bigint AS runs,
    greatest(0, sum(held.failed))::bigint AS failed
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'edge'
        AND rollup.workflow_name = %(workflow)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
    OFFSET 0
) AS held
GROUP BY held.name, held.target, held.role
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name, held.target, held.role
LIMIT %(limit)s

-- name: newest_of_workflow
-- the newest executions of one workflow; served by execution_workflow_idx
SELECT trace_id
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day = ANY (%(days)s::date[])
    AND workflow_name = %(workflow)s
ORDER BY started_ns DESC
LIMIT %(limit)s

-- name: conditions_of_traces
-- the conditions by which some executions went from one step to another; served by edge_pkey. Both steps are looked up
-- by key for each edge: a join would be planned by partitions that were never analysed
SELECT DISTINCT earlier.name AS from_name, later.name AS to_name, edge.condition
FROM spantree.edge
CROSS JOIN LATERAL (
    SELECT node.name
    FROM spantree.node
    WHERE node.tenant_id = edge.tenant_id
        AND node.trace_id = edge.trace_id
        AND node.span_id = edge.from_span_id
        AND node.ordinal = edge.from_ordinal
        AND node.day = ANY (%(days)s::date[])
    LIMIT 1
) AS earlier
CROSS JOIN LATERAL (
    SELECT node.name
    FROM spantree.node
    WHERE node.tenant_id = edge.tenant_id
        AND node.trace_id = edge.trace_id
        AND node.span_id = edge.to_span_id
        AND node.ordinal = edge.to_ordinal
        AND node.day = ANY (%(days)s::date[])
    LIMIT 1
) AS later
WHERE edge.tenant_id = %(tenant_id)s
    AND edge.trace_id = ANY (%(trace_ids)s::uuid[])
    AND edge.day = ANY (%(days)s::date[])
    AND edge.condition IS NOT NULL
LIMIT %(limit)s

-- name: trend_names
-- the series of a trend that have most runs: names, categories of errors, or all as one
SELECT series.name, sum(held.total)::bigint AS count
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
        AND (%(series)s::text <> 'name' OR %(name)s::text IS NULL OR rollup.name = %(name)s)
    OFFSET 0
) AS held
CROSS JOIN LATERAL (
    SELECT CASE %(series)s::text WHEN 'all' THEN '' WHEN 'kind' THEN held.kind ELSE held.name END AS name
) AS series
WHERE (%(name)s::text IS NULL OR series.name = %(name)s)
    AND (series.name <> '' OR %(series)s::text <> 'name')
GROUP BY series.name
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, series.name
LIMIT %(limit)s

-- name: trend_points
-- figures of some series by the points that begin at `starts`, ascending; what begins before the first is in none;
-- a quantile only of one duration, which is that one
SELECT
    series.name,
    (%(starts)s::bigint[])[width_bucket(extract(epoch FROM held.started_at)::bigint, %(starts)s::bigint[])] AS at_s,
    sum(held.total)::bigint AS runs,
    sum(held.completed)::bigint AS completed,
    sum(held.failed + held.timed_out + held.partial)::bigint AS failed,
    sum(held.retried + held.retried_nodes)::bigint AS retried,
    sum(held.input_tokens + held.output_tokens)::bigint AS tokens,
    sum(held.cost_usd)::double precision AS cost_usd,
    CASE WHEN sum(held.ended) = 1 THEN (sum(held.duration_ns) / 1000000)::double precision END AS quantile_ms
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
        AND (%(series)s::text <> 'name' OR rollup.name = ANY (%(names)s::text[]))
        AND NOT (
            rollup.subject = 'model'
            AND rollup.kind = ANY (spantree.kinds_that_sum_up())
            AND spantree.is_told_by_calls(
                rollup.kind, rollup.tenant_id, rollup.workflow_name, rollup.grain_h, rollup.started_at
            )
        )
    OFFSET 0
) AS held
CROSS JOIN LATERAL (
    SELECT CASE %(series)s::text WHEN 'all' THEN '' WHEN 'kind' THEN held.kind ELSE held.name END AS name
) AS series
WHERE series.name = ANY (%(names)s::text[])
GROUP BY 1, 2
ORDER BY 1, 2

-- name: trend_durations
-- histograms of the durations of some series by the same points, not added up yet
SELECT
    series.name,
    (%(starts)s::bigint[])[width_bucket(extract(epoch FROM held.started_at)::bigint, %(starts)s::bigint[])] AS at_s,
    (held.durations).buckets,
    (held.durations).counts
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
        AND (%(workflow)s::text IS NULL OR rollup.workflow_name = %(workflow)s)
        AND (%(hidden)s OR NOT rollup.hidden)
        AND (%(series)s::text <> 'name' OR rollup.name = ANY (%(names)s::text[]))
        AND rollup.ended > 0
        AND NOT (
            rollup.subject = 'model'
            AND rollup.kind = ANY (spantree.kinds_that_sum_up())
            AND spantree.is_told_by_calls(
                rollup.kind, rollup.tenant_id, rollup.workflow_name, rollup.grain_h, rollup.started_at
            )
        )
    OFFSET 0
) AS held
CROSS JOIN LATERAL (
    SELECT CASE %(series)s::text WHEN 'all' THEN '' WHEN 'kind' THEN held.kind ELSE held.name END AS name
) AS series
WHERE series.name = ANY (%(names)s::text[])

-- name: trend_of_executions
-- figures of executions by minutes, counted from the newest rows of some days; served by execution_visible_idx
WITH newest AS (
    SELECT
        left(CASE %(by)s::text
            WHEN 'workflow' THEN workflow_name
            WHEN 'service' THEN service
            WHEN 'user' THEN user_id
            WHEN 'project' THEN project
            WHEN 'category' THEN CASE WHEN status IN ('failed', 'partial', 'timed_out') THEN COALESCE(error_category, '') END
            ELSE ''
        END, 100) AS name,
        started_ns / 1000000000 / %(step_s)s::bigint * %(step_s)s::bigint AS at_s,
        status, started_ns, ended_ns, retried_count, input_tokens, output_tokens, cost_usd
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day = ANY (%(days)s::date[])
        AND started_ns >= %(from_ns)s::bigint
        AND started_ns < %(end_ns)s::bigint
        AND (%(hidden)s OR NOT hidden)
    ORDER BY started_ns DESC
    LIMIT %(walked)s
),
wanted AS (
    SELECT name
    FROM newest
    WHERE name = COALESCE(%(name)s::text, name)
    GROUP BY name
    ORDER BY count(*) DESC, name
    LIMIT %(limit)s
)
SELECT
    newest.name,
    newest.at_s,
    count(*) AS runs,
    count(*) FILTER (WHERE newest.status = 'completed') AS completed,
    count(*) FILTER (WHERE newest.status IN ('failed', 'timed_out', 'partial')) AS failed,
    sum(newest.retried_count)::bigint AS retried,
    COALESCE(sum(newest.input_tokens), 0)::bigint + COALESCE(sum(newest.output_tokens), 0)::bigint AS tokens,
    COALESCE(sum(newest.cost_usd), 0)::double precision AS cost_usd,
    percentile_disc(%(quantile)s::double precision) WITHIN GROUP (ORDER BY newest.ended_ns - newest.started_ns)
        FILTER (WHERE newest.status <> 'skipped')
        / 1e6::double precision AS quantile_ms
FROM newest
JOIN wanted ON wanted.name = newest.name
GROUP BY 1, 2
ORDER BY 1, 2

-- name: trend_walked_to
-- the start of the oldest execution that trend_of_executions counts, where it left out older ones; served by
-- execution_visible_idx
SELECT NULL::text AS name, started_ns AS count
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day = ANY (%(days)s::date[])
    AND started_ns >= %(from_ns)s::bigint
    AND started_ns < %(end_ns)s::bigint
    AND (%(hidden)s OR NOT hidden)
ORDER BY started_ns DESC
OFFSET %(walked)s - 1
LIMIT 1

-- name: trend_of_nodes
-- figures of the nodes of the newest executions of some days by minutes, of hidden ones, too, as rollups have them; served
-- by execution_started_idx, node_sequence_idx
WITH newest AS (
    SELECT trace_id
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day = ANY (%(days)s::date[])
        AND started_ns >= %(from_ns)s::bigint
        AND started_ns < %(end_ns)s::bigint
    ORDER BY started_ns DESC
    LIMIT %(walked)s
),
step AS (
    SELECT
        left(
            CASE
                WHEN %(by)s::text <> 'model' THEN node.name
                WHEN 'model_told_elsewhere' = ANY (node.anomalies) THEN NULL
                ELSE node.model
            END, 100
        ) AS name,
        node.started_ns / 1000000000 / %(step_s)s::bigint * %(step_s)s::bigint AS at_s,
        node.status, node.started_ns, node.ended_ns, node.input_tokens, node.output_tokens, node.cost_usd,
        node.trace_id, spantree.sums_up_calls(node.kind) AS sums_up
    FROM newest
    CROSS JOIN LATERAL (
        SELECT *
        FROM spantree.node AS step_of
        WHERE step_of.tenant_id = %(tenant_id)s
            AND step_of.trace_id = newest.trace_id
            AND step_of.day = ANY (%(days)s::date[])
        ORDER BY step_of.tenant_id
    ) AS node
    WHERE node.started_ns >= %(from_ns)s::bigint
        AND node.started_ns < %(end_ns)s::bigint
        AND (%(workflow)s::text IS NULL OR left(node.workflow_name, 100) = %(workflow)s)
),
counted AS (
    -- as spantree.is_told_by_calls says of rollups
    SELECT *
    FROM (
        SELECT step.*, bool_or(NOT sums_up) FILTER (WHERE name IS NOT NULL) OVER (PARTITION BY trace_id) AS has_calls
        FROM step
    ) AS told
    WHERE %(by)s::text <> 'model' OR NOT sums_up OR has_calls IS NOT TRUE
),
wanted AS (
    SELECT name
    FROM counted
    WHERE name = COALESCE(%(name)s::text, name)
    GROUP BY name
    ORDER BY count(*) DESC, name
    LIMIT %(limit)s
)
SELECT
    step.name,
    step.at_s,
    count(*) AS runs,
    count(*) FILTER (WHERE step.status = 'completed') AS completed,
    count(*) FILTER (WHERE step.status IN ('failed', 'timed_out')) AS failed,
    count(*) FILTER (WHERE step.status = 'retried') AS retried,
    COALESCE(sum(step.input_tokens), 0)::bigint + COALESCE(sum(step.output_tokens), 0)::bigint AS tokens,
    COALESCE(sum(step.cost_usd), 0)::double precision AS cost_usd,
    percentile_disc(%(quantile)s::double precision) WITHIN GROUP (ORDER BY step.ended_ns - step.started_ns)
        FILTER (WHERE step.status <> 'skipped')
        / 1e6::double precision AS quantile_ms
FROM counted AS step
JOIN wanted ON wanted.name = step.name
GROUP BY 1, 2
ORDER BY 1, 2
