-- Figures over days: of nodes, of workflows.

-- name: node_stats
-- nodes by workflow and name, worst success rate first, as the view node_stats counts them; durations are of nodes that ended
SELECT
    workflow_name,
    name,
    min(kind) AS kind,
    count(*) AS total,
    count(*) FILTER (WHERE status = 'completed') AS completed,
    count(*) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed,
    count(*) FILTER (WHERE status = 'retried') AS retried,
    count(*) FILTER (WHERE status = 'skipped') AS skipped,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status = 'timed_out') AS timed_out,
    (avg(ended_ns - started_ns) / 1000000)::double precision AS avg_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY (ended_ns - started_ns) / 1000000.0) AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY (ended_ns - started_ns) / 1000000.0) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY (ended_ns - started_ns) / 1000000.0) AS p99_ms,
    max(started_ns) FILTER (WHERE status IN ('failed', 'timed_out')) AS last_failed_ns
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND day >= %(since_day)s::date
    AND started_ns >= %(since_ns)s::bigint
    AND (%(workflow)s::text IS NULL OR workflow_name = %(workflow)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
GROUP BY workflow_name, name
ORDER BY
    count(*) FILTER (WHERE status = 'completed')::double precision
        / NULLIF(count(*) FILTER (WHERE status IN ('completed', 'failed', 'timed_out')), 0) NULLS LAST,
    count(*) DESC,
    workflow_name,
    name
LIMIT %(limit)s

-- name: workflow_stats
-- executions by workflow, most runs first, as the view workflow_stats counts them; durations are of executions that ended
SELECT
    workflow_name AS name,
    count(*) AS runs,
    count(*) FILTER (WHERE status = 'completed') AS completed,
    count(*) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed,
    count(*) FILTER (WHERE status = 'partial') AS partial,
    count(*) FILTER (WHERE status = 'timed_out') AS timed_out,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status IN ('pending', 'running', 'waiting')) AS open,
    (avg(ended_ns - started_ns) / 1000000)::double precision AS avg_ms,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY (ended_ns - started_ns) / 1000000.0) AS p50_ms,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY (ended_ns - started_ns) / 1000000.0) AS p95_ms,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY (ended_ns - started_ns) / 1000000.0) AS p99_ms,
    max(started_ns) AS last_started_ns
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day >= %(since_day)s::date
    AND started_ns >= %(since_ns)s::bigint
    AND workflow_name IS NOT NULL
    AND (%(workflow)s::text IS NULL OR workflow_name = %(workflow)s)
    AND (%(hidden)s OR NOT hidden)
GROUP BY workflow_name
ORDER BY count(*) DESC, workflow_name
LIMIT %(limit)s

-- name: workflow_errors
-- how often executions of one workflow failed for each category
SELECT COALESCE(error_category, 'unknown') AS name, count(*) AS count
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day >= %(since_day)s::date
    AND started_ns >= %(since_ns)s::bigint
    AND workflow_name = %(workflow)s
    AND status IN ('failed', 'partial', 'timed_out')
GROUP BY COALESCE(error_category, 'unknown')
ORDER BY count(*) DESC, 1

-- name: most_used_node
-- the step that one workflow runs most; the workflow's own node does not count
SELECT name, count(*) AS count
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND day >= %(since_day)s::date
    AND started_ns >= %(since_ns)s::bigint
    AND workflow_name = %(workflow)s
    AND parent_span_id IS NOT NULL
    AND name <> %(workflow)s
GROUP BY name
ORDER BY count(*) DESC, name
LIMIT 1
