-- Views of figures over time, by name, and along the steps of workflows. Columns are only ever appended. Quantiles only
-- cost where they are asked for.

CREATE OR REPLACE VIEW spantree.trends WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    r.subject,
    r.started_at AS hour,
    nullif(r.workflow_name, '') AS workflow_name,
    nullif(r.name, '') AS name,
    r.kind,
    r.hidden,
    sum(r.total)::bigint AS runs,
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
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd)::double precision AS cost_usd,
    sum(r.waiting)::bigint AS waited
FROM spantree.rollup AS r
WHERE r.subject NOT IN ('edge', 'call')
    AND r.grain_h = 1
GROUP BY r.tenant_id, r.subject, r.started_at, r.workflow_name, r.name, r.kind, r.hidden
HAVING sum(r.total) > 0;

COMMENT ON VIEW spantree.trends IS 'figures by hour of workflows, nodes, services, users, models, projects and errors: whatever subject says';
COMMENT ON COLUMN spantree.trends.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.trends.runs IS 'executions in all, of any status; of nodes and models their runs';
COMMENT ON COLUMN spantree.trends.completed IS 'that completed without a failed step';
COMMENT ON COLUMN spantree.trends.failed IS 'that failed or timed out';
COMMENT ON COLUMN spantree.trends.partial IS 'that completed although steps failed';
COMMENT ON COLUMN spantree.trends.open IS 'that are pending or run, lost ones included';
COMMENT ON COLUMN spantree.trends.waited IS 'that stopped to wait, taken up since or not: what goes on with one is a run of its own';
COMMENT ON COLUMN spantree.trends.success_rate IS 'completed / (completed + partial + failed), 0 to 1';
COMMENT ON COLUMN spantree.trends.avg_ms IS 'mean duration in milliseconds of those that ended';
COMMENT ON COLUMN spantree.trends.p50_ms IS 'median duration in milliseconds';
COMMENT ON COLUMN spantree.trends.p95_ms IS '95th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.trends.p99_ms IS '99th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.trends.input_tokens IS 'tokens given to models';
COMMENT ON COLUMN spantree.trends.output_tokens IS 'tokens taken from models';
COMMENT ON COLUMN spantree.trends.cost_usd IS 'cost in US dollars';
COMMENT ON COLUMN spantree.trends.subject IS 'what is counted: workflow, service, project, user, error (executions), node, model (nodes)';
COMMENT ON COLUMN spantree.trends.hour IS 'begin of the hour in which they started';
COMMENT ON COLUMN spantree.trends.workflow_name IS 'workflow; null where the subject has none';
COMMENT ON COLUMN spantree.trends.name IS 'name of the workflow, node, service, project, user or model; fingerprint of the error';
COMMENT ON COLUMN spantree.trends.kind IS 'kind of the execution or node; category of the error';
COMMENT ON COLUMN spantree.trends.hidden IS 'whether hidden executions are counted; false for nodes';

CREATE OR REPLACE VIEW spantree.projects WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    r.name AS project,
    sum(r.total)::bigint AS runs,
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
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd)::double precision AS cost_usd,
    sum(r.waiting)::bigint AS waited
FROM spantree.rollup AS r
WHERE r.subject = 'project'
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

COMMENT ON VIEW spantree.projects IS 'how the executions of each project did, by day; hidden ones are left out';
COMMENT ON COLUMN spantree.projects.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.projects.runs IS 'executions in all, of any status';
COMMENT ON COLUMN spantree.projects.completed IS 'that completed without a failed step';
COMMENT ON COLUMN spantree.projects.failed IS 'that failed or timed out';
COMMENT ON COLUMN spantree.projects.partial IS 'that completed although steps failed';
COMMENT ON COLUMN spantree.projects.open IS 'that are pending or run, lost ones included';
COMMENT ON COLUMN spantree.projects.waited IS 'that stopped to wait, taken up since or not: what goes on with one is a run of its own';
COMMENT ON COLUMN spantree.projects.success_rate IS 'completed / (completed + partial + failed), 0 to 1';
COMMENT ON COLUMN spantree.projects.avg_ms IS 'mean duration in milliseconds of those that ended';
COMMENT ON COLUMN spantree.projects.p50_ms IS 'median duration in milliseconds';
COMMENT ON COLUMN spantree.projects.p95_ms IS '95th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.projects.p99_ms IS '99th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.projects.input_tokens IS 'tokens given to models';
COMMENT ON COLUMN spantree.projects.output_tokens IS 'tokens taken from models';
COMMENT ON COLUMN spantree.projects.cost_usd IS 'cost in US dollars';
COMMENT ON COLUMN spantree.projects.day IS 'UTC day of the start';
COMMENT ON COLUMN spantree.projects.project IS 'the project';

