-- Views of executions. Columns are only ever appended, so that CREATE OR REPLACE keeps rights and what others built on
-- them. Times are exact in *_ns; timestamptz holds microseconds, and to_timestamp of them is immutable, so that the
-- started_at of executions has an index.

-- The one exception: execution_id was a text once, which no index serves. Its views are made anew; 095_view_rights.sql
-- gives back the rights on them, in the same transaction.
DO $$
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS view_rights (name text, grantee oid, privilege text, grantable boolean)
        ON COMMIT DROP;
    IF EXISTS (
        SELECT
        FROM pg_attribute
        WHERE attrelid = to_regclass('spantree.executions') AND attname = 'execution_id' AND atttypid = 'text'::regtype
    ) THEN
        INSERT INTO pg_temp.view_rights
        SELECT view.relname, given.grantee, given.privilege_type, given.is_grantable
        FROM pg_class AS view
        CROSS JOIN LATERAL aclexplode(view.relacl) AS given
        WHERE view.relnamespace = 'spantree'::regnamespace AND view.relkind = 'v';
        DROP VIEW spantree.executions, spantree.failures, spantree.stuck_executions, spantree.runs, spantree.nodes,
            spantree.edges, spantree.retries;
    END IF;
END
$$;

CREATE OR REPLACE VIEW spantree.executions WITH (security_invoker = true) AS
SELECT
    e.tenant_id,
    e.day,
    e.trace_id,
    e.trace_id AS execution_id,
    e.name,
    e.workflow_name,
    e.entry,
    e.kind,
    CASE
        WHEN e.status IN ('running', 'pending')
        THEN spantree.effective_status(
            e.status, e.anomalies, e.last_seen_ns, coalesce(e.lost_after_s, spantree.threshold_s(e.tenant_id, 'lost')),
            (extract(epoch FROM now()) * 1000000000)::bigint
        )
        ELSE e.status
    END AS status,
    to_timestamp((e.started_ns / 1000) / 1e6::double precision) AS started_at,
    to_timestamp((e.ended_ns / 1000) / 1e6::double precision) AS ended_at,
    (e.ended_ns - e.started_ns) / 1e6::double precision AS duration_ms,
    to_timestamp((e.last_seen_ns / 1000) / 1e6::double precision) AS last_seen_at,
    e.started_ns,
    e.ended_ns,
    e.last_seen_ns,
    lpad(to_hex(e.root_span_id), 16, '0') AS root_span_id,
    e.service,
    e.services,
    e.run_id,
    e.conversation_id,
    e.user_id,
    e.project,
    e.input,
    e.output,
    e.error_summary,
    e.error_category,
    e.error_fingerprint,
    lpad(to_hex(e.first_failed_span_id), 16, '0') AS first_failed_span_id,
    e.first_failed_ordinal,
    e.first_failed_name,
    e.first_failed_error_type,
    e.first_failed_error_message,
    e.total_count,
    e.completed_count,
    e.failed_count,
    e.retried_count,
    e.skipped_count,
    e.waiting_count,
    e.running_count,
    e.cancelled_count,
    e.timed_out_count,
    e.span_count,
    e.input_tokens,
    e.output_tokens,
    e.cost_usd,
    e.skipped_nodes,
    e.resumes,
    e.lost_after_s,
    e.hidden,
    e.anomalies,
    e.status AS stored_status
FROM spantree.execution AS e;

COMMENT ON VIEW spantree.executions IS 'every execution: one run of a workflow, agent or request';
COMMENT ON COLUMN spantree.executions.execution_id IS 'the trace id; compares with its 32 hex digits, as Jaeger and the API show it, and meets the index';
COMMENT ON COLUMN spantree.executions.status IS 'as stored_status, but lost where it runs without a sign of life for longer than lost_after_s (threshold_s if null); completed where it only waits for its root';
COMMENT ON COLUMN spantree.executions.stored_status IS 'status as the spans tell it; filter by this one to use an index';
COMMENT ON COLUMN spantree.executions.started_at IS 'start';
COMMENT ON COLUMN spantree.executions.ended_at IS 'end; null while anything in it runs';
COMMENT ON COLUMN spantree.executions.duration_ms IS 'milliseconds from start to end; null while anything in it runs';
COMMENT ON COLUMN spantree.executions.last_seen_at IS 'when the collector took in its newest span, by the collector''s clock';

