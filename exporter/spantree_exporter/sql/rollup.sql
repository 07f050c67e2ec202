-- name: counted_days
-- Which of some days have their figures already, whatever rows of them come anew: those that retention has begun with.
SELECT day
FROM spantree.retention_day
WHERE day = ANY (%(days)s::date[])
    AND state <> 'held'

-- name: insert_delta
INSERT INTO spantree.rollup_delta (tenant_id, changes)
SELECT tenant_id, changes
FROM unnest(%(tenant_ids)s::integer[], %(changes)b::bytea[]) AS sent (tenant_id, changes)

-- name: try_fold
-- One folder at a time, until the transaction ends. 'span' in hex, as for partitions.
SELECT pg_try_advisory_xact_lock(1936744814, 2)

-- name: is_any_waiting
-- Whether there is anything to be folded, of whatever tenant; the first row of a few pages.
SELECT EXISTS (SELECT FROM spantree.rollup_delta)

-- name: take_deltas
-- Some of them, as far as they hold so many bytes, and one at least; in no order: sums do not depend on it. Served by
-- rollup_delta_pkey.
DELETE FROM spantree.rollup_delta
WHERE id = ANY (ARRAY(
    SELECT id
    FROM (
        SELECT id, sum(octet_length(changes)) OVER so_far AS bytes, row_number() OVER so_far AS position
        FROM (SELECT id, changes FROM spantree.rollup_delta LIMIT %(deltas)s) AS waiting
        WINDOW so_far AS (ROWS UNBOUNDED PRECEDING)
    ) AS measured
    WHERE bytes <= %(bytes)s
        OR position = 1
))
RETURNING tenant_id, changes

-- name: create_rollup_staging
CREATE TEMPORARY TABLE IF NOT EXISTS rollup_staging (
    tenant_id integer, subject text DEFAULT 'edge', started_at timestamptz, workflow_name text, service text DEFAULT '',
    name text, kind text, target text DEFAULT '', role text, hidden boolean DEFAULT false,
    total bigint DEFAULT 0, pending bigint DEFAULT 0, running bigint DEFAULT 0, waiting bigint DEFAULT 0,
    completed bigint DEFAULT 0, failed bigint DEFAULT 0, retried bigint DEFAULT 0, skipped bigint DEFAULT 0,
    cancelled bigint DEFAULT 0, timed_out bigint DEFAULT 0, partial bigint DEFAULT 0, ended bigint DEFAULT 0,
    retried_nodes bigint DEFAULT 0,
    last_started_ns bigint DEFAULT 0, last_failed_ns bigint,
    duration_ns numeric DEFAULT 0, input_tokens numeric DEFAULT 0, output_tokens numeric DEFAULT 0, cost_usd
    numeric DEFAULT 0,
    buckets integer[] DEFAULT '{}', counts bigint[] DEFAULT '{}'
) ON COMMIT DELETE ROWS

-- name: empty_rollup_staging
TRUNCATE pg_temp.rollup_staging

-- name: copy_sums
COPY pg_temp.rollup_staging (
    tenant_id, subject, started_at, workflow_name, name, kind, role, hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd, buckets, counts
) FROM STDIN

-- name: copy_steps
COPY pg_temp.rollup_staging (
    tenant_id, started_at, workflow_name, service, name, kind, target, role, total, failed, last_started_ns
) FROM STDIN

-- name: fold
-- The lines were copied in the order of the key, so that the index is walked once: sorting them here, by eleven columns,
-- was a fifth of the work. Most are steps, which have no durations to be added. Served by rollup_pkey.
INSERT INTO spantree.rollup AS stored (
    tenant_id, subject, grain_h, started_at, workflow_name, service, name, kind, target, role, hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd, durations
)
SELECT
    tenant_id, subject, %(grain_h)s::integer, started_at, workflow_name, service, name, kind, target, role, hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd, ROW(buckets, counts)::spantree.histogram
