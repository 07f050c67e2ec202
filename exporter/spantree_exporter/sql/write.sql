-- name: copy_spans
-- Columns by name here and below: one that somebody added keeps its default.
COPY spantree.span (
    tenant_id, day, trace_id, span_id, fingerprint, parent_span_id, kind, status_code, start_ns, end_ns,
    flags, received_ns, name, status_message, trace_state, resource_id, scope, attributes, events, links,
    dropped_attributes_count, dropped_events_count, dropped_links_count, facts, anomalies, raw
) FROM STDIN (FORMAT binary)

-- name: copy_span_lines
-- As text, for a Citus cluster: its coordinator takes jsonb in and puts it out again where it comes in the binary format.
COPY spantree.span (
    tenant_id, day, trace_id, span_id, fingerprint, parent_span_id, kind, status_code, start_ns, end_ns,
    flags, received_ns, name, status_message, trace_state, resource_id, scope, attributes, events, links,
    dropped_attributes_count, dropped_events_count, dropped_links_count, facts, anomalies, raw
) FROM STDIN

-- name: create_span_staging
CREATE TEMPORARY TABLE span_staging (LIKE spantree.span INCLUDING DEFAULTS) ON COMMIT DELETE ROWS

-- name: copy_span_staging
COPY pg_temp.span_staging (
    tenant_id, day, trace_id, span_id, fingerprint, parent_span_id, kind, status_code, start_ns, end_ns,
    flags, received_ns, name, status_message, trace_state, resource_id, scope, attributes, events, links,
    dropped_attributes_count, dropped_events_count, dropped_links_count, facts, anomalies, raw
) FROM STDIN (FORMAT binary)

-- name: insert_staged_spans
-- The spans that are not there yet. In order of the key, so that two writers of the same spans cannot deadlock. A row
-- each of them, because the count of rows that Citus answers has those in it that were there.
INSERT INTO spantree.span
SELECT *
FROM pg_temp.span_staging
ORDER BY tenant_id, trace_id, span_id, fingerprint
ON CONFLICT DO NOTHING
RETURNING tenant_id

-- name: stored_resources
-- Which of some resources are there, and noted to be in use: on Citus the coordinator tells it, and for writing them every
-- node is needed. Served by resource_pkey, one by one, so that no statistics are needed to see that it is the way.
SELECT wanted.tenant_id, wanted.id
FROM unnest(%(tenant_ids)s::integer[], %(ids)s::bigint[]) AS wanted (tenant_id, id)
CROSS JOIN LATERAL (
    SELECT resource.id
    FROM spantree.resource
    WHERE resource.tenant_id = wanted.tenant_id
        AND resource.id = wanted.id
        AND resource.last_seen_day >= %(today)s::date
    ORDER BY resource.tenant_id
) AS stored

-- name: insert_resources
-- In order of the key, for the same reason. Commits on its own: a resource without spans does no harm, but other
-- writers that have it as well would wait for the whole batch.
INSERT INTO spantree.resource AS resource
    (tenant_id, id, attributes, service_name, schema_url, dropped_attributes_count, first_seen_ns, last_seen_day)
SELECT tenant_id, id, attributes::jsonb, service_name, schema_url, dropped, first_seen_ns, %(today)s::date
FROM unnest(
    %(tenant_ids)s::integer[], %(ids)s::bigint[], %(attributes)s::text[], %(service_names)s::text[], %(schema_urls)s::text[],
    %(dropped)s::bigint[], %(first_seen_ns)s::bigint[]
) AS sent (tenant_id, id, attributes, service_name, schema_url, dropped, first_seen_ns)
ORDER BY tenant_id, id
ON CONFLICT ON CONSTRAINT resource_pkey
DO UPDATE SET last_seen_day = EXCLUDED.last_seen_day
WHERE resource.last_seen_day < EXCLUDED.last_seen_day

-- name: upsert_dead_letters
-- Equal ones are one row, counted. In order of the key, so that two writers of the same cannot deadlock. A body that is
-- written again after a crash came at the time that is noted already, and is not counted again.
INSERT INTO spantree.dead_letter AS letter
    (tenant_id, digest, received_ns, last_received_ns, cause, reason, encoding, raw, count)
SELECT %(tenant_id)s, digest, received_ns, last_received_ns, cause, reason, encoding, raw, count
FROM unnest(
    %(digests)b::bytea[], %(received_ns)s::bigint[], %(last_received_ns)s::bigint[], %(causes)s::text[],
    %(reasons)s::text[], %(encodings)s::text[], %(raws)b::bytea[], %(counts)s::bigint[]
) AS sent (digest, received_ns, last_received_ns, cause, reason, encoding, raw, count)
ORDER BY digest
ON CONFLICT ON CONSTRAINT dead_letter_pkey
DO UPDATE SET
    count = letter.count + EXCLUDED.count,
    received_ns = least(letter.received_ns, EXCLUDED.received_ns),
    last_received_ns = greatest(letter.last_received_ns, EXCLUDED.last_received_ns),
    cause = EXCLUDED.cause,
    reason = EXCLUDED.reason