CREATE OR REPLACE VIEW spantree.failures WITH (security_invoker = true) AS
SELECT
    e.tenant_id,
    e.day,
    e.trace_id,
    e.trace_id AS execution_id,
    to_timestamp((coalesce(e.ended_ns, e.started_ns) / 1000) / 1e6::double precision) AS failed_at,
    e.name,
    e.workflow_name,
    e.entry,
    e.status,
    e.first_failed_name AS first_failed_node,
    e.first_failed_error_type AS error_type,
    e.first_failed_error_message AS error_message,
    e.error_summary,
    e.error_category,
    e.error_fingerprint,
    (
        SELECT array_agg(failed.name ORDER BY failed.sequence)
        FROM spantree.trace AS t
        CROSS JOIN LATERAL unnest(t.days) AS on_day (day)
        CROSS JOIN LATERAL (
            SELECT n.name, n.sequence
            FROM spantree.node AS n
            WHERE n.tenant_id = t.tenant_id
                AND n.trace_id = t.trace_id
                AND n.day = on_day.day
                AND n.status IN ('failed', 'timed_out')
            ORDER BY n.tenant_id
        ) AS failed
        WHERE t.tenant_id = e.tenant_id
            AND t.trace_id = e.trace_id
        GROUP BY t.trace_id
    ) AS failed_nodes,
    e.user_id,
    e.conversation_id,
    e.run_id,
    e.service,
    left(e.input, 100) AS input,
    (e.ended_ns - e.started_ns) / 1e6::double precision AS duration_ms,
    to_timestamp((e.started_ns / 1000) / 1e6::double precision) AS started_at,
    e.started_ns
FROM spantree.execution AS e
WHERE e.status IN ('failed', 'partial', 'timed_out');

COMMENT ON VIEW spantree.failures IS 'executions that failed, timed out, or completed although steps failed; hidden ones too';
COMMENT ON COLUMN spantree.failures.execution_id IS 'the trace id; compares with its 32 hex digits and meets the index';
COMMENT ON COLUMN spantree.failures.failed_at IS 'end of the execution, its start where there is no end';
COMMENT ON COLUMN spantree.failures.first_failed_node IS 'name of the node that failed first';
COMMENT ON COLUMN spantree.failures.error_type IS 'error type of the node that failed first';
COMMENT ON COLUMN spantree.failures.error_message IS 'error message of the node that failed first';
COMMENT ON COLUMN spantree.failures.failed_nodes IS 'names of all nodes that failed for good, in the order of the tree';
COMMENT ON COLUMN spantree.failures.input IS 'the first 100 characters of the preview of what it was given';
COMMENT ON COLUMN spantree.failures.duration_ms IS 'milliseconds from start to end';
COMMENT ON COLUMN spantree.failures.started_at IS 'start';

