-- Figures by hour, kept exact by differences that a projection writes with its rows; those of days and of eight days are
-- made of them once nothing changes there. They outlive the partitions that they were counted from. No numeric type of limited width: sums are of what strangers send.

CREATE TYPE spantree.histogram AS (
    buckets integer[],
    counts bigint[]
);

COMMENT ON TYPE spantree.histogram IS 'a sparse histogram of durations: buckets ascending, and how many each holds. Bucket b > 0 holds 1.04^(b-1) < ns <= 1.04^b, so that its middle is at most 2 % off; 0 holds up to 1 ns';

CREATE TABLE spantree.rollup (
    tenant_id integer NOT NULL,
    subject text NOT NULL,
    grain_h integer NOT NULL,
    started_at timestamptz NOT NULL,
    workflow_name text NOT NULL,
    service text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    role text NOT NULL,
    hidden boolean NOT NULL,
    total bigint NOT NULL,
    pending bigint NOT NULL,
    running bigint NOT NULL,
    waiting bigint NOT NULL,
    completed bigint NOT NULL,
    failed bigint NOT NULL,
    retried bigint NOT NULL,
    skipped bigint NOT NULL,
    cancelled bigint NOT NULL,
    timed_out bigint NOT NULL,
    partial bigint NOT NULL,
    ended bigint NOT NULL,
    retried_nodes bigint NOT NULL,
    last_started_ns bigint NOT NULL,
    last_failed_ns bigint,
    duration_ns numeric NOT NULL,
    input_tokens numeric NOT NULL,
    output_tokens numeric NOT NULL,
    cost_usd numeric NOT NULL,
    durations spantree.histogram NOT NULL,
    CONSTRAINT rollup_pkey PRIMARY KEY (
        tenant_id, subject, grain_h, started_at, workflow_name, service, name, kind, target, role, hidden
    ),
    CONSTRAINT rollup_subject_check CHECK (
        subject IN ('node', 'model', 'edge', 'workflow', 'service', 'project', 'user', 'error')
    ),
    CONSTRAINT rollup_grain_check CHECK (grain_h IN (1, 24, 192))
) WITH (autovacuum_vacuum_scale_factor = 0.05, fillfactor = 80);

COMMENT ON TABLE spantree.rollup IS 'counts, durations, tokens and cost by hour, day and eight days; what rollup_delta holds is still to be added';
COMMENT ON CONSTRAINT rollup_pkey ON spantree.rollup IS 'serves figures of a range of time: a few intervals of each grain';
COMMENT ON COLUMN spantree.rollup.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.rollup.subject IS 'what is counted: nodes (node, model), executions (workflow, service, project, user, error), or executions that took an edge (edge)';
COMMENT ON COLUMN spantree.rollup.grain_h IS 'hours of the interval: 1, 24 or 192; hours are always right, the others where rollup_outdated does not name them';
COMMENT ON COLUMN spantree.rollup.started_at IS 'begin of the interval; what started in it is counted';
COMMENT ON COLUMN spantree.rollup.workflow_name IS 'workflow; empty where there is none. Texts of the key are cut to 100 characters';
COMMENT ON COLUMN spantree.rollup.service IS 'service of the execution, for edges; else empty';
COMMENT ON COLUMN spantree.rollup.name IS 'name of the node, workflow, service, project, user or model; fingerprint of the error; name of the node that an edge comes from';
COMMENT ON COLUMN spantree.rollup.kind IS 'kind of the node or execution; category of the error; kind of the node that an edge leads to';
COMMENT ON COLUMN spantree.rollup.target IS 'name of the node that an edge leads to; else empty';
COMMENT ON COLUMN spantree.rollup.role IS 'type of the edge; root for nodes without a parent; else empty';
COMMENT ON COLUMN spantree.rollup.hidden IS 'whether hidden executions are counted; false for nodes';
COMMENT ON COLUMN spantree.rollup.total IS 'nodes or executions in all';
COMMENT ON COLUMN spantree.rollup.pending IS 'that are pending';
COMMENT ON COLUMN spantree.rollup.running IS 'that run';
COMMENT ON COLUMN spantree.rollup.waiting IS 'that wait';
COMMENT ON COLUMN spantree.rollup.completed IS 'that completed';
COMMENT ON COLUMN spantree.rollup.failed IS 'that failed, those that timed out not among them';
COMMENT ON COLUMN spantree.rollup.retried IS 'failed attempts that a later attempt followed';
COMMENT ON COLUMN spantree.rollup.skipped IS 'that were skipped';
COMMENT ON COLUMN spantree.rollup.cancelled IS 'that were cancelled';
COMMENT ON COLUMN spantree.rollup.timed_out IS 'that timed out';
COMMENT ON COLUMN spantree.rollup.partial IS 'executions that completed although steps failed';
COMMENT ON COLUMN spantree.rollup.ended IS 'that have ended: those whose durations are counted';
COMMENT ON COLUMN spantree.rollup.retried_nodes IS 'retried attempts in the executions counted';
COMMENT ON COLUMN spantree.rollup.last_started_ns IS 'latest start that was ever counted, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.rollup.last_failed_ns IS 'latest start of a failed one that was ever counted, UTC nanoseconds since 1970; null when none was';
COMMENT ON COLUMN spantree.rollup.duration_ns IS 'sum of the durations in nanoseconds';
COMMENT ON COLUMN spantree.rollup.input_tokens IS 'sum of the tokens given to models';
COMMENT ON COLUMN spantree.rollup.output_tokens IS 'sum of the tokens taken from models';
COMMENT ON COLUMN spantree.rollup.cost_usd IS 'sum of the cost in US dollars';
COMMENT ON COLUMN spantree.rollup.durations IS 'histogram of the durations';