WHERE EXCLUDED.last_received_ns NOT IN (letter.received_ns, letter.last_received_ns)

-- name: trim_dead_letters
-- Those that are too many or hold too many bytes, counted from the newest: they go. Rows that somebody is at are left
-- for the next time. Reads the table, which is bounded thereby; octet_length looks at no TOASTed value.
DELETE FROM spantree.dead_letter AS letter
USING (
    SELECT oldest.digest
    FROM (
        SELECT
            digest,
            row_number() OVER newest_first AS position,
            sum(octet_length(raw)) OVER newest_first AS bytes
        FROM spantree.dead_letter
        WHERE tenant_id = %(tenant_id)s
        WINDOW newest_first AS (ORDER BY last_received_ns DESC, digest ROWS UNBOUNDED PRECEDING)
    ) AS ranked
    JOIN spantree.dead_letter AS oldest
        ON oldest.tenant_id = %(tenant_id)s
        AND oldest.digest = ranked.digest
    WHERE ranked.position > %(letters)s
        OR ranked.bytes > %(bytes)s
    ORDER BY oldest.digest
    FOR UPDATE OF oldest SKIP LOCKED
) AS surplus
WHERE letter.tenant_id = %(tenant_id)s
    AND letter.digest = surplus.digest
RETURNING letter.cause

-- name: upsert_pending
-- One row a trace, in order of the key; it makes writers of the same trace wait for each other. A trace is due when it
-- has been quiet for a second (a large one whose root has not ended: longer), at the latest a second, or a
-- thousandth of its size in seconds, after the first batch: the cost of a trace stays linear in its size.
INSERT INTO spantree.pending_projection AS pending
    (tenant_id, trace_id, first_pending_at, due_at, batches, spans, projected_spans, root_ended)
SELECT
    tenant_id, trace_id, clock_timestamp(),
    clock_timestamp() + make_interval(
        secs => CASE WHEN root_ended THEN 1 ELSE greatest(1, (projected_spans + spans) / 10000.0) END
    ),
    1, spans, projected_spans, root_ended
FROM unnest(
    %(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[], %(spans)s::bigint[], %(projected_spans)s::bigint[],
    %(root_ended)s::boolean[]
) AS sent (tenant_id, trace_id, spans, projected_spans, root_ended)
ORDER BY tenant_id, trace_id
ON CONFLICT ON CONSTRAINT pending_projection_pkey
DO UPDATE SET
    batches = pending.batches + 1,
    spans = pending.spans + EXCLUDED.spans,
    projected_spans = greatest(pending.projected_spans, EXCLUDED.projected_spans),
    root_ended = pending.root_ended OR EXCLUDED.root_ended,
    due_at = greatest(
        CASE WHEN pending.failures > 0 OR pending.begun > 1 THEN pending.due_at ELSE '-infinity' END,
        least(
            pending.first_pending_at + make_interval(
                secs => greatest(1, (pending.projected_spans + pending.spans + EXCLUDED.spans) / 1000.0)
            ),
            clock_timestamp() + make_interval(
                secs => CASE
                    WHEN pending.root_ended OR EXCLUDED.root_ended THEN 1
                    ELSE greatest(1, (pending.projected_spans + pending.spans + EXCLUDED.spans) / 10000.0)
                END
            )
        )
    )

-- name: days_of_traces
-- Which of the traces are known, and the days that they have rows on. Served by trace_pkey, trace by trace. By shard_ids
-- Citus knows which shards to ask (StoreConnection.trace_keys).
SELECT wanted.tenant_id, uuid_send(wanted.trace_id), known.days
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
CROSS JOIN LATERAL (
    SELECT trace.days
    FROM spantree.trace
    WHERE trace.tenant_id = wanted.tenant_id
        AND trace.trace_id = wanted.trace_id
        AND (%(shard_ids)s::text[] IS NULL OR trace.trace_id = ANY (%(shard_ids)s::text[]::uuid[]))
    ORDER BY trace.tenant_id
) AS known

-- name: insert_traces
-- Answers those that nobody had put there: they are the caller's to project. In order of the key, and waiting for
-- others that put the same there meanwhile, so that of two writers of one trace just one gets it.
INSERT INTO spantree.trace (tenant_id, trace_id, days)
SELECT tenant_id, trace_id, days::date[]
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[], %(days)s::text[]) AS sent (tenant_id, trace_id, days)
ORDER BY tenant_id, trace_id
ON CONFLICT ON CONSTRAINT trace_pkey DO NOTHING
RETURNING tenant_id, uuid_send(trace_id)

