-- name: claim_due
-- Traces that are due and that no other projector works on. Advisory locks instead of row locks, so that writers of
-- these traces do not wait; of the session, for assembling happens outside of transactions, and gone when it ends.
-- MATERIALIZED, and LIMIT outside of it: the lock function is called in order of due_at, and for no row more than is
-- answered. Those whose last attempt has not come to an end are asked for apart. The first of each tenant come before
-- the second of any: who has many waiting does not keep others waiting. Served by pending_projection_due_idx.
WITH due AS MATERIALIZED (
    SELECT tenant.tenant_id, first.trace_id
    FROM unnest(%(tenant_ids)s::integer[]) WITH ORDINALITY AS tenant (tenant_id, turn)
    CROSS JOIN LATERAL (
        SELECT trace_id, row_number() OVER (ORDER BY due_at) AS position
        FROM (
            SELECT pending.trace_id, pending.due_at
            FROM spantree.pending_projection AS pending
            WHERE pending.tenant_id = tenant.tenant_id
                AND pending.due_at <= clock_timestamp()
                AND (pending.begun > 0) = %(suspects)s
            ORDER BY pending.due_at
            LIMIT %(candidates)s
        ) AS waiting
    ) AS first
    ORDER BY first.position, tenant.turn
)
SELECT tenant_id, uuid_send(trace_id)
FROM due
WHERE pg_try_advisory_lock(1936744815, uuid_hash(trace_id) # tenant_id)
LIMIT %(traces)s

-- name: due_tenants
-- Whose traces are due: from one tenant to the next, the first to be due of each, however many wait. Served by
-- pending_projection_due_idx.
WITH RECURSIVE waiting AS (
    (SELECT tenant_id, due_at FROM spantree.pending_projection ORDER BY tenant_id, due_at LIMIT 1)
    UNION ALL
    SELECT following.tenant_id, following.due_at
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT pending.tenant_id, pending.due_at
        FROM spantree.pending_projection AS pending
        WHERE pending.tenant_id > waiting.tenant_id
        ORDER BY pending.tenant_id, pending.due_at
        LIMIT 1
    ) AS following
)
SELECT tenant_id, extract(epoch FROM clock_timestamp() - due_at)::float8 AS due_s
FROM waiting
WHERE due_at <= clock_timestamp()
ORDER BY tenant_id

-- name: release_claims
-- All of them, and the days that were held for them (readable_days): a projector holds no other lock of its session.
SELECT pg_advisory_unlock_all()

-- name: note_begun
-- Before they are tried: whoever comes after a projector that failed or died over one of them takes others first, and
-- these later and later, up to ten minutes. The row goes, or is due anew, when the projection comes to an end. One that a
-- writer holds just now is left for the next time.
WITH free AS MATERIALIZED (
    SELECT wanted.tenant_id, wanted.trace_id
    FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
    CROSS JOIN LATERAL (
        SELECT
        FROM spantree.pending_projection AS pending
        WHERE pending.tenant_id = wanted.tenant_id
            AND pending.trace_id = wanted.trace_id
        FOR UPDATE SKIP LOCKED
    ) AS unlocked
)
UPDATE spantree.pending_projection AS pending
SET
    begun = begun + 1,
    due_at = clock_timestamp() + make_interval(
        secs => greatest(
            least(600, power(2, least(begun + 1, 10))),
            CASE WHEN spans + projected_spans >= %(risky_spans)s THEN 60 ELSE 0 END
        )
    ),
    error = CASE
        WHEN begun = 0 THEN error
        ELSE coalesce(error, 'its last projection has not come to an end: it took too much time or memory, or was ended')
    END
FROM free
WHERE pending.tenant_id = free.tenant_id
    AND pending.trace_id = free.trace_id
RETURNING pending.tenant_id, uuid_send(pending.trace_id)

-- name: put_off
-- Traces with rows that retention hides for a while. One that a writer holds just now is looked at again the next time.
UPDATE spantree.pending_projection AS pending
SET due_at = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM (
    SELECT wanted.tenant_id, wanted.trace_id
    FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
    CROSS JOIN LATERAL (
        SELECT
        FROM spantree.pending_projection AS held
        WHERE held.tenant_id = wanted.tenant_id
            AND held.trace_id = wanted.trace_id
        FOR UPDATE SKIP LOCKED
    ) AS unlocked
) AS free
WHERE pending.tenant_id = free.tenant_id
    AND pending.trace_id = free.trace_id