CREATE OR REPLACE VIEW spantree.users WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    r.name AS user_id,
    sum(r.total)::bigint AS runs,
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
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd)::double precision AS cost_usd,
    sum(r.waiting)::bigint AS waited
FROM spantree.rollup AS r
WHERE r.subject = 'user'
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

COMMENT ON VIEW spantree.users IS 'how the executions of each user did, by day; hidden ones are left out';
COMMENT ON COLUMN spantree.users.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.users.runs IS 'executions in all, of any status';
COMMENT ON COLUMN spantree.users.completed IS 'that completed without a failed step';
COMMENT ON COLUMN spantree.users.failed IS 'that failed or timed out';
COMMENT ON COLUMN spantree.users.partial IS 'that completed although steps failed';
COMMENT ON COLUMN spantree.users.open IS 'that are pending or run, lost ones included';
COMMENT ON COLUMN spantree.users.waited IS 'that stopped to wait, taken up since or not: what goes on with one is a run of its own';
COMMENT ON COLUMN spantree.users.success_rate IS 'completed / (completed + partial + failed), 0 to 1';
COMMENT ON COLUMN spantree.users.avg_ms IS 'mean duration in milliseconds of those that ended';
COMMENT ON COLUMN spantree.users.p50_ms IS 'median duration in milliseconds';
COMMENT ON COLUMN spantree.users.p95_ms IS '95th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.users.p99_ms IS '99th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.users.input_tokens IS 'tokens given to models';
COMMENT ON COLUMN spantree.users.output_tokens IS 'tokens taken from models';
COMMENT ON COLUMN spantree.users.cost_usd IS 'cost in US dollars';
COMMENT ON COLUMN spantree.users.day IS 'UTC day of the start';
COMMENT ON COLUMN spantree.users.user_id IS 'for whom they ran';

-- An agent's figures of a model are those of its calls, where these are told: counted as well, each call counts twice. The
-- view models and the API call these. plpgsql, because Citus plans no SQL-language functions.
CREATE OR REPLACE FUNCTION spantree.kinds_that_sum_up()
RETURNS text[]
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
AS $$
BEGIN
    RETURN '{agent,workflow,chain,turn}'::text[];
END
$$;

COMMENT ON FUNCTION spantree.kinds_that_sum_up() IS 'kinds of nodes whose figures of a model are the sum of calls below them; a constant for the planner, so that a row of any other kind costs no call of a function';

CREATE OR REPLACE FUNCTION spantree.sums_up_calls(kind text)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
AS $$
BEGIN
    RETURN kind = ANY (spantree.kinds_that_sum_up());
END
$$;

COMMENT ON FUNCTION spantree.sums_up_calls(text) IS 'whether what a node of this kind says of a model is the sum of calls below it';

CREATE OR REPLACE FUNCTION spantree.is_told_by_calls(
    kind text, tenant integer, workflow text, hours integer, began timestamptz
)
RETURNS boolean
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
AS $$
BEGIN
    RETURN spantree.sums_up_calls(kind) AND EXISTS (
        SELECT
        FROM spantree.rollup AS of_call
        WHERE of_call.tenant_id = tenant
            AND of_call.subject = 'model'
            AND of_call.workflow_name = workflow
            AND of_call.grain_h = hours
            AND of_call.started_at = began
            AND NOT spantree.sums_up_calls(of_call.kind)
    );
END
$$;

COMMENT ON FUNCTION spantree.is_told_by_calls(text, integer, text, integer, timestamptz) IS 'whether figures of models by nodes of this kind are those of calls that the same workflow''s figures of that hour or day have, too';

CREATE OR REPLACE VIEW spantree.models WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    r.name AS model,
    sum(r.total)::bigint AS runs,
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
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cost_usd)::double precision AS cost_usd,
    sum(r.waiting)::bigint AS waited