-- name: extend_traces
-- More days of traces that are known, a pair for each; answers the traces that are still there. In order of their keys, by
-- trace_pkey, like upsert_pending.
UPDATE spantree.trace
SET days = (
    SELECT array_agg(DISTINCT day ORDER BY day)
    FROM unnest(trace.days || sent.days) AS both_days (day)
)
FROM (
    SELECT tenant_id, trace_id, array_agg(day) AS days
    FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[], %(days)s::date[]) AS pair (tenant_id, trace_id, day)
    GROUP BY tenant_id, trace_id
    ORDER BY tenant_id, trace_id
) AS sent
WHERE trace.tenant_id = sent.tenant_id
    AND trace.trace_id = sent.trace_id
RETURNING trace.tenant_id, uuid_send(trace.trace_id)

-- name: projected_spans
-- From how many spans each of the traces is projected. Served by execution_pkey on the days given; trace by trace,
-- because PostgreSQL otherwise prefers to read a day's whole index.
SELECT wanted.tenant_id, uuid_send(wanted.trace_id), projected.span_count
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
CROSS JOIN LATERAL (
    SELECT execution.span_count
    FROM spantree.execution
    WHERE execution.tenant_id = wanted.tenant_id
        AND execution.day = ANY (%(days)s::date[])
        AND execution.trace_id = wanted.trace_id
        AND (%(shard_ids)s::text[] IS NULL OR execution.trace_id = ANY (%(shard_ids)s::text[]::uuid[]))
    ORDER BY execution.tenant_id
) AS projected

-- name: copy_executions
COPY spantree.execution (
    tenant_id, day, trace_id, name, workflow_name, entry, kind, status, started_ns, ended_ns, last_seen_ns,
    root_span_id, service, services, run_id, conversation_id, user_id, project, input, output, error_summary,
    error_category, error_fingerprint, first_failed_span_id, first_failed_ordinal, first_failed_name,
    first_failed_error_type, first_failed_error_message, total_count, completed_count, failed_count,
    retried_count, skipped_count, waiting_count, running_count, cancelled_count, timed_out_count, span_count,
    input_tokens, output_tokens, cost_usd, skipped_nodes, resumes, lost_after_s, hidden, anomalies, calls,
    search
) FROM STDIN (FORMAT binary)

-- name: copy_nodes
COPY spantree.node (
    tenant_id, day, trace_id, span_id, ordinal, fingerprint, parent_span_id, parent_ordinal, name, kind,
    status, status_reason, started_ns, ended_ns, self_ns, sequence, depth, attempt, max_attempts,
    retry_expected, task_key, iteration, error_type, error_message, error_category, error_fingerprint, model,
    input_tokens, output_tokens, cost_usd, input, output, service, workflow_name, run_id, on_critical_path,
    folded_span_ids, anomalies, declared
) FROM STDIN (FORMAT binary)

-- name: copy_edges
COPY spantree.edge (
    tenant_id, day, trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type, condition, provenance,
    from_trace_id
) FROM STDIN (FORMAT binary)

-- name: full_services
-- Which of some services have as many names as are offered; counted once for each. Served by operation_pkey.
SELECT wanted.tenant_id, wanted.service
FROM unnest(%(tenant_ids)s::integer[], %(services)s::text[]) AS wanted (tenant_id, service)
CROSS JOIN LATERAL (
    SELECT count(*) AS count
    FROM (
        SELECT
        FROM spantree.operation
        WHERE operation.tenant_id = wanted.tenant_id
            AND operation.service = wanted.service
        LIMIT %(most)s
    ) AS counted
) AS held
WHERE held.count >= %(most)s::bigint

-- name: upsert_operations
-- Names that search forms offer; of a service that is full (full_services) new ones are left out. In order of the key,
-- so that two writers of the same cannot deadlock; commits on its own, as resources do. Served by operation_pkey.
INSERT INTO spantree.operation AS known (tenant_id, service, name, kind, last_day)
SELECT sent.tenant_id, sent.service, sent.name, sent.kind, %(day)s::date
FROM unnest(
    %(tenant_ids)s::integer[], %(services)s::text[], %(names)s::text[], %(kinds)s::integer[], %(full)s::boolean[]
) AS sent (tenant_id, service, name, kind, is_full)
WHERE NOT sent.is_full
    OR EXISTS (
        SELECT
        FROM spantree.operation
        WHERE operation.tenant_id = sent.tenant_id
            AND operation.service = sent.service
            AND operation.name = sent.name
            AND operation.kind = sent.kind
    )
ORDER BY sent.tenant_id, sent.service, sent.name, sent.kind
ON CONFLICT ON CONSTRAINT operation_pkey
DO UPDATE SET last_day = EXCLUDED.last_day
WHERE known.last_day < EXCLUDED.last_day