-- name: recall_ahead
-- Traces that are due in hours: nothing is put off for so long, so a clock that was ahead for a while has noted it. In
-- order of the key, as writers lock them; those that somebody holds the next time.
WITH ahead AS MATERIALIZED (
    SELECT pending.tenant_id, pending.trace_id
    FROM spantree.pending_projection AS pending
    WHERE pending.due_at > clock_timestamp() + interval '1 hour'
    ORDER BY pending.tenant_id, pending.trace_id
    LIMIT 10000
    FOR UPDATE SKIP LOCKED
)
UPDATE spantree.pending_projection AS pending
SET due_at = clock_timestamp()
FROM ahead
WHERE pending.tenant_id = ahead.tenant_id
    AND pending.trace_id = ahead.trace_id

-- name: claimed_pending
-- Read again under the lock: another projector may just have finished one of them. In the order in which they were
-- claimed.
SELECT wanted.tenant_id, uuid_send(wanted.trace_id), held.batches, held.spans + held.projected_spans, held.begun
FROM unnest(
    %(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]
) WITH ORDINALITY AS wanted (tenant_id, trace_id, turn)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.pending_projection AS pending
    WHERE pending.tenant_id = wanted.tenant_id
        AND pending.trace_id = wanted.trace_id
    ORDER BY pending.tenant_id
) AS held
ORDER BY wanted.turn

-- name: still_pending
-- Which of these traces wait for a projection, due or not.
SELECT uuid_send(trace_id)
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: span_facts
-- All that assemble may know of the spans of some traces; of roots the attributes, for search. Served by span_pkey on the days given; trace by
-- trace, so that no statistics are needed to see that it is the way.
SELECT
    span.tenant_id, uuid_send(wanted.trace_id), span.span_id, span.parent_span_id, span.fingerprint, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.received_ns,
    coalesce(resource.service_name, ''),
    CASE WHEN span.links IS NOT NULL THEN (
        SELECT jsonb_agg(jsonb_build_array(link.value -> 'trace_id', link.value -> 'span_id') ORDER BY link.ordinality)
        FROM jsonb_array_elements(span.links) WITH ORDINALITY AS link
    ) END,
    span.facts, span.anomalies, span.day,
    CASE WHEN span.parent_span_id IS NULL THEN span.attributes END
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.span AS of_trace
    WHERE of_trace.tenant_id = wanted.tenant_id
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
    ORDER BY of_trace.tenant_id
) AS span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id

-- name: trace_size
-- Of one trace: its spans, the bytes of their facts, the newest sign of life. Served by span_pkey on the days given.
SELECT count(*), coalesce(sum(octet_length(facts::text)), 0)::bigint, max(received_ns)
FROM spantree.span
WHERE tenant_id = %(tenant_id)s
    AND day = ANY (%(days)s::date[])
    AND trace_id = %(trace_id)s::uuid

-- name: most_telling_spans
-- As span_facts of one trace, with the bytes of facts: of more than are read those that fail, begin, or say that they
-- are a run or a step come first (assemble.budget.within_nodes), then those that began first.
SELECT
    span.tenant_id, uuid_send(span.trace_id), span.span_id, span.parent_span_id, span.fingerprint, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.received_ns,
    coalesce(resource.service_name, ''),
    CASE WHEN span.links IS NOT NULL THEN (
        SELECT jsonb_agg(jsonb_build_array(link.value -> 'trace_id', link.value -> 'span_id') ORDER BY link.ordinality)
        FROM jsonb_array_elements(span.links) WITH ORDINALITY AS link
    ) END,
    span.facts, span.anomalies, span.day,
    CASE WHEN span.parent_span_id IS NULL THEN span.attributes END,
    coalesce(octet_length(span.facts::text), 0)
FROM spantree.span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.day = ANY (%(days)s::date[])
    AND span.trace_id = %(trace_id)s::uuid
ORDER BY
    CASE WHEN %(ranked)s THEN
        span.parent_span_id IS NOT NULL
        AND span.status_code <> 2
        AND NOT coalesce(span.facts ?| ARRAY['boundary', 'step'], false)
    END,
    CASE WHEN %(ranked)s THEN span.start_ns END,
    CASE WHEN %(ranked)s THEN span.end_ns END DESC,
    CASE WHEN %(ranked)s THEN span.span_id END,
    CASE WHEN %(ranked)s THEN span.fingerprint END
LIMIT %(most)s

-- name: create_execution_staging
CREATE TEMPORARY TABLE execution_staging (LIKE spantree.execution INCLUDING DEFAULTS) ON COMMIT DELETE ROWS

