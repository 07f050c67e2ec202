-- name: prepare
-- What the rows of a seeded database are drawn from; temporary, for the session that seeds.
CREATE TEMPORARY TABLE seed_workflow AS
SELECT number - 1 AS number, name, kind, service, steps
FROM (VALUES
    (1, 'order-fulfilment', 'workflow', 'orders', ARRAY['validate_order', 'reserve_stock', 'charge_card', 'pack', 'ship', 'notify']),
    (2, 'invoice-run', 'workflow', 'billing', ARRAY['load_usage', 'rate', 'render_invoice', 'charge_card', 'send_mail', 'archive']),
    (3, 'support-agent', 'agent', 'assistant', ARRAY['plan', 'retrieve', 'call_tool', 'draft', 'review', 'answer']),
    (4, 'research-agent', 'agent', 'assistant', ARRAY['plan', 'search_web', 'read_page', 'summarize', 'critique', 'answer']),
    (5, 'nightly-etl', 'workflow', 'pipelines', ARRAY['extract', 'clean', 'transform', 'load', 'verify', 'publish']),
    (6, 'feature-backfill', 'task', 'pipelines', ARRAY['list_days', 'read', 'compute', 'write', 'verify', 'report']),
    (7, 'GET /orders', 'request', 'gateway', ARRAY['authenticate', 'route', 'query', 'cache', 'render', 'log']),
    (8, 'onboarding', 'workflow', 'accounts', ARRAY['create_account', 'verify_mail', 'score_risk', 'approve', 'welcome', 'index'])
) AS workflows (number, name, kind, service, steps);

CREATE TEMPORARY TABLE seed_error AS
SELECT number - 1 AS number, type, message, category
FROM (VALUES
    (1, 'TimeoutError', 'payment provider did not answer within 30 s', 'timeout'),
    (2, 'ConnectionError', 'connection refused by inventory:8080', 'network'),
    (3, 'ValueError', 'quantity must not be negative', 'validation'),
    (4, 'RateLimitError', 'too many requests for this model', 'resource'),
    (5, 'PermissionError', 'the key may not read this bucket', 'permission'),
    (6, 'KeyError', 'customer', 'code')
) AS errors (number, type, message, category);

CREATE TEMPORARY TABLE seed_execution (
    n bigint, trace_id uuid, day date, started_ns bigint, ended_ns bigint, status text, failed boolean, hidden boolean,
    workflow integer, error integer
)

-- name: empty_day
TRUNCATE pg_temp.seed_execution

-- name: draw_day
-- The executions of one day: evenly over it, each of its own trace. Everything follows from its number, so that the same
-- call gives the same rows.
INSERT INTO pg_temp.seed_execution
SELECT
    n, md5('trace ' || n)::uuid, %(day)s::date, started_ns,
    CASE WHEN status NOT IN ('running', 'pending', 'waiting') THEN
        started_ns + (20e6 * exp(abs(hashint8extended(n, 3) %% 1000000) / 1e6 * 8))::bigint
    END,
    status, status IN ('failed', 'partial', 'timed_out'), workflow = 6, workflow, error
FROM (
    SELECT
        n, day_ns + (86400e9 * (n - %(first)s::bigint) / %(count)s::bigint)::bigint AS started_ns,
        CASE
            WHEN drawn < 300 THEN 'failed'
            WHEN drawn < 400 THEN 'partial'
            WHEN drawn < 430 THEN 'timed_out'
            WHEN drawn < 450 THEN 'cancelled'
            WHEN drawn < 460 THEN 'waiting'
            WHEN drawn < 470 THEN 'running'
            ELSE 'completed'
        END AS status,
        abs(hashint8extended(n, 2) %% 8)::integer AS workflow,
        abs(hashint8extended(n, 4) %% 6)::integer AS error
    FROM (
        SELECT
            n, abs(hashint8extended(n, 1) %% 10000) AS drawn,
            (extract(epoch FROM %(day)s::date) * 1e9)::bigint AS day_ns
        FROM generate_series(%(first)s::bigint, %(first)s::bigint + %(count)s::bigint - 1) AS numbers (n)
    ) AS numbered
) AS drawn

