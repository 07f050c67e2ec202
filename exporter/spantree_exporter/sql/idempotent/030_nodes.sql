-- Views of nodes and edges, and what is counted from them. Columns are only ever appended.

CREATE OR REPLACE VIEW spantree.nodes WITH (security_invoker = true) AS
SELECT
    n.tenant_id,
    n.day,
    n.trace_id,
    n.trace_id AS execution_id,
    lpad(to_hex(n.span_id), 16, '0') AS span_id,
    n.ordinal,
    lpad(to_hex(n.parent_span_id), 16, '0') AS parent_span_id,
    n.parent_ordinal,
    n.sequence,
    n.depth,
    n.name,
    n.kind,
    n.status,
    n.status_reason,
    to_timestamp((n.started_ns / 1000) / 1e6::double precision) AS started_at,
    to_timestamp((n.ended_ns / 1000) / 1e6::double precision) AS ended_at,
    (n.ended_ns - n.started_ns) / 1e6::double precision AS duration_ms,
    n.self_ns / 1e6::double precision AS self_ms,
    n.started_ns,
    n.ended_ns,
    n.attempt,
    n.max_attempts,
    n.retry_expected,
    n.task_key,
    n.iteration,
    n.error_type,
    n.error_message,
    n.error_category,
    n.error_fingerprint,
    n.model,
    n.input_tokens,
    n.output_tokens,
    n.cost_usd,
    n.input,
    n.output,
    n.service,
    n.workflow_name,
    n.run_id,
    n.on_critical_path,
    n.anomalies,
    s.attributes,
    s.events,
    s.links,
    r.attributes AS resource,
    n.declared::jsonb AS declared,
    (s.facts ->> 'cached_input_tokens')::numeric AS cached_input_tokens,
    (s.facts ->> 'cache_write_tokens')::numeric AS cache_write_tokens,
    (s.facts ->> 'reasoning_tokens')::numeric AS reasoning_tokens,
    (s.facts ->> 'embedding_tokens')::numeric AS embedding_tokens
FROM spantree.node AS n
LEFT JOIN spantree.span AS s
    ON s.tenant_id = n.tenant_id
    AND s.trace_id = n.trace_id
    AND s.span_id = n.span_id
    AND s.fingerprint = n.fingerprint
    AND s.day = n.day
LEFT JOIN spantree.resource AS r
    ON r.tenant_id = s.tenant_id
    AND r.id = s.resource_id;

COMMENT ON VIEW spantree.nodes IS 'every step of every execution, with the attributes, events and links of its span';
COMMENT ON COLUMN spantree.nodes.execution_id IS 'the trace id; compares with its 32 hex digits and meets the index';
COMMENT ON COLUMN spantree.nodes.span_id IS 'span id as 16 hex digits';
COMMENT ON COLUMN spantree.nodes.parent_span_id IS 'span id of the parent node as 16 hex digits; null for a root';
COMMENT ON COLUMN spantree.nodes.started_at IS 'start';
COMMENT ON COLUMN spantree.nodes.ended_at IS 'end; null while it runs';
COMMENT ON COLUMN spantree.nodes.duration_ms IS 'milliseconds from start to end; null while it runs';
COMMENT ON COLUMN spantree.nodes.self_ms IS 'milliseconds that no child accounts for';
COMMENT ON COLUMN spantree.nodes.attributes IS 'attributes of its span; null while the span has not come';
COMMENT ON COLUMN spantree.nodes.resource IS 'attributes of the resource that sent it';
COMMENT ON COLUMN spantree.nodes.declared IS
    'what its execution declared of the step before it ran: name, key, kind, depends_on, description, thought, action; null where it declared nothing';
COMMENT ON COLUMN spantree.nodes.cached_input_tokens IS 'of its input tokens, those read from a cache, as its span tells; null where it does not';
COMMENT ON COLUMN spantree.nodes.cache_write_tokens IS 'tokens written to a cache, as its span tells';
COMMENT ON COLUMN spantree.nodes.reasoning_tokens IS 'of its output tokens, those of reasoning, as its span tells';
COMMENT ON COLUMN spantree.nodes.embedding_tokens IS 'of its input tokens, those that vectors were made of, as its span tells';