-- name: create_node_staging
CREATE TEMPORARY TABLE node_staging (LIKE spantree.node INCLUDING DEFAULTS) ON COMMIT DELETE ROWS

-- name: create_edge_staging
CREATE TEMPORARY TABLE edge_staging (LIKE spantree.edge INCLUDING DEFAULTS) ON COMMIT DELETE ROWS

-- name: copy_execution_staging
COPY pg_temp.execution_staging (
    tenant_id, day, trace_id, name, workflow_name, entry, kind, status, started_ns, ended_ns, last_seen_ns,
    root_span_id, service, services, run_id, conversation_id, user_id, project, input, output, error_summary,
    error_category, error_fingerprint, first_failed_span_id, first_failed_ordinal, first_failed_name,
    first_failed_error_type, first_failed_error_message, total_count, completed_count, failed_count,
    retried_count, skipped_count, waiting_count, running_count, cancelled_count, timed_out_count, span_count,
    input_tokens, output_tokens, cost_usd, skipped_nodes, resumes, lost_after_s, hidden, anomalies, calls,
    search
) FROM STDIN (FORMAT binary)

-- name: copy_node_staging
COPY pg_temp.node_staging (
    tenant_id, day, trace_id, span_id, ordinal, fingerprint, parent_span_id, parent_ordinal, name, kind,
    status, status_reason, started_ns, ended_ns, self_ns, sequence, depth, attempt, max_attempts,
    retry_expected, task_key, iteration, error_type, error_message, error_category, error_fingerprint, model,
    input_tokens, output_tokens, cost_usd, input, output, service, workflow_name, run_id, on_critical_path,
    folded_span_ids, anomalies, declared
) FROM STDIN (FORMAT binary)

-- name: copy_edge_staging
COPY pg_temp.edge_staging (
    tenant_id, day, trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type, condition, provenance,
    from_trace_id
) FROM STDIN (FORMAT binary)

-- name: stored_steps
-- Which name followed which in the rows that are there, as spantree_exporter.rollup.steps_of tells it. Served by the
-- primary keys on the days given; trace by trace, so that no statistics are needed to see that it is the way.
SELECT of_trace.*
FROM unnest(%(trace_ids)s::text[]::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT
        execution.started_ns, left(execution.workflow_name, 100) AS workflow_name,
        left(execution.service, 100) AS service, left(earlier.name, 100) AS name, later.kind,
        left(later.name, 100) AS target, edge.type, bool_or(later.status IN ('failed', 'timed_out')) AS failed
    FROM spantree.execution
    JOIN spantree.edge
        ON edge.tenant_id = %(tenant_id)s
        AND edge.day = ANY (%(days)s::date[])
        AND edge.trace_id = wanted.trace_id
    JOIN spantree.node AS earlier
        ON earlier.tenant_id = %(tenant_id)s
        AND earlier.day = ANY (%(days)s::date[])
        AND earlier.trace_id = wanted.trace_id
        AND earlier.span_id = edge.from_span_id
        AND earlier.ordinal = edge.from_ordinal
    JOIN spantree.node AS later
        ON later.tenant_id = %(tenant_id)s
        AND later.day = ANY (%(days)s::date[])
        AND later.trace_id = wanted.trace_id
        AND later.span_id = edge.to_span_id
        AND later.ordinal = edge.to_ordinal
    WHERE execution.tenant_id = %(tenant_id)s
        AND execution.day = ANY (%(days)s::date[])
        AND execution.trace_id = wanted.trace_id
        AND execution.workflow_name IS NOT NULL
        AND edge.from_trace_id IS NULL
    GROUP BY 1, 2, 3, 4, 5, 6, 7, execution.trace_id
) AS of_trace

-- name: delete_stale_executions
-- Rows of these traces, on all their days, that are not exactly as staged: they go, and insert_* puts the staged ones
-- there. Rows that are as staged are not touched. WITH, because Citus
-- joins no temporary table with one of shards. Served by the primary key on the days given, as are the next two.
WITH staged AS MATERIALIZED (
    SELECT *
    FROM pg_temp.execution_staging
)
DELETE FROM spantree.execution AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.day = ANY (%(days)s::date[])
    AND stored.trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND NOT EXISTS (
        SELECT
        FROM staged
        WHERE staged.trace_id = stored.trace_id
            AND ROW(staged.*) IS NOT DISTINCT FROM ROW(stored.*)
    )
RETURNING
    stored.started_ns, stored.ended_ns, stored.kind, stored.status, stored.workflow_name, stored.service,
    stored.project, stored.user_id, stored.hidden, stored.error_fingerprint, stored.error_category,
    stored.retried_count, stored.input_tokens, stored.output_tokens, stored.cost_usd, stored.calls,
    uuid_send(stored.trace_id)