FROM pg_temp.rollup_staging
ON CONFLICT ON CONSTRAINT rollup_pkey
DO UPDATE SET
    total = stored.total + EXCLUDED.total,
    pending = stored.pending + EXCLUDED.pending,
    running = stored.running + EXCLUDED.running,
    waiting = stored.waiting + EXCLUDED.waiting,
    completed = stored.completed + EXCLUDED.completed,
    failed = stored.failed + EXCLUDED.failed,
    retried = stored.retried + EXCLUDED.retried,
    skipped = stored.skipped + EXCLUDED.skipped,
    cancelled = stored.cancelled + EXCLUDED.cancelled,
    timed_out = stored.timed_out + EXCLUDED.timed_out,
    partial = stored.partial + EXCLUDED.partial,
    ended = stored.ended + EXCLUDED.ended,
    retried_nodes = stored.retried_nodes + EXCLUDED.retried_nodes,
    duration_ns = stored.duration_ns + EXCLUDED.duration_ns,
    input_tokens = stored.input_tokens + EXCLUDED.input_tokens,
    output_tokens = stored.output_tokens + EXCLUDED.output_tokens,
    cost_usd = stored.cost_usd + EXCLUDED.cost_usd,
    last_started_ns = greatest(stored.last_started_ns, EXCLUDED.last_started_ns),
    last_failed_ns = greatest(stored.last_failed_ns, EXCLUDED.last_failed_ns),
    durations = CASE
        WHEN cardinality((EXCLUDED.durations).buckets) = 0
        THEN stored.durations
        ELSE spantree.histogram_plus(stored.durations, EXCLUDED.durations)
    END

-- name: mark_outdated
-- The days and intervals of eight days whose hours have changed.
INSERT INTO spantree.rollup_outdated (tenant_id, grain_h, started_at, since)
SELECT DISTINCT
    staged.tenant_id, grain.hours,
    to_timestamp(floor(extract(epoch FROM staged.started_at) / (grain.hours * 3600)) * (grain.hours * 3600)),
    now()
FROM (SELECT DISTINCT tenant_id, started_at FROM pg_temp.rollup_staging) AS staged
CROSS JOIN (VALUES (24), (192)) AS grain (hours)
ORDER BY 1, 2, 3
ON CONFLICT ON CONSTRAINT rollup_outdated_pkey DO NOTHING

-- name: next_outdated
-- An interval that is over and was left alone for a while; days before the eight days that are made of them.
SELECT outdated.tenant_id, outdated.grain_h, outdated.started_at
FROM spantree.rollup_outdated AS outdated
WHERE outdated.started_at + outdated.grain_h * interval '1 hour' < %(now)s::timestamptz - interval '30 minutes'
    AND outdated.since < %(now)s::timestamptz - interval '10 minutes'
    AND (
        outdated.grain_h = 24
        OR NOT EXISTS (
            SELECT
            FROM spantree.rollup_outdated AS day
            WHERE day.tenant_id = outdated.tenant_id
                AND day.grain_h = 24
                AND day.started_at >= outdated.started_at
                AND day.started_at < outdated.started_at + interval '192 hours'
        )
    )
ORDER BY outdated.grain_h, outdated.started_at DESC
LIMIT 1

-- name: delete_interval
DELETE FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s
    AND grain_h = %(grain_h)s
    AND started_at = %(started_at)s
    AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')