-- name: insert_executions
INSERT INTO spantree.execution (
    tenant_id, day, trace_id, name, workflow_name, entry, kind, status, started_ns, ended_ns, last_seen_ns, root_span_id,
    service, services, run_id, conversation_id, user_id, project, input, output, error_summary, error_category,
    error_fingerprint, first_failed_span_id, first_failed_ordinal, first_failed_name, first_failed_error_type,
    first_failed_error_message, total_count, completed_count, failed_count, retried_count, skipped_count, waiting_count,
    running_count, cancelled_count, timed_out_count, span_count, input_tokens, output_tokens, cost_usd, skipped_nodes,
    resumes, lost_after_s, hidden, anomalies, search
)
SELECT
    %(tenant_id)s, e.day, e.trace_id, w.name, CASE WHEN NOT e.hidden THEN w.name END,
    CASE WHEN w.kind IN ('request', 'agent') THEN 'POST /' || w.service END, w.kind, e.status, e.started_ns, e.ended_ns,
    coalesce(e.ended_ns, e.started_ns) + 2000000000, hashint8extended(e.n * 32 + 1, 9), w.service,
    ARRAY[w.service, 'database', 'mail'], CASE WHEN w.kind = 'workflow' THEN 'run-' || e.n END,
    CASE WHEN w.kind = 'agent' THEN 'conversation-' || e.n / 8 END, 'user-' || e.n %% 5000,
    CASE WHEN e.n %% 3 = 0 THEN 'shop' ELSE 'core' END, 'input of ' || e.n, CASE WHEN NOT e.failed THEN 'output of ' || e.n END,
    CASE WHEN e.failed THEN w.steps[3] || ': ' || f.message END, CASE WHEN e.failed THEN f.category END,
    CASE WHEN e.failed THEN left(md5(w.name || f.type), 16) END,
    CASE WHEN e.failed THEN hashint8extended(e.n * 32 + 4, 9) END, CASE WHEN e.failed THEN 0 END,
    CASE WHEN e.failed THEN w.steps[3] END, CASE WHEN e.failed THEN f.type END, CASE WHEN e.failed THEN f.message END,
    25, 25 - e.failed::integer, e.failed::integer, 0, 0, 0, 0, 0, 0, 25,
    CASE WHEN w.kind = 'agent' THEN 1200 END, CASE WHEN w.kind = 'agent' THEN 300 END,
    CASE WHEN w.kind = 'agent' THEN 0.004 END, '{}', NULL, NULL, e.hidden, '{}',
    array_to_tsvector(
        regexp_split_to_array(lower(w.name || ' ' || w.service || ' ' || w.kind), '[^a-z0-9]+')
        || regexp_split_to_array(array_to_string(w.steps, '_'), '_')
        || CASE WHEN e.failed THEN regexp_split_to_array(lower(f.type || ' ' || f.message), '[^a-z0-9]+') ELSE '{}' END
        || ARRAY['user-' || e.n %% 5000, '=user.id:user-' || e.n %% 5000, '=order.id:' || e.n, 'o' || e.n]
        || ARRAY['database', 'mail', 'sql', 'http', 'post']
    )
FROM pg_temp.seed_execution AS e
JOIN pg_temp.seed_workflow AS w ON w.number = e.workflow
JOIN pg_temp.seed_error AS f ON f.number = e.error
ORDER BY e.n

-- name: insert_nodes
-- 25 a trace: a root, six steps, three calls below each.
INSERT INTO spantree.node (
    tenant_id, day, trace_id, span_id, ordinal, fingerprint, parent_span_id, parent_ordinal, name, kind, status,
    status_reason, started_ns, ended_ns, self_ns, sequence, depth, attempt, max_attempts, retry_expected, task_key,
    iteration, error_type, error_message, error_category, error_fingerprint, model, input_tokens, output_tokens, cost_usd,
    input, output, service, workflow_name, run_id, on_critical_path, folded_span_ids, anomalies
)
SELECT
    %(tenant_id)s, e.day, e.trace_id, hashint8extended(e.n * 32 + k, 9), 0, hashint8extended(e.n * 32 + k, 11),
    CASE WHEN k > 1 THEN hashint8extended(e.n * 32 + CASE WHEN (k - 2) %% 4 = 0 THEN 1 ELSE k - (k - 2) %% 4 END, 9) END,
    CASE WHEN k > 1 THEN 0 END,
    CASE
        WHEN k = 1 THEN w.name
        WHEN (k - 2) %% 4 = 0 THEN w.steps[(k - 2) / 4 + 1]
        ELSE (ARRAY['SELECT ' || w.service, 'POST inventory', 'send mail'])[(k - 2) %% 4]
    END,
    CASE WHEN k = 1 THEN w.kind WHEN (k - 2) %% 4 = 0 THEN 'step' ELSE (ARRAY['query', 'request', 'message'])[(k - 2) %% 4] END,
    CASE WHEN e.failed AND k IN (1, 10) THEN 'failed' WHEN k = 1 THEN e.status ELSE 'completed' END, NULL,
    e.started_ns + coalesce((e.ended_ns - e.started_ns) * (k - 1) / 26, (k - 1) * 1000000),
    CASE
        WHEN k = 1 THEN e.ended_ns
        ELSE e.started_ns + coalesce((e.ended_ns - e.started_ns) * k / 26, k * 1000000)
    END,
    1000000, k, CASE WHEN k = 1 THEN 0 WHEN (k - 2) %% 4 = 0 THEN 1 ELSE 2 END, 1, NULL, NULL, NULL, NULL,
    CASE WHEN e.failed AND k = 10 THEN f.type END, CASE WHEN e.failed AND k = 10 THEN f.message END,
    CASE WHEN e.failed AND k = 10 THEN f.category END,
    CASE WHEN e.failed AND k = 10 THEN left(md5(w.name || f.type), 16) END, NULL, NULL, NULL, NULL, NULL, NULL, w.service,
    CASE WHEN NOT e.hidden THEN w.name END, NULL, (k - 2) %% 4 = 0, '{}', '{}'
