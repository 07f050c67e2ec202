-- Groups of failures, with how often each was seen. Columns are only ever appended. Joined from the left, so that who asks
-- for no figures has none counted.

CREATE OR REPLACE VIEW spantree.failure_groups WITH (security_invoker = true) AS
SELECT
    g.tenant_id,
    g.fingerprint,
    g.state,
    nullif(g.category, '') AS category,
    counted.failures,
    counted.failures_7d,
    to_timestamp((g.first_seen_ns / 1000) / 1e6::double precision) AS first_seen_at,
    to_timestamp((g.last_seen_ns / 1000) / 1e6::double precision) AS last_seen_at,
    counted.workflows,
    g.versions,
    g.reopened_at,
    g.reopened_version,
    g.note,
    g.changed_by,
    g.changed_at,
    g.hidden
FROM spantree.failure_group AS g
LEFT JOIN LATERAL (
    SELECT
        coalesce(sum(by_workflow.failures), 0)::bigint AS failures,
        coalesce(sum(by_workflow.failures_7d), 0)::bigint AS failures_7d,
        coalesce(
            array_agg(by_workflow.workflow_name ORDER BY by_workflow.failures DESC, by_workflow.workflow_name)
                FILTER (WHERE by_workflow.workflow_name <> ''),
            '{}'
        ) AS workflows
    FROM (
        SELECT
            r.workflow_name,
            sum(r.total) AS failures,
            sum(r.total) FILTER (WHERE r.started_at >= now() - interval '7 days') AS failures_7d
        FROM spantree.rollup AS r
        WHERE r.tenant_id = g.tenant_id
            AND r.subject = 'error'
            AND r.grain_h = 1
            AND r.name = g.fingerprint
        GROUP BY r.workflow_name
        HAVING sum(r.total) > 0
    ) AS by_workflow
) AS counted ON true;

COMMENT ON VIEW spantree.failure_groups IS 'failures of the same cause, with their state and how many there were; figures are some seconds old and outlive the rows';
COMMENT ON COLUMN spantree.failure_groups.tenant_id IS 'whose failures they are';
COMMENT ON COLUMN spantree.failure_groups.fingerprint IS 'equal for errors of the same cause: error_fingerprint of executions and failures';
COMMENT ON COLUMN spantree.failure_groups.state IS 'open, resolved or ignored; a resolved one that comes back is open again';
COMMENT ON COLUMN spantree.failure_groups.category IS 'category of the error';
COMMENT ON COLUMN spantree.failure_groups.failures IS 'executions that failed of it, ever';
COMMENT ON COLUMN spantree.failure_groups.failures_7d IS 'executions that failed of it and started in the last seven days';
COMMENT ON COLUMN spantree.failure_groups.first_seen_at IS 'start of the first execution that failed of it';
COMMENT ON COLUMN spantree.failure_groups.last_seen_at IS 'start of the last execution that failed of it';
COMMENT ON COLUMN spantree.failure_groups.workflows IS 'workflows that failed of it, most failures first';
COMMENT ON COLUMN spantree.failure_groups.versions IS 'service.version of what failed, in the order they were first seen; the last 20';
COMMENT ON COLUMN spantree.failure_groups.reopened_at IS 'start of the execution by which it came back last, after it was resolved';
COMMENT ON COLUMN spantree.failure_groups.reopened_version IS 'service.version of that execution';
COMMENT ON COLUMN spantree.failure_groups.note IS 'what was said with the last change';
COMMENT ON COLUMN spantree.failure_groups.changed_by IS 'who changed it last, by their own word; null for a reopening';
COMMENT ON COLUMN spantree.failure_groups.changed_at IS 'when it was changed last';
COMMENT ON COLUMN spantree.failure_groups.hidden IS 'whether only hidden executions failed of it';