-- name: delete_stale_nodes
WITH staged AS MATERIALIZED (
    SELECT *
    FROM pg_temp.node_staging
)
DELETE FROM spantree.node AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.day = ANY (%(days)s::date[])
    AND stored.trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND NOT EXISTS (
        SELECT
        FROM staged
        WHERE staged.trace_id = stored.trace_id
            AND staged.span_id = stored.span_id
            AND staged.ordinal = stored.ordinal
            AND ROW(staged.*) IS NOT DISTINCT FROM ROW(stored.*)
    )
RETURNING
    stored.started_ns, stored.ended_ns, stored.name, stored.kind, stored.status, stored.workflow_name,
    stored.model, stored.input_tokens, stored.output_tokens, stored.cost_usd, stored.parent_span_id,
    stored.anomalies, uuid_send(stored.trace_id), stored.span_id, stored.ordinal

-- name: delete_stale_edges
WITH staged AS MATERIALIZED (
    SELECT *
    FROM pg_temp.edge_staging
)
DELETE FROM spantree.edge AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.day = ANY (%(days)s::date[])
    AND stored.trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND NOT EXISTS (
        SELECT
        FROM staged
        WHERE staged.trace_id = stored.trace_id
            AND staged.from_span_id = stored.from_span_id
            AND staged.to_span_id = stored.to_span_id
            AND ROW(staged.*) IS NOT DISTINCT FROM ROW(stored.*)
    )

-- name: insert_staged_executions
INSERT INTO spantree.execution
SELECT *
FROM pg_temp.execution_staging
ON CONFLICT DO NOTHING
RETURNING
    started_ns, ended_ns, kind, status, workflow_name, service, project, user_id, hidden, error_fingerprint,
    error_category, retried_count, input_tokens, output_tokens, cost_usd, calls, uuid_send(trace_id)

-- name: insert_staged_nodes
INSERT INTO spantree.node
SELECT *
FROM pg_temp.node_staging
ON CONFLICT DO NOTHING
RETURNING
    started_ns, ended_ns, name, kind, status, workflow_name, model, input_tokens, output_tokens, cost_usd,
    parent_span_id, anomalies, uuid_send(trace_id), span_id, ordinal

-- name: insert_staged_edges
INSERT INTO spantree.edge
SELECT *
FROM pg_temp.edge_staging
ON CONFLICT DO NOTHING

-- name: empty_staging
TRUNCATE pg_temp.execution_staging, pg_temp.node_staging, pg_temp.edge_staging

-- name: lock_pending
-- In order of the arrays, which is that of the key, like upsert_pending. Waits for writers that add to these traces;
-- `batches` is what they leave.
SELECT wanted.tenant_id, uuid_send(wanted.trace_id), held.batches
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
CROSS JOIN LATERAL (
    SELECT pending.batches
    FROM spantree.pending_projection AS pending
    WHERE pending.tenant_id = wanted.tenant_id
        AND pending.trace_id = wanted.trace_id
    FOR UPDATE
) AS held

-- name: restart_pending
-- What came while projecting counts from now on. A trace that takes long is projected for at most a tenth of the time.
UPDATE spantree.pending_projection AS pending
SET
    first_pending_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(
        secs => greatest(1, (pending.projected_spans + pending.spans) / 10000.0, 10 * projected.took_s)
    ),
    projected_spans = pending.projected_spans + pending.spans,
    spans = 0,
    begun = 0,
    failures = 0,
    error = NULL
FROM unnest(
    %(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[], %(took_s)s::float8[]
) AS projected (tenant_id, trace_id, took_s)
WHERE pending.tenant_id = projected.tenant_id
    AND pending.trace_id = projected.trace_id

-- name: delete_pending
DELETE FROM spantree.pending_projection AS pending
USING unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS done (tenant_id, trace_id)
WHERE pending.tenant_id = done.tenant_id
    AND pending.trace_id = done.trace_id

-- name: note_failures
-- Tried again later and later, up to ten minutes, since only a new build or new spans can change the outcome.
UPDATE spantree.pending_projection AS pending
SET
    failures = failures + 1,
    error = failed.error,
    due_at = clock_timestamp() + make_interval(secs => least(600, power(2, least(failures, 10))))
FROM unnest(
    %(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[], %(errors)s::text[]
) AS failed (tenant_id, trace_id, error)
WHERE pending.tenant_id = failed.tenant_id
    AND pending.trace_id = failed.trace_id