FROM pg_temp.seed_execution AS e
JOIN pg_temp.seed_workflow AS w ON w.number = e.workflow
JOIN pg_temp.seed_error AS f ON f.number = e.error
CROSS JOIN generate_series(1, 25) AS nodes (k)
ORDER BY e.n, k

-- name: insert_edges
-- Five a trace: each step leads to the next.
INSERT INTO spantree.edge (
    tenant_id, day, trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type, condition, provenance, from_trace_id
)
SELECT
    %(tenant_id)s, e.day, e.trace_id, hashint8extended(e.n * 32 + k, 9), 0, hashint8extended(e.n * 32 + k + 4, 9), 0,
    'sequential', NULL, 'inferred', NULL
FROM pg_temp.seed_execution AS e
CROSS JOIN generate_series(2, 18, 4) AS steps (k)
ORDER BY e.n, k

-- name: insert_spans
-- A span for each node, with attributes as auto-instrumentation sends them.
INSERT INTO spantree.span (
    tenant_id, day, trace_id, span_id, fingerprint, parent_span_id, kind, status_code, start_ns, end_ns, flags, received_ns,
    name, status_message, trace_state, resource_id, scope, attributes, events, links, dropped_attributes_count,
    dropped_events_count, dropped_links_count, facts, anomalies, raw
)
SELECT
    n.tenant_id, n.day, n.trace_id, n.span_id, n.fingerprint, n.parent_span_id, 1, CASE WHEN n.status = 'failed' THEN 2 ELSE 0 END,
    n.started_ns, coalesce(n.ended_ns, n.started_ns), 256, n.started_ns + 2000000000, n.name, n.error_message, NULL, 1,
    '{"name": "seed"}',
    jsonb_build_object(
        'user.id', 'user-' || e.n %% 5000, 'order.id', e.n, 'http.request.method', 'POST', 'http.route', '/' || n.service,
        'server.address', n.service || '.internal', 'server.port', 8080, 'step.number', n.sequence, 'thread.id', 140,
        'code.function', n.name, 'deployment.environment', 'production'
    ),
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_temp.seed_execution AS e
JOIN spantree.node AS n ON n.tenant_id = %(tenant_id)s AND n.day = %(day)s::date AND n.trace_id = e.trace_id
ORDER BY e.n, n.sequence

-- name: insert_traces
-- The days of each trace, as a writer notes them.
INSERT INTO spantree.trace (tenant_id, trace_id, days)
SELECT %(tenant_id)s, trace_id, ARRAY[day]
FROM pg_temp.seed_execution
ORDER BY trace_id
ON CONFLICT DO NOTHING

-- name: trace_table_exists
SELECT to_regclass('spantree.trace') IS NOT NULL

-- name: big_execution
-- One trace of many nodes: the execution's row, which says how many; counts are those of insert_big_nodes.
INSERT INTO spantree.execution (
    tenant_id, day, trace_id, name, workflow_name, entry, kind, status, started_ns, ended_ns, last_seen_ns, root_span_id,
    service, services, total_count, completed_count, failed_count, retried_count, skipped_count, waiting_count,
    running_count, cancelled_count, timed_out_count, span_count, skipped_nodes, hidden, anomalies, search
)
SELECT
    %(tenant_id)s, %(day)s::date, %(trace_id)s::uuid, 'backfill', 'backfill', NULL, 'workflow', 'partial', started_ns,
    started_ns + 3600000000000, started_ns + 3601000000000, hashint8extended(1, 13), 'pipelines', '{pipelines}',
    %(nodes)s, %(nodes)s - (%(nodes)s + 999) / 1000, (%(nodes)s + 999) / 1000, 0, 0, 0, 0, 0, 0, %(nodes)s, '{}', false,
    '{}', array_to_tsvector('{backfill}')
