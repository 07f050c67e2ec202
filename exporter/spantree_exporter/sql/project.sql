-- name: claim_due
-- Traces that are due and that no other projector works on. Advisory locks instead of row locks, so that writers of
-- these traces do not wait; they end with the transaction. MATERIALIZED, and LIMIT outside of it: the lock function is
-- called in order of due_at, and for no row more than is answered.
WITH due AS MATERIALIZED (
    SELECT trace_id
    FROM spantree.pending_projection
    WHERE tenant_id = %(tenant_id)s
        AND due_at <= clock_timestamp()
    ORDER BY due_at
    LIMIT %(candidates)s
)
SELECT uuid_send(trace_id)
FROM due
WHERE pg_try_advisory_xact_lock(1936744815, uuid_hash(trace_id) # %(tenant_id)s::integer)
LIMIT %(traces)s

-- name: claimed_pending
-- Read again under the lock: another projector may just have finished one of them.
SELECT uuid_send(trace_id), batches, spans + projected_spans
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])
ORDER BY due_at, trace_id

-- name: still_pending
-- Which of these traces wait for a projection, due or not.
SELECT uuid_send(trace_id)
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: span_facts
-- All that assemble may know of the spans of some traces; no attributes.
SELECT
    uuid_send(span.trace_id), span.span_id, span.parent_span_id, span.fingerprint, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.received_ns,
    coalesce(resource.service_name, ''),
    CASE WHEN span.links IS NOT NULL THEN (
        SELECT jsonb_agg(jsonb_build_array(link.value -> 'trace_id', link.value -> 'span_id') ORDER BY link.ordinality)
        FROM jsonb_array_elements(span.links) WITH ORDINALITY AS link
    ) END,
    span.facts, span.anomalies
FROM spantree.span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: projected_traces
-- Which of the traces have rows already.
SELECT DISTINCT uuid_send(trace_id)
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: create_execution_staging
CREATE TEMPORARY TABLE execution_staging (LIKE spantree.execution) ON COMMIT DELETE ROWS

-- name: create_node_staging
CREATE TEMPORARY TABLE node_staging (LIKE spantree.node) ON COMMIT DELETE ROWS

-- name: create_edge_staging
CREATE TEMPORARY TABLE edge_staging (LIKE spantree.edge) ON COMMIT DELETE ROWS

-- name: copy_execution_staging
COPY pg_temp.execution_staging FROM STDIN (FORMAT binary)

-- name: copy_node_staging
COPY pg_temp.node_staging FROM STDIN (FORMAT binary)

-- name: copy_edge_staging
COPY pg_temp.edge_staging FROM STDIN (FORMAT binary)

-- name: delete_stale_executions
-- Rows of these traces, on any day, that are not exactly as staged: they go, and insert_* puts the staged ones there.
-- Rows that are as staged are not touched.
DELETE FROM spantree.execution AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND NOT EXISTS (
        SELECT
        FROM pg_temp.execution_staging AS staged
        WHERE staged.trace_id = stored.trace_id
            AND ROW(staged.*) IS NOT DISTINCT FROM ROW(stored.*)
    )

-- name: delete_stale_nodes
DELETE FROM spantree.node AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND NOT EXISTS (
        SELECT
        FROM pg_temp.node_staging AS staged
        WHERE staged.trace_id = stored.trace_id
            AND staged.span_id = stored.span_id
            AND staged.ordinal = stored.ordinal
            AND ROW(staged.*) IS NOT DISTINCT FROM ROW(stored.*)
    )

-- name: delete_stale_edges
DELETE FROM spantree.edge AS stored
WHERE stored.tenant_id = %(tenant_id)s
    AND stored.trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND NOT EXISTS (
        SELECT
        FROM pg_temp.edge_staging AS staged
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

-- name: insert_staged_nodes
INSERT INTO spantree.node
SELECT *
FROM pg_temp.node_staging
ON CONFLICT DO NOTHING

-- name: insert_staged_edges
INSERT INTO spantree.edge
SELECT *
FROM pg_temp.edge_staging
ON CONFLICT DO NOTHING

-- name: lock_pending
-- In order of the key, like upsert_pending. Waits for writers that add to these traces; `batches` is what they leave.
SELECT uuid_send(trace_id), batches
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])
ORDER BY trace_id
FOR UPDATE

-- name: restart_pending
-- What came while projecting counts from now on.
UPDATE spantree.pending_projection
SET
    first_pending_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(secs => greatest(1, (projected_spans + spans) / 10000.0)),
    projected_spans = projected_spans + spans,
    spans = 0,
    failures = 0,
    error = NULL
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: note_failures
-- Tried again later and later, up to ten minutes, since only a new build or new spans can change the outcome.
UPDATE spantree.pending_projection AS pending
SET
    failures = failures + 1,
    error = failed.error,
    due_at = clock_timestamp() + make_interval(secs => least(600, power(2, least(failures, 10))))
FROM unnest(%(trace_ids)s::text[]::uuid[], %(errors)s::text[]) AS failed (trace_id, error)
WHERE pending.tenant_id = %(tenant_id)s
    AND pending.trace_id = failed.trace_id