CREATE INDEX rollup_workflow_idx ON spantree.rollup (tenant_id, subject, workflow_name, grain_h, started_at);
COMMENT ON INDEX spantree.rollup_workflow_idx IS 'serves figures of one workflow';

CREATE TABLE spantree.rollup_outdated (
    tenant_id integer NOT NULL,
    grain_h integer NOT NULL,
    started_at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    CONSTRAINT rollup_outdated_pkey PRIMARY KEY (tenant_id, grain_h, started_at)
);

COMMENT ON TABLE spantree.rollup_outdated IS 'days and intervals of eight days whose figures are not, or not yet, made of their hours: read the hours instead';
COMMENT ON CONSTRAINT rollup_outdated_pkey ON spantree.rollup_outdated IS 'serves the choice of the intervals that a figure is read from';
COMMENT ON COLUMN spantree.rollup_outdated.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.rollup_outdated.grain_h IS 'hours of the interval: 24 or 192';
COMMENT ON COLUMN spantree.rollup_outdated.started_at IS 'begin of the interval';
COMMENT ON COLUMN spantree.rollup_outdated.since IS 'when an hour of it changed first';

CREATE TABLE spantree.rollup_delta (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    tenant_id integer NOT NULL,
    changes bytea NOT NULL,
    CONSTRAINT rollup_delta_pkey PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

COMMENT ON TABLE spantree.rollup_delta IS 'what projections added to, and took from, the figures, still to be folded into rollup; seconds old at most';
COMMENT ON CONSTRAINT rollup_delta_pkey ON spantree.rollup_delta IS 'serves taking some of them to fold';
COMMENT ON COLUMN spantree.rollup_delta.id IS 'tells two changes apart';
COMMENT ON COLUMN spantree.rollup_delta.tenant_id IS 'whose figures they are';
COMMENT ON COLUMN spantree.rollup_delta.changes IS 'JSON of spantree_exporter.rollup.Rollup: all that one transaction changed';

-- What is stored already. Large joins and groups, perhaps over partitions without statistics.
SET LOCAL jit = off;
SET LOCAL work_mem = '256MB';

INSERT INTO spantree.rollup
SELECT
    tenant_id, subject, 1, started_at, workflow_name, service, name, kind, target, role, hidden,
    sum(total), sum(pending), sum(running), sum(waiting), sum(completed), sum(failed), sum(retried), sum(skipped),
    sum(cancelled), sum(timed_out), sum(partial), sum(ended), sum(retried_nodes), max(last_started_ns),
    max(last_failed_ns), sum(duration_ns), sum(input_tokens), sum(output_tokens), sum(cost_usd),
    ROW(
        coalesce(array_agg(bucket ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL), '{}'),
        coalesce(array_agg(ended ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL), '{}')
    )::spantree.histogram
FROM (
    SELECT
        counted.tenant_id, subject, to_timestamp(started_ns / 3600000000000 * 3600) AS started_at,
        key.workflow_name, key.service, key.name, key.kind, key.target, key.role, key.hidden,
        CASE
            WHEN ended_ns IS NULL THEN NULL
            WHEN ended_ns - started_ns <= 1 THEN 0
            ELSE ceil(ln((ended_ns - started_ns)::double precision) / ln(1.04::double precision))::integer
        END AS bucket,
        count(*) AS total,
        count(*) FILTER (WHERE status = 'pending') AS pending,
        count(*) FILTER (WHERE status = 'running') AS running,
        count(*) FILTER (WHERE status = 'waiting') AS waiting,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'retried') AS retried,
        count(*) FILTER (WHERE status = 'skipped') AS skipped,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE status = 'timed_out') AS timed_out,
        count(*) FILTER (WHERE status = 'partial') AS partial,
        count(ended_ns) AS ended,
        sum(retried_count) AS retried_nodes,
        max(started_ns) AS last_started_ns,
        max(started_ns) FILTER (WHERE status IN ('failed', 'timed_out')) AS last_failed_ns,
        coalesce(sum((ended_ns - started_ns)::numeric), 0) AS duration_ns,
        coalesce(sum(input_tokens), 0) AS input_tokens,
        coalesce(sum(output_tokens), 0) AS output_tokens,
        coalesce(sum(cost_usd::numeric), 0) AS cost_usd
    FROM (
        SELECT
            tenant_id, started_ns, ended_ns, status, name, kind, workflow_name, service, project, user_id, hidden,
            error_fingerprint, error_category, retried_count, input_tokens, output_tokens, cost_usd, NULL AS model,
            false AS is_node, false AS is_root
        FROM spantree.execution
        UNION ALL
        SELECT
            tenant_id, started_ns, ended_ns, status, name, kind, workflow_name, NULL, NULL, NULL, false,
            NULL, NULL, 0, input_tokens, output_tokens, cost_usd, model, true, parent_span_id IS NULL
        FROM spantree.node
    ) AS counted
    CROSS JOIN LATERAL (
        VALUES
            ('node', is_node, coalesce(workflow_name, ''), counted.name, counted.kind,
                CASE WHEN is_root THEN 'root' ELSE '' END, false),
            ('model', model IS NOT NULL, coalesce(workflow_name, ''), model, counted.kind, '', false),
            ('workflow', NOT is_node, coalesce(workflow_name, ''), coalesce(workflow_name, ''), counted.kind, '', counted.hidden),
            ('service', NOT is_node, '', counted.service, '', '', counted.hidden),
            ('project', project IS NOT NULL, '', project, '', '', counted.hidden),
            ('user', user_id IS NOT NULL, '', user_id, '', '', counted.hidden),
            ('error', NOT is_node AND status IN ('failed', 'partial', 'timed_out'), coalesce(workflow_name, ''),
                coalesce(error_fingerprint, ''), coalesce(error_category, ''), '', counted.hidden)
    ) AS subjects (subject, applies, workflow_name, name, kind, role, hidden)
    CROSS JOIN LATERAL (
        SELECT
            left(subjects.workflow_name, 100) AS workflow_name, '' AS service, left(subjects.name, 100) AS name,
            left(subjects.kind, 100) AS kind, '' AS target, subjects.role, subjects.hidden
    ) AS key
    WHERE applies
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
) AS by_bucket
GROUP BY 1, 2, 4, 5, 6, 7, 8, 9, 10, 11;