FROM (SELECT (extract(epoch FROM %(day)s::date) * 1e9)::bigint + 1000000000 AS started_ns) AS clock

-- name: big_nodes
-- A root, tasks below it, nine calls below each task.
INSERT INTO spantree.node (
    tenant_id, day, trace_id, span_id, ordinal, parent_span_id, parent_ordinal, name, kind, status, started_ns, ended_ns,
    self_ns, sequence, depth, attempt, service, workflow_name, on_critical_path, folded_span_ids, anomalies
)
SELECT
    %(tenant_id)s, %(day)s::date, %(trace_id)s::uuid, hashint8extended(k, 13), 0,
    CASE WHEN k > 1 THEN hashint8extended(CASE WHEN (k - 2) %% 10 = 0 THEN 1 ELSE k - (k - 2) %% 10 END, 13) END,
    CASE WHEN k > 1 THEN 0 END,
    CASE WHEN k = 1 THEN 'backfill' WHEN (k - 2) %% 10 = 0 THEN 'task-' || (k - 2) / 10 %% 50 ELSE 'query' END,
    CASE WHEN k = 1 THEN 'workflow' WHEN (k - 2) %% 10 = 0 THEN 'task' ELSE 'query' END,
    CASE WHEN k %% 1000 = 1 THEN 'failed' ELSE 'completed' END,
    started_ns + k * 10000, started_ns + k * 10000 + 9000, 9000, k,
    CASE WHEN k = 1 THEN 0 WHEN (k - 2) %% 10 = 0 THEN 1 ELSE 2 END, 1, 'pipelines', 'backfill', false, '{}', '{}'
FROM (SELECT (extract(epoch FROM %(day)s::date) * 1e9)::bigint + 1000000000 AS started_ns) AS clock
CROSS JOIN generate_series(1, %(nodes)s) AS nodes (k)
-- As it comes from a projection, which writes in order of the tree; the index by span id is in no order.
ORDER BY k

-- name: big_edges
-- Each task leads to the next.
INSERT INTO spantree.edge (
    tenant_id, day, trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type, provenance
)
SELECT
    %(tenant_id)s, %(day)s::date, %(trace_id)s::uuid, hashint8extended(k, 13), 0, hashint8extended(k + 10, 13), 0,
    'sequential', 'inferred'
FROM generate_series(2, %(nodes)s - 10, 10) AS tasks (k)

-- name: big_trace
INSERT INTO spantree.trace (tenant_id, trace_id, days)
VALUES (%(tenant_id)s, %(trace_id)s::uuid, ARRAY[%(day)s::date])
ON CONFLICT DO NOTHING

-- name: insert_resource
INSERT INTO spantree.resource
    (tenant_id, id, attributes, service_name, schema_url, dropped_attributes_count, first_seen_ns)
VALUES (%(tenant_id)s, 1, '{"service.name": "seed"}', 'seed', '', 0, 0)
ON CONFLICT DO NOTHING

-- name: vacuum
-- What autovacuum does some minutes after the rows came.
VACUUM (ANALYZE) spantree.execution, spantree.node, spantree.edge

-- name: copy_figures
-- Hours and days of the last day as those of the days before it: as many rows, and nearly the same figures.
INSERT INTO spantree.rollup
SELECT copied.*
FROM spantree.rollup AS original
CROSS JOIN generate_series(1, %(days)s::integer - 1) AS back (n)
CROSS JOIN LATERAL jsonb_populate_record(
    original,
    jsonb_build_object(
        'started_at', original.started_at - back.n * interval '1 day',
        'last_started_ns', original.last_started_ns - back.n * 86400000000000,
        'last_failed_ns', original.last_failed_ns - back.n * 86400000000000
    )
) AS copied
WHERE original.tenant_id = %(tenant_id)s
    AND original.grain_h IN (1, 24)
    AND original.started_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
ORDER BY back.n
ON CONFLICT DO NOTHING

-- name: mark_eight_days
-- The intervals of eight days are summed up as the collector does it.
INSERT INTO spantree.rollup_outdated (tenant_id, grain_h, started_at, since)
SELECT DISTINCT
    %(tenant_id)s, 192, to_timestamp(floor(extract(epoch FROM started_at) / 691200) * 691200), now() - interval '1 hour'
FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s
    AND grain_h = 24
ON CONFLICT DO NOTHING