CREATE OR REPLACE VIEW spantree.edges WITH (security_invoker = true) AS
SELECT
    g.tenant_id,
    g.day,
    g.trace_id,
    g.trace_id AS execution_id,
    lpad(to_hex(g.from_span_id), 16, '0') AS from_span_id,
    g.from_ordinal,
    lpad(to_hex(g.to_span_id), 16, '0') AS to_span_id,
    g.to_ordinal,
    g.type,
    g.condition,
    g.provenance,
    g.from_trace_id AS from_execution_id
FROM spantree.edge AS g
UNION ALL
SELECT
    n.tenant_id,
    n.day,
    n.trace_id,
    n.trace_id,
    lpad(to_hex(n.parent_span_id), 16, '0'),
    n.parent_ordinal,
    lpad(to_hex(n.span_id), 16, '0'),
    n.ordinal,
    'child',
    NULL,
    'declared',
    NULL
FROM spantree.node AS n
WHERE n.parent_span_id IS NOT NULL;

COMMENT ON VIEW spantree.edges IS 'what led to what in an execution, and type child from each parent to its children';
COMMENT ON COLUMN spantree.edges.execution_id IS 'the trace id; compares with its 32 hex digits and meets the index';
COMMENT ON COLUMN spantree.edges.from_span_id IS 'span id of the node it comes from, 16 hex digits';
COMMENT ON COLUMN spantree.edges.to_span_id IS 'span id of the node it leads to, 16 hex digits';
COMMENT ON COLUMN spantree.edges.type IS 'sequential, conditional, parallel, join, dependency, handoff, retry, resume or child';
COMMENT ON COLUMN spantree.edges.from_execution_id IS 'execution of the node it comes from, where that is another one';

CREATE OR REPLACE VIEW spantree.retries WITH (security_invoker = true) AS
SELECT
    last.tenant_id,
    last.day,
    last.trace_id,
    last.trace_id AS execution_id,
    last.workflow_name,
    task.name,
    last.task_key,
    last.attempt AS attempts,
    last.max_attempts,
    task.expected,
    last.status AS outcome,
    task.error_types,
    to_timestamp((task.started_ns / 1000) / 1e6::double precision) AS started_at,
    (last.ended_ns - task.started_ns) / 1e6::double precision AS duration_ms,
    last.started_ns
FROM spantree.node AS last
CROSS JOIN LATERAL (
    SELECT
        (array_agg(n.name ORDER BY n.attempt, n.started_ns))[1] AS name,
        (array_agg(n.span_id ORDER BY n.attempt DESC, n.started_ns DESC, n.span_id, n.ordinal))[1] AS last_span_id,
        (array_agg(n.ordinal ORDER BY n.attempt DESC, n.started_ns DESC, n.span_id, n.ordinal))[1] AS last_ordinal,
        bool_and(coalesce(n.retry_expected, false)) AS expected,
        array_agg(DISTINCT n.error_type) FILTER (WHERE n.error_type IS NOT NULL) AS error_types,
        CASE
            WHEN last.task_key IS NULL
            THEN coalesce(max(n.started_ns) FILTER (WHERE n.attempt = 1), min(n.started_ns))
            ELSE min(n.started_ns)
        END AS started_ns
    FROM spantree.trace AS t
    CROSS JOIN LATERAL unnest(t.days) AS on_day (day)
    CROSS JOIN LATERAL (
        SELECT *
        FROM spantree.node AS attempt
        WHERE attempt.tenant_id = t.tenant_id
            AND attempt.trace_id = t.trace_id
            AND attempt.day = on_day.day
            AND (
                attempt.task_key = last.task_key
                OR (
                    -- Nothing names the task: its attempts stand at one place. Of several tasks there the last one's time is told.
                    last.task_key IS NULL
                    AND attempt.task_key IS NULL
                    AND attempt.name = last.name
                    AND attempt.parent_span_id IS NOT DISTINCT FROM last.parent_span_id
                    AND attempt.parent_ordinal IS NOT DISTINCT FROM last.parent_ordinal
                    AND (attempt.status = 'retried' OR attempt.attempt = last.attempt)
                    AND attempt.attempt <= last.attempt
                    AND attempt.started_ns <= last.started_ns
                )
            )
        ORDER BY attempt.tenant_id
    ) AS n
    WHERE t.tenant_id = last.tenant_id
        AND t.trace_id = last.trace_id
    GROUP BY t.trace_id
) AS task
WHERE last.attempt > 1
    AND task.last_span_id = last.span_id
    AND task.last_ordinal = last.ordinal
    AND (last.task_key IS NOT NULL OR last.status <> 'retried');