CREATE OR REPLACE VIEW spantree.stuck_executions WITH (security_invoker = true) AS
SELECT
    e.tenant_id,
    e.day,
    e.trace_id,
    e.trace_id AS execution_id,
    e.name,
    e.workflow_name,
    spantree.effective_status(
        e.status, e.anomalies, e.last_seen_ns, coalesce(e.lost_after_s, spantree.threshold_s(e.tenant_id, 'lost')),
        (extract(epoch FROM now()) * 1000000000)::bigint
    ) AS status,
    to_timestamp((e.started_ns / 1000) / 1e6::double precision) AS started_at,
    to_timestamp((e.last_seen_ns / 1000) / 1e6::double precision) AS last_seen_at,
    extract(epoch FROM now())::double precision - e.last_seen_ns / 1e9::double precision AS silent_s,
    e.after_s AS threshold_s,
    (
        SELECT array_agg(open.name ORDER BY open.sequence)
        FROM spantree.trace AS t
        CROSS JOIN LATERAL unnest(t.days) AS on_day (day)
        CROSS JOIN LATERAL (
            SELECT n.name, n.sequence
            FROM spantree.node AS n
            WHERE n.tenant_id = t.tenant_id
                AND n.trace_id = t.trace_id
                AND n.day = on_day.day
                AND n.status IN ('pending', 'running', 'waiting')
            ORDER BY n.tenant_id
        ) AS open
        WHERE t.tenant_id = e.tenant_id
            AND t.trace_id = e.trace_id
        GROUP BY t.trace_id
    ) AS open_nodes,
    e.service,
    e.run_id,
    e.conversation_id,
    e.user_id
FROM (
    SELECT
        execution.*,
        spantree.stuck_after_s(
            status, anomalies, started_ns, last_seen_ns, lost_after_s, spantree.threshold_s(tenant_id, 'lost'),
            spantree.threshold_s(tenant_id, status), (extract(epoch FROM now()) * 1000000000)::bigint
        ) AS after_s
    FROM spantree.execution
    WHERE status IN ('pending', 'running', 'waiting')
) AS e
WHERE e.after_s IS NOT NULL;

COMMENT ON VIEW spantree.stuck_executions IS
    'executions that are open for longer than their threshold, and lost ones; what waits is told although another one has taken it up';
COMMENT ON COLUMN spantree.stuck_executions.execution_id IS 'the trace id; compares with its 32 hex digits and meets the index';
COMMENT ON COLUMN spantree.stuck_executions.status IS 'pending, running or waiting, or lost';
COMMENT ON COLUMN spantree.stuck_executions.started_at IS 'start';
COMMENT ON COLUMN spantree.stuck_executions.last_seen_at IS 'when the collector took in its newest span';
COMMENT ON COLUMN spantree.stuck_executions.silent_s IS 'seconds since then';
COMMENT ON COLUMN spantree.stuck_executions.threshold_s IS 'the threshold that it is beyond, in seconds: of silence where it is lost or waits by a threshold of its own, else of being open';
COMMENT ON COLUMN spantree.stuck_executions.open_nodes IS 'names of its nodes that run or wait, in the order of the tree';

CREATE OR REPLACE VIEW spantree.runs WITH (security_invoker = true) AS
SELECT
    e.tenant_id,
    e.run_id,
    (array_agg(e.name ORDER BY e.started_ns))[1] AS name,
    (array_agg(e.workflow_name ORDER BY e.started_ns))[1] AS workflow_name,
    CASE
        WHEN bool_or(now.status = 'running') THEN 'running'
        WHEN bool_or(now.status = 'pending') THEN 'pending'
        ELSE (array_agg(now.status ORDER BY e.started_ns DESC, e.trace_id DESC))[1]
    END AS status,
    count(*) AS executions,
    array_agg(e.trace_id ORDER BY e.started_ns, e.trace_id) AS execution_ids,
    to_timestamp((min(e.started_ns) / 1000) / 1e6::double precision) AS started_at,
    CASE WHEN count(e.ended_ns) = count(*) THEN
        to_timestamp((max(e.ended_ns) / 1000) / 1e6::double precision)
    END AS ended_at,
    sum(e.total_count) AS total_count,
    sum(e.failed_count) AS failed_count,
    sum(e.retried_count) AS retried_count,
    sum(e.input_tokens)::bigint AS input_tokens,
    sum(e.output_tokens)::bigint AS output_tokens,
    sum(e.cost_usd) AS cost_usd