-- name: sum_interval
-- A day of its hours, eight days of their days. Served by rollup_pkey, which is why it names all subjects.
INSERT INTO spantree.rollup (
    tenant_id, subject, grain_h, started_at, workflow_name, service, name, kind, target, role, hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd, durations
)
WITH part AS MATERIALIZED (
    SELECT *
    FROM spantree.rollup
    WHERE tenant_id = %(tenant_id)s
        AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
        AND grain_h = %(part_h)s
        AND started_at >= %(started_at)s::timestamptz
        AND started_at < %(started_at)s::timestamptz + %(grain_h)s * interval '1 hour'
),
histogram AS (
    SELECT
        subject, workflow_name, service, name, kind, target, role, hidden,
        ROW(array_agg(bucket ORDER BY bucket), array_agg(held ORDER BY bucket))::spantree.histogram AS durations
    FROM (
        SELECT
            subject, workflow_name, service, name, kind, target, role, hidden, each.bucket, sum(each.held)::bigint AS held
        FROM part
        CROSS JOIN LATERAL unnest((part.durations).buckets, (part.durations).counts) AS each (bucket, held)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
        HAVING sum(each.held) <> 0
    ) AS by_bucket
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
),
summed AS (
    SELECT
        subject, workflow_name, service, name, kind, target, role, hidden,
        sum(total)::bigint AS total, sum(pending)::bigint AS pending, sum(running)::bigint AS running,
        sum(waiting)::bigint AS waiting, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed,
        sum(retried)::bigint AS retried, sum(skipped)::bigint AS skipped, sum(cancelled)::bigint AS
        cancelled, sum(timed_out)::bigint AS timed_out, sum(partial)::bigint AS partial, sum(ended)::bigint
        AS ended, sum(retried_nodes)::bigint AS retried_nodes, max(last_started_ns) AS last_started_ns,
        max(last_failed_ns) AS last_failed_ns, sum(duration_ns) AS duration_ns, sum(input_tokens) AS
        input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
    FROM part
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
    HAVING sum(total) <> 0
)
SELECT
    %(tenant_id)s, subject, %(grain_h)s, %(started_at)s::timestamptz, workflow_name, service, name, kind, target, role,
    hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd, coalesce(durations, ROW('{}', '{}')::spantree.histogram)
FROM summed
LEFT JOIN histogram USING (subject, workflow_name, service, name, kind, target, role, hidden)

-- name: delete_outdated
DELETE FROM spantree.rollup_outdated
WHERE tenant_id = %(tenant_id)s
    AND grain_h = %(grain_h)s
    AND started_at = %(started_at)s

-- name: delete_hours
DELETE FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s
    AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
    AND grain_h = 1
    AND started_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
    AND started_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'