COMMENT ON VIEW spantree.retries IS 'tasks that were attempted more than once in an execution';
COMMENT ON COLUMN spantree.retries.execution_id IS 'the trace id; compares with its 32 hex digits and meets the index';
COMMENT ON COLUMN spantree.retries.task_key IS 'the task; null where nothing names it';
COMMENT ON COLUMN spantree.retries.name IS 'name of its first attempt';
COMMENT ON COLUMN spantree.retries.attempts IS 'how often it was attempted: the number of its last attempt';
COMMENT ON COLUMN spantree.retries.expected IS 'whether a retry policy foresaw them';
COMMENT ON COLUMN spantree.retries.outcome IS 'status of its last attempt';
COMMENT ON COLUMN spantree.retries.error_types IS 'types of the errors of its attempts';
COMMENT ON COLUMN spantree.retries.started_at IS 'start of the first attempt';
COMMENT ON COLUMN spantree.retries.duration_ms IS 'milliseconds from the start of the first to the end of the last attempt, pauses included';
COMMENT ON COLUMN spantree.retries.day IS 'day of the last attempt; filter by it, or by started_ns';
COMMENT ON COLUMN spantree.retries.started_ns IS 'start of the last attempt, UTC nanoseconds since 1970';

-- Types of columns changed with version 3 of the schema.
DROP VIEW IF EXISTS spantree.node_stats, spantree.workflow_stats;

-- Whole days where they are made of their hours, else the hours. Quantiles only cost where they are asked for.
CREATE OR REPLACE VIEW spantree.node_stats WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    nullif(r.workflow_name, '') AS workflow_name,
    r.name,
    r.kind,
    sum(r.total)::bigint AS total,
    sum(r.completed)::bigint AS completed,
    sum(r.failed + r.timed_out)::bigint AS failed,
    sum(r.retried)::bigint AS retried,
    sum(r.completed)::double precision / nullif(sum(r.completed + r.failed + r.timed_out), 0)::double precision
        AS success_rate,
    (sum(r.duration_ns) / nullif(sum(r.ended), 0) / 1000000)::double precision AS avg_ms,
    spantree.histogram_quantile_ms(
        spantree.histogram_sum(r.durations), 0.5, sum(r.ended), sum(r.duration_ns)
    ) AS p50_ms,
    spantree.histogram_quantile_ms(
        spantree.histogram_sum(r.durations), 0.95, sum(r.ended), sum(r.duration_ns)
    ) AS p95_ms,
    spantree.histogram_quantile_ms(
        spantree.histogram_sum(r.durations), 0.99, sum(r.ended), sum(r.duration_ns)
    ) AS p99_ms
FROM spantree.rollup AS r
WHERE r.subject = 'node'
    AND r.grain_h IN (1, 24)
    AND r.grain_h = CASE
        WHEN EXISTS (
            SELECT
            FROM spantree.rollup_outdated AS o
            WHERE o.tenant_id = r.tenant_id
                AND o.grain_h = 24
                AND o.started_at = date_trunc('day', r.started_at, 'UTC')
        ) THEN 1
        ELSE 24
    END
GROUP BY r.tenant_id, (r.started_at AT TIME ZONE 'UTC')::date, r.workflow_name, r.name, r.kind
HAVING sum(r.total) > 0;

