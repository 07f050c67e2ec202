-- What an execution could have run and did not, as far as other executions of its workflow show.

-- name: steps_that_follow
-- which name followed which in executions of the same workflow and service in the days around one, out of the figures
-- that projections keep: by day, and by hour where the day's figures are outdated; a row without names tells that a definition
-- of the workflow is stored; served by rollup_workflow_idx. Nothing for a workflow of no name and a hidden execution.
WITH this AS MATERIALIZED (
    SELECT left(workflow_name, 100) AS workflow_name, left(service, 100) AS service, started_ns
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND trace_id = %(trace_id)s::uuid
        AND day = ANY (%(days)s::date[])
        AND workflow_name IS NOT NULL
        AND NOT hidden
    LIMIT 1
),
around AS MATERIALIZED (
    SELECT this.*, intervals.grain_h, intervals.first_at, intervals.last_at
    FROM this
    CROSS JOIN LATERAL (
        SELECT
            to_timestamp(this.started_ns / 1000000000) - interval '8 days' AS first_at,
            to_timestamp(this.started_ns / 1000000000) + interval '7 days' AS last_at
    ) AS near
    CROSS JOIN LATERAL (
        SELECT 24 AS grain_h, near.first_at, near.last_at
        UNION ALL
        SELECT 1, outdated.started_at, outdated.started_at + interval '23 hours'
        FROM spantree.rollup_outdated AS outdated
        WHERE outdated.tenant_id = %(tenant_id)s
            AND outdated.grain_h = 24
            AND outdated.started_at BETWEEN near.first_at AND near.last_at
    ) AS intervals
)
SELECT DISTINCT edge.name, edge.target AS following
FROM around
CROSS JOIN LATERAL (
    SELECT rollup.name, rollup.target
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'edge'
        AND rollup.workflow_name = around.workflow_name
        AND rollup.grain_h = around.grain_h
        AND rollup.started_at BETWEEN around.first_at AND around.last_at
        AND rollup.service = around.service
        AND rollup.role IN ('sequential', 'conditional', 'parallel', 'join', 'dependency', 'handoff')
        AND rollup.kind IN ('step', 'task', 'agent', 'workflow', 'chain', 'function')
        AND rollup.total > 0
    OFFSET 0
) AS edge
UNION ALL
SELECT NULL, NULL
FROM around
CROSS JOIN LATERAL (
    SELECT
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'workflow'
        AND rollup.workflow_name = around.workflow_name
        AND rollup.grain_h = around.grain_h
        AND rollup.started_at BETWEEN around.first_at AND around.last_at
        AND rollup.kind = 'definition'
        AND rollup.total > 0
    LIMIT 1
) AS definition

-- name: steps_of_definitions
-- the steps that stored definitions of the workflow name, of the days around an execution; served by execution_kind_idx
SELECT DISTINCT NULL::text AS name, unnest(skipped_nodes) AS following
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
    AND kind = 'definition'
    AND workflow_name = %(workflow)s
    AND service = %(service)s
LIMIT 1000

-- name: names_that_ran
-- the names of a trace's nodes that were not skipped; served by node_sequence_idx
SELECT DISTINCT name, NULL::text AS following
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND status <> 'skipped'