-- name: recount_hours
-- The hours of one UTC day from its rows, all of which it reads; on Citus on the coordinator, for figures are there.
INSERT INTO spantree.rollup
WITH counted AS (
    -- the durations of what was skipped are not counted, as in spantree_exporter.rollup
    SELECT
        tenant_id, started_ns, CASE WHEN status <> 'skipped' THEN ended_ns END AS ended_ns, status, name, kind,
        workflow_name, service, project, user_id, hidden, error_fingerprint, error_category, retried_count, input_tokens, output_tokens, cost_usd, NULL AS model,
        false AS is_node, false AS is_root, trace_id
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND (day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1 OR day = '1970-01-01')
        AND started_ns >= %(first_ns)s
        AND started_ns < %(end_ns)s
    UNION ALL
    SELECT
        tenant_id, started_ns, CASE WHEN status <> 'skipped' THEN ended_ns END, status, name, kind, workflow_name, NULL,
        NULL, NULL, false, NULL, NULL, 0, input_tokens, output_tokens, cost_usd,
        CASE WHEN 'model_told_elsewhere' = ANY (anomalies) THEN NULL ELSE model END,
        true, parent_span_id IS NULL, trace_id
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND (day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1 OR day = '1970-01-01')
        AND started_ns >= %(first_ns)s
        AND started_ns < %(end_ns)s
)
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
    FROM counted
    CROSS JOIN LATERAL (
        VALUES
            ('node', is_node, coalesce(workflow_name, ''), counted.name, counted.kind,
                CASE WHEN is_root THEN 'root' ELSE '' END, false),
            ('model', model IS NOT NULL, coalesce(workflow_name, ''), model, counted.kind, '', false),
            ('workflow', NOT is_node, coalesce(workflow_name, ''), coalesce(workflow_name, ''), counted.kind, '', counted.hidden),
            ('service', NOT is_node, '', counted.service, '', '', counted.hidden),
            ('project', project IS NOT NULL, coalesce(counted.workflow_name, ''), project, '', '', counted.hidden),
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
GROUP BY 1, 2, 4, 5, 6, 7, 8, 9, 10, 11

-- name: recount_steps
INSERT INTO spantree.rollup
SELECT
    edge.tenant_id, 'edge', 1, to_timestamp(execution.started_ns / 3600000000000 * 3600), left(execution.workflow_name, 100),
    left(execution.service, 100), left(earlier.name, 100), left(later.kind, 100), left(later.name, 100), edge.type, false,
    count(DISTINCT edge.trace_id), 0, 0, 0, 0,
    count(DISTINCT edge.trace_id) FILTER (WHERE later.status IN ('failed', 'timed_out')), 0, 0, 0, 0, 0, 0, 0, max(execution.started_ns) / 3600000000000 * 3600000000000, NULL, 0, 0, 0, 0,
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
WHERE execution.tenant_id = %(tenant_id)s
    AND execution.day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1
    AND execution.started_ns >= %(first_ns)s
    AND execution.started_ns < %(end_ns)s
    AND execution.workflow_name IS NOT NULL
    AND edge.from_trace_id IS NULL
GROUP BY edge.tenant_id, 4, 5, 6, 7, 8, 9, 10

-- name: recount_calls
INSERT INTO spantree.rollup
SELECT
    execution.tenant_id, 'call', 1, to_timestamp(execution.started_ns / 3600000000000 * 3600), '', '',
    left(execution.calls[place], 100), left(execution.calls[place + 1], 100), '', '', false,
    sum(execution.calls[place + 2]::bigint), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    max(execution.started_ns) / 3600000000000 * 3600000000000, NULL, 0, 0, 0, 0, ROW('{}', '{}')::spantree.histogram
FROM spantree.execution
CROSS JOIN LATERAL generate_series(1, cardinality(execution.calls), 3) AS place
WHERE execution.tenant_id = %(tenant_id)s
    AND (execution.day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1 OR execution.day = '1970-01-01')
    AND execution.started_ns >= %(first_ns)s
    AND execution.started_ns < %(end_ns)s
GROUP BY execution.tenant_id, 4, 7, 8

-- name: mark_day_outdated
INSERT INTO spantree.rollup_outdated (tenant_id, grain_h, started_at, since)
SELECT
    %(tenant_id)s, grain.hours,
    to_timestamp(floor(extract(epoch FROM %(day)s::date) / (grain.hours * 3600)) * (grain.hours * 3600)), now()
FROM (VALUES (24), (192)) AS grain (hours)
ON CONFLICT ON CONSTRAINT rollup_outdated_pkey DO NOTHING

-- name: unbounded
-- For a transaction that reads a whole day, on behalf of somebody who waits for it.
SELECT set_config('statement_timeout', '0', true)

-- name: lock_folding
-- Of the session, before the transaction's snapshot is taken.
SELECT pg_advisory_lock(1936744814, 2)

-- name: unlock_folding
SELECT pg_advisory_unlock(1936744814, 2)

-- name: days_with_all_rows
-- Those of some days of which retention has taken nothing. Served by retention_day_pkey.
SELECT asked.day
FROM unnest(%(days)s::date[]) WITH ORDINALITY AS asked (day, position)
WHERE NOT EXISTS (
    SELECT
    FROM spantree.retention_day
    WHERE retention_day.day = asked.day
        AND retention_day.state <> 'held'
)
ORDER BY asked.position

-- name: differences
-- Keys of one UTC day whose figures are not those of the rows: what is counted from the rows, what the hours say.
-- Right once rollup_delta is empty. Projects without their workflows, which older versions did not count.
-- Reads all rows of that day. Nodes are on the day they start, on their execution's, or on the sentinel day.
WITH counted AS (
    SELECT
        tenant_id, started_ns, ended_ns, status, name, kind, workflow_name, service, project, user_id, hidden,
        error_fingerprint, error_category, retried_count, input_tokens, output_tokens, NULL AS model,
        false AS is_node, false AS is_root, trace_id
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND (day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1 OR day = '1970-01-01')
    UNION ALL
    SELECT
        tenant_id, started_ns, ended_ns, status, name, kind, workflow_name, NULL, NULL, NULL, false, NULL, NULL, 0,
        input_tokens, output_tokens, CASE WHEN 'model_told_elsewhere' = ANY (anomalies) THEN NULL ELSE model END,
        true, parent_span_id IS NULL, trace_id
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND (day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1 OR day = '1970-01-01')
),
by_hour AS (
    SELECT
        subjects.subject, started_ns / 3600000000000 AS hour, left(subjects.workflow_name, 100) AS workflow_name,
        left(subjects.name, 100) AS name, left(subjects.kind, 100) AS kind, subjects.role, subjects.hidden,
        count(*) AS total,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status IN ('failed', 'timed_out', 'partial')) AS failed,
        count(*) FILTER (WHERE status IN ('pending', 'running', 'waiting')) AS open,
        count(*) FILTER (WHERE status IN ('retried', 'skipped', 'cancelled')) AS other,
        count(ended_ns)::numeric AS ended,
        count(ended_ns)::numeric AS in_buckets,
        sum(retried_count)::numeric AS retried_nodes,
        coalesce(sum((ended_ns - started_ns)::numeric), 0) AS duration_ns,
        coalesce(sum(input_tokens), 0)::numeric AS input_tokens,
        coalesce(sum(output_tokens), 0)::numeric AS output_tokens
    FROM counted
    CROSS JOIN LATERAL (
        VALUES
            ('node', is_node, coalesce(counted.workflow_name, ''), counted.name, counted.kind,
                CASE WHEN is_root THEN 'root' ELSE '' END, false),
            ('model', model IS NOT NULL, coalesce(counted.workflow_name, ''), model, counted.kind, '', false),
            ('workflow', NOT is_node, coalesce(counted.workflow_name, ''), coalesce(counted.workflow_name, ''), counted.kind, '',
                counted.hidden),
            ('service', NOT is_node, '', counted.service, '', '', counted.hidden),
            ('project', project IS NOT NULL, coalesce(counted.workflow_name, ''), project, '', '', counted.hidden),
            ('user', user_id IS NOT NULL, '', user_id, '', '', counted.hidden),
            ('error', NOT is_node AND status IN ('failed', 'partial', 'timed_out'), coalesce(counted.workflow_name, ''),
                coalesce(error_fingerprint, ''), coalesce(error_category, ''), '', counted.hidden)
    ) AS subjects (subject, applies, workflow_name, name, kind, role, hidden)
    WHERE subjects.applies
        AND to_timestamp(started_ns / 1000000000) >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
        AND to_timestamp(started_ns / 1000000000) < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    UNION ALL
    SELECT
        'call', execution.started_ns / 3600000000000, '', left(execution.calls[place], 100), left(execution.calls[place + 1], 100), '', false,
        sum(execution.calls[place + 2]::bigint)::bigint, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM spantree.execution
    CROSS JOIN LATERAL generate_series(1, cardinality(execution.calls), 3) AS place
    WHERE execution.tenant_id = %(tenant_id)s
        AND (execution.day BETWEEN %(day)s::date - 1 AND %(day)s::date + 1 OR execution.day = '1970-01-01')
        AND to_timestamp(execution.started_ns / 1000000000) >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
        AND to_timestamp(execution.started_ns / 1000000000) < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY 2, 4, 5
),
placed AS (
    -- under what the hour has of it: its own key, or what that is gathered under (rollup_names.py)
    SELECT by_hour.*, place.workflow_name AS placed_workflow_name, place.name AS placed_name, place.kind AS placed_kind
    FROM by_hour
    CROSS JOIN LATERAL (
        SELECT key.workflow_name, key.name, key.kind
        FROM (
            VALUES
                (1, by_hour.workflow_name, by_hour.name, by_hour.kind),
                (
                    2, %(other)s, CASE WHEN by_hour.name = by_hour.workflow_name THEN %(other)s ELSE by_hour.name END,
                    by_hour.kind
                ),
                (
                    3, CASE WHEN by_hour.workflow_name = '' THEN '' ELSE %(other)s END,
                    CASE WHEN by_hour.name = '' THEN '' ELSE %(other)s END,
                    CASE WHEN by_hour.subject = 'call' THEN %(other)s ELSE by_hour.kind END
                ),
                (4, by_hour.workflow_name, by_hour.name, by_hour.kind)
        ) AS key (level, workflow_name, name, kind)
        WHERE level = 4
            OR ((level <> 2 OR by_hour.workflow_name <> '') AND EXISTS (
                SELECT
                FROM spantree.rollup
                WHERE rollup.tenant_id = %(tenant_id)s
                    AND rollup.subject = by_hour.subject
                    AND rollup.grain_h = 1
                    AND rollup.started_at = to_timestamp(by_hour.hour * 3600)
                    AND rollup.workflow_name = key.workflow_name
                    AND rollup.service = ''
                    AND rollup.name = key.name
                    AND rollup.kind = key.kind
                    AND rollup.target = ''
                    AND rollup.role = by_hour.role
                    AND rollup.hidden = by_hour.hidden
            ))
        ORDER BY level
        LIMIT 1
    ) AS place
),
from_rows AS (
    SELECT
        subject, CASE WHEN subject = 'project' THEN '' ELSE placed_workflow_name END AS workflow_name,
        placed_name AS name, placed_kind AS kind, role, hidden,
        sum(total)::bigint AS total, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed,
        sum(open)::bigint AS open, sum(other)::bigint AS other, sum(ended) AS ended, sum(in_buckets) AS in_buckets,
        sum(retried_nodes) AS retried_nodes, sum(duration_ns) AS duration_ns, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens
    FROM placed
    GROUP BY 1, 2, 3, 4, 5, 6
),
from_rollups AS (
    SELECT
        subject, CASE WHEN subject = 'project' THEN '' ELSE workflow_name END AS workflow_name, name, kind, role, hidden,
        sum(total)::bigint AS total, sum(completed)::bigint AS completed,
        sum(failed + timed_out + partial)::bigint AS failed, sum(pending + running + waiting)::bigint AS open,
        sum(retried + skipped + cancelled)::bigint AS other, sum(ended) AS ended, sum(in_buckets) AS in_buckets,
        sum(retried_nodes) AS retried_nodes, sum(duration_ns) AS duration_ns, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens
    FROM (
        SELECT
            subject, workflow_name, name, kind, role, hidden, total, completed, failed, timed_out, partial, pending, running,
            waiting, retried, skipped, cancelled, ended, retried_nodes, duration_ns, input_tokens, output_tokens,
            (SELECT coalesce(sum(held), 0) FROM unnest((durations).counts) AS held) AS in_buckets
        FROM spantree.rollup
        WHERE tenant_id = %(tenant_id)s
            AND subject = ANY ('{node,model,workflow,service,project,user,error,call}')
            AND grain_h = 1
            AND started_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
            AND started_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS held
    GROUP BY 1, 2, 3, 4, 5, 6
    HAVING sum(total) <> 0
)
SELECT
    coalesce(from_rows.subject, from_rollups.subject) AS subject,
    coalesce(from_rows.workflow_name, from_rollups.workflow_name) AS workflow_name,
    coalesce(from_rows.name, from_rollups.name) AS name,
    coalesce(from_rows.total, 0) AS counted,
    coalesce(from_rollups.total, 0) AS rolled_up
FROM from_rows
FULL JOIN from_rollups
    ON from_rows.subject = from_rollups.subject
    AND from_rows.workflow_name = from_rollups.workflow_name
    AND from_rows.name = from_rollups.name
    AND from_rows.kind = from_rollups.kind
    AND from_rows.role = from_rollups.role
    AND from_rows.hidden = from_rollups.hidden
WHERE (
        from_rows.total, from_rows.completed, from_rows.failed, from_rows.open, from_rows.other, from_rows.ended,
        from_rows.in_buckets, from_rows.retried_nodes, from_rows.duration_ns, from_rows.input_tokens,
        from_rows.output_tokens
    ) IS DISTINCT FROM (
        from_rollups.total, from_rollups.completed, from_rollups.failed, from_rollups.open, from_rollups.other,
        from_rollups.ended, from_rollups.in_buckets, from_rollups.retried_nodes, from_rollups.duration_ns,
        from_rollups.input_tokens, from_rollups.output_tokens
    )
ORDER BY 1, 2, 3
LIMIT %(limit)s