SET LOCAL enable_nestloop = off;

INSERT INTO spantree.rollup
SELECT
    edge.tenant_id, 'edge', 1, to_timestamp(execution.started_ns / 3600000000000 * 3600), left(execution.workflow_name, 100),
    left(execution.service, 100), left(earlier.name, 100), left(later.kind, 100), left(later.name, 100), edge.type, false,
    count(DISTINCT edge.trace_id), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, max(execution.started_ns) / 3600000000000 * 3600000000000, NULL, 0, 0, 0, 0,
    ROW('{}', '{}')::spantree.histogram
FROM spantree.edge
JOIN spantree.execution USING (tenant_id, trace_id)
JOIN spantree.node AS earlier
    ON earlier.tenant_id = edge.tenant_id
    AND earlier.trace_id = edge.trace_id
    AND earlier.span_id = edge.from_span_id
    AND earlier.ordinal = edge.from_ordinal
JOIN spantree.node AS later
    ON later.tenant_id = edge.tenant_id
    AND later.trace_id = edge.trace_id
    AND later.span_id = edge.to_span_id
    AND later.ordinal = edge.to_ordinal
WHERE execution.workflow_name IS NOT NULL
    AND edge.from_trace_id IS NULL
GROUP BY edge.tenant_id, 4, 5, 6, 7, 8, 9, 10;

INSERT INTO spantree.rollup_outdated (tenant_id, grain_h, started_at, since)
SELECT DISTINCT
    tenant_id, grain.hours,
    to_timestamp(floor(extract(epoch FROM started_at) / (grain.hours * 3600)) * (grain.hours * 3600)), '-infinity'::timestamptz
FROM spantree.rollup
CROSS JOIN (VALUES (24), (192)) AS grain (hours);