FROM spantree.execution AS e
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN e.status IN ('running', 'pending')
        THEN spantree.effective_status(
            e.status, e.anomalies, e.last_seen_ns, coalesce(e.lost_after_s, spantree.threshold_s(e.tenant_id, 'lost')),
            (extract(epoch FROM now()) * 1000000000)::bigint
        )
        ELSE e.status
    END AS status
) AS now
WHERE e.run_id IS NOT NULL
GROUP BY e.tenant_id, e.run_id;

COMMENT ON VIEW spantree.runs IS 'executions that share a declared run id, as one: a run that waits and is resumed, or goes over several traces';
COMMENT ON COLUMN spantree.runs.name IS 'name of its first execution';
COMMENT ON COLUMN spantree.runs.workflow_name IS 'workflow of its first execution';
COMMENT ON COLUMN spantree.runs.status IS 'running or pending while one of its executions is, else the status of the one that started last; what an engine itself said of the whole run, only the API tells';
COMMENT ON COLUMN spantree.runs.executions IS 'how many executions it has';
COMMENT ON COLUMN spantree.runs.execution_ids IS 'their ids in order of start';
COMMENT ON COLUMN spantree.runs.started_at IS 'start of the first';
COMMENT ON COLUMN spantree.runs.ended_at IS 'end of the last; null while one has none';
COMMENT ON COLUMN spantree.runs.total_count IS 'nodes in all';
COMMENT ON COLUMN spantree.runs.failed_count IS 'nodes that failed for good';
COMMENT ON COLUMN spantree.runs.retried_count IS 'failed attempts that a later attempt followed';

CREATE OR REPLACE VIEW spantree.conversations WITH (security_invoker = true) AS
SELECT
    e.tenant_id,
    e.conversation_id,
    (array_agg(e.user_id ORDER BY e.started_ns DESC) FILTER (WHERE e.user_id IS NOT NULL))[1] AS user_id,
    count(*) AS turns,
    count(*) FILTER (WHERE e.status IN ('failed', 'partial', 'timed_out')) AS failed_turns,
    (array_agg(e.status ORDER BY e.started_ns DESC, e.trace_id))[1] AS last_status,
    to_timestamp((min(e.started_ns) / 1000) / 1e6::double precision) AS started_at,
    to_timestamp((max(e.last_seen_ns) / 1000) / 1e6::double precision) AS last_seen_at,
    (array_agg(e.input ORDER BY e.started_ns) FILTER (WHERE e.input IS NOT NULL))[1] AS first_input,
    sum(e.input_tokens)::bigint AS input_tokens,
    sum(e.output_tokens)::bigint AS output_tokens,
    sum(e.cost_usd) AS cost_usd
FROM spantree.execution AS e
WHERE e.conversation_id IS NOT NULL
GROUP BY e.tenant_id, e.conversation_id;

COMMENT ON VIEW spantree.conversations IS 'conversations, sessions and threads: the executions that are their turns, summed up';
COMMENT ON COLUMN spantree.conversations.conversation_id IS 'conversation, session or thread';
COMMENT ON COLUMN spantree.conversations.user_id IS 'user of the latest turn that names one';
COMMENT ON COLUMN spantree.conversations.turns IS 'how many executions it has';
COMMENT ON COLUMN spantree.conversations.failed_turns IS 'how many of them failed, timed out or completed although steps failed';
COMMENT ON COLUMN spantree.conversations.last_status IS 'stored status of the latest';
COMMENT ON COLUMN spantree.conversations.started_at IS 'start of the first';
COMMENT ON COLUMN spantree.conversations.last_seen_at IS 'when the collector took in the newest span of any';
COMMENT ON COLUMN spantree.conversations.first_input IS 'preview of what the first turn was given';

COMMENT ON COLUMN spantree.executions.hidden IS 'a health check, a probe, a scrape, a lone database call: not listed unless asked for';