COMMENT ON VIEW spantree.node_stats IS 'how the steps of each name did, by day and workflow';
COMMENT ON COLUMN spantree.node_stats.total IS 'attempts in all, of any status';
COMMENT ON COLUMN spantree.node_stats.completed IS 'that completed';
COMMENT ON COLUMN spantree.node_stats.failed IS 'that failed or timed out for good';
COMMENT ON COLUMN spantree.node_stats.retried IS 'failed attempts that a later attempt followed';
COMMENT ON COLUMN spantree.node_stats.success_rate IS 'completed / (completed + failed), 0 to 1; retried, skipped, cancelled and running ones count neither way';
COMMENT ON COLUMN spantree.node_stats.avg_ms IS 'mean duration in milliseconds of those that ended; skipped ones are in no duration';
COMMENT ON COLUMN spantree.node_stats.p50_ms IS 'median duration in milliseconds';
COMMENT ON COLUMN spantree.node_stats.p95_ms IS '95th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.node_stats.p99_ms IS '99th percentile of the duration in milliseconds';

CREATE OR REPLACE VIEW spantree.workflow_stats WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    nullif(r.name, '') AS workflow_name,
    sum(r.total)::bigint AS total,
    sum(r.completed)::bigint AS completed,
    sum(r.failed + r.timed_out)::bigint AS failed,
    sum(r.partial)::bigint AS partial,
    sum(r.pending + r.running)::bigint AS open,
    sum(r.completed)::double precision
        / nullif(sum(r.completed + r.partial + r.failed + r.timed_out), 0)::double precision AS success_rate,
    (sum(r.duration_ns) / nullif(sum(r.ended), 0) / 1000000)::double precision AS avg_ms,
    spantree.histogram_quantile_ms(
        spantree.histogram_sum(r.durations), 0.5, sum(r.ended), sum(r.duration_ns)
    ) AS p50_ms,
    spantree.histogram_quantile_ms(
        spantree.histogram_sum(r.durations), 0.95, sum(r.ended), sum(r.duration_ns)
    ) AS p95_ms,
    spantree.histogram_quantile_ms(
        spantree.histogram_sum(r.durations), 0.99, sum(r.ended), sum(r.duration_ns)
    ) AS p99_ms,
    sum(r.retried_nodes)::bigint AS retried_nodes,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd)::double precision AS cost_usd,
    sum(r.waiting)::bigint AS waited
FROM spantree.rollup AS r
WHERE r.subject = 'workflow'
    AND NOT r.hidden
    AND r.grain_h IN (1, 24)
    AND r.grain_h = CASE
        WHEN EXISTS (
            SELECT
            FROM spantree.rollup_outdated AS o
            WHERE o.tenant_id = r.tenant_id
                AND o.grain_h = 24
                AND o.started_at = date_trunc('day', r.started_at, 'UTC')
        ) THEN 1
        ELSE 24
    END
GROUP BY r.tenant_id, (r.started_at AT TIME ZONE 'UTC')::date, r.name
HAVING sum(r.total) > 0;

COMMENT ON VIEW spantree.workflow_stats IS 'how the executions of each workflow did, by day; hidden ones are left out';
COMMENT ON COLUMN spantree.workflow_stats.total IS 'executions in all, of any status';
COMMENT ON COLUMN spantree.workflow_stats.completed IS 'that completed without a failed step';
COMMENT ON COLUMN spantree.workflow_stats.failed IS 'that failed or timed out';
COMMENT ON COLUMN spantree.workflow_stats.partial IS 'that completed although steps failed';
COMMENT ON COLUMN spantree.workflow_stats.open IS 'that are pending or run, lost ones included';
COMMENT ON COLUMN spantree.workflow_stats.waited IS 'that stopped to wait, taken up since or not: what goes on with one is a run of its own';
COMMENT ON COLUMN spantree.workflow_stats.success_rate IS 'completed / (completed + partial + failed), 0 to 1';
COMMENT ON COLUMN spantree.workflow_stats.avg_ms IS 'mean duration in milliseconds of those that ended';
COMMENT ON COLUMN spantree.workflow_stats.p50_ms IS 'median duration in milliseconds';
COMMENT ON COLUMN spantree.workflow_stats.p95_ms IS '95th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.workflow_stats.p99_ms IS '99th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.workflow_stats.retried_nodes IS 'failed attempts of their steps that a later attempt followed';