FROM spantree.rollup AS r
WHERE r.subject = 'model'
    AND NOT r.hidden
    AND NOT (
        r.kind = ANY (spantree.kinds_that_sum_up())
        AND spantree.is_told_by_calls(r.kind, r.tenant_id, r.workflow_name, r.grain_h, r.started_at)
    )
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

COMMENT ON VIEW spantree.models IS 'how the calls of each model did and what they used, by day';
COMMENT ON COLUMN spantree.models.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.models.runs IS 'calls in all, of any status';
COMMENT ON COLUMN spantree.models.completed IS 'that completed';
COMMENT ON COLUMN spantree.models.failed IS 'that failed or timed out';
COMMENT ON COLUMN spantree.models.partial IS 'always 0: a call is no execution';
COMMENT ON COLUMN spantree.models.open IS 'that are pending or run, lost ones included';
COMMENT ON COLUMN spantree.models.waited IS 'that stopped to wait, taken up since or not: what goes on with one is a run of its own';
COMMENT ON COLUMN spantree.models.success_rate IS 'completed / (completed + partial + failed), 0 to 1';
COMMENT ON COLUMN spantree.models.avg_ms IS 'mean duration in milliseconds of those that ended';
COMMENT ON COLUMN spantree.models.p50_ms IS 'median duration in milliseconds';
COMMENT ON COLUMN spantree.models.p95_ms IS '95th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.models.p99_ms IS '99th percentile of the duration in milliseconds';
COMMENT ON COLUMN spantree.models.input_tokens IS 'tokens given to models';
COMMENT ON COLUMN spantree.models.output_tokens IS 'tokens taken from models';
COMMENT ON COLUMN spantree.models.cost_usd IS 'cost in US dollars';
COMMENT ON COLUMN spantree.models.day IS 'UTC day of the start';
COMMENT ON COLUMN spantree.models.model IS 'the model that was called';

CREATE OR REPLACE VIEW spantree.service_calls WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    r.name AS caller,
    r.kind AS called,
    sum(r.total)::bigint AS calls
FROM spantree.rollup AS r
WHERE r.subject = 'call'
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
GROUP BY r.tenant_id, (r.started_at AT TIME ZONE 'UTC')::date, r.name, r.kind
HAVING sum(r.total) > 0;

COMMENT ON VIEW spantree.service_calls IS 'how often each service called another, by day: spans whose parent is of another service';
COMMENT ON COLUMN spantree.service_calls.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.service_calls.day IS 'UTC day of the start of the execution';
COMMENT ON COLUMN spantree.service_calls.caller IS 'the service that calls';
COMMENT ON COLUMN spantree.service_calls.called IS 'the service that is called';
COMMENT ON COLUMN spantree.service_calls.calls IS 'spans of the one whose parent is a span of the other';

CREATE OR REPLACE VIEW spantree.workflow_map WITH (security_invoker = true) AS
SELECT
    r.tenant_id,
    (r.started_at AT TIME ZONE 'UTC')::date AS day,
    r.workflow_name,
    r.name AS from_node,
    r.target AS to_node,
    r.role AS type,
    r.kind AS to_kind,
    sum(r.total)::bigint AS runs,
    greatest(0, sum(r.failed))::bigint AS failed
FROM spantree.rollup AS r
WHERE r.subject = 'edge'
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
GROUP BY r.tenant_id, (r.started_at AT TIME ZONE 'UTC')::date, r.workflow_name, r.name, r.target, r.role, r.kind
HAVING sum(r.total) > 0;

COMMENT ON VIEW spantree.workflow_map IS 'how many executions of each workflow went from one step to another, by day';
COMMENT ON COLUMN spantree.workflow_map.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.workflow_map.day IS 'UTC day of the start of the execution';
COMMENT ON COLUMN spantree.workflow_map.workflow_name IS 'the workflow';
COMMENT ON COLUMN spantree.workflow_map.from_node IS 'name of the step it comes from';
COMMENT ON COLUMN spantree.workflow_map.to_node IS 'name of the step it leads to';
COMMENT ON COLUMN spantree.workflow_map.type IS 'sequential, conditional, parallel, join, dependency, handoff, retry or resume';
COMMENT ON COLUMN spantree.workflow_map.to_kind IS 'kind of the step it leads to';
COMMENT ON COLUMN spantree.workflow_map.runs IS 'executions that went this way';
COMMENT ON COLUMN spantree.workflow_map.failed IS 'of these, those in which the step it leads to failed or timed out; 0 where they were counted before schema version 12';
