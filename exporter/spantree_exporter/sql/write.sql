-- name: copy_spans
COPY spantree.span FROM STDIN (FORMAT binary)

-- name: create_span_staging
CREATE TEMPORARY TABLE span_staging (LIKE spantree.span) ON COMMIT DELETE ROWS

-- name: copy_span_staging
COPY pg_temp.span_staging FROM STDIN (FORMAT binary)

-- name: insert_staged_spans
-- The spans that are not there yet. In order of the key, so that two writers of the same spans cannot deadlock.
INSERT INTO spantree.span
SELECT *
FROM pg_temp.span_staging
ORDER BY trace_id, span_id, fingerprint
ON CONFLICT DO NOTHING

-- name: insert_resources
-- In order of the key, for the same reason. Commits on its own: a resource without spans does no harm, but other
-- writers that have it as well would wait for the whole batch.
INSERT INTO spantree.resource
    (tenant_id, id, attributes, service_name, schema_url, dropped_attributes_count, first_seen_ns)
SELECT %(tenant_id)s, id, attributes::jsonb, service_name, schema_url, dropped, first_seen_ns
FROM unnest(
    %(ids)s::bigint[], %(attributes)s::text[], %(service_names)s::text[], %(schema_urls)s::text[],
    %(dropped)s::bigint[], %(first_seen_ns)s::bigint[]
) AS sent (id, attributes, service_name, schema_url, dropped, first_seen_ns)
ORDER BY id
ON CONFLICT ON CONSTRAINT resource_pkey DO NOTHING

-- name: insert_dead_letters
INSERT INTO spantree.dead_letter (tenant_id, digest, received_ns, reason, encoding, raw)
SELECT %(tenant_id)s, digest, received_ns, reason, encoding, raw
FROM unnest(
    %(digests)s::bytea[], %(received_ns)s::bigint[], %(reasons)s::text[], %(encodings)s::text[], %(raws)s::bytea[]
) AS sent (digest, received_ns, reason, encoding, raw)
ORDER BY digest
ON CONFLICT ON CONSTRAINT dead_letter_pkey DO NOTHING

-- name: upsert_pending
-- One row a trace, in order of the key; it makes writers of the same trace wait for each other. A trace is due when it
-- has been quiet for a second (a large one whose root has not ended: longer), at the latest a second, or a
-- thousandth of its size in seconds, after the first batch: the cost of a trace stays linear in its size.
INSERT INTO spantree.pending_projection AS pending
    (tenant_id, trace_id, first_pending_at, due_at, batches, spans, projected_spans, root_ended)
SELECT
    %(tenant_id)s, trace_id, clock_timestamp(),
    clock_timestamp() + make_interval(
        secs => CASE WHEN root_ended THEN 1 ELSE greatest(1, (projected_spans + spans) / 10000.0) END
    ),
    1, spans, projected_spans, root_ended
FROM unnest(
    %(trace_ids)s::text[]::uuid[], %(spans)s::bigint[], %(projected_spans)s::bigint[], %(root_ended)s::boolean[]
) AS sent (trace_id, spans, projected_spans, root_ended)
ORDER BY trace_id
ON CONFLICT ON CONSTRAINT pending_projection_pkey
DO UPDATE SET
    batches = pending.batches + 1,
    spans = pending.spans + EXCLUDED.spans,
    projected_spans = greatest(pending.projected_spans, EXCLUDED.projected_spans),
    root_ended = pending.root_ended OR EXCLUDED.root_ended,
    due_at = greatest(
        CASE WHEN pending.failures > 0 THEN pending.due_at ELSE '-infinity' END,
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
RETURNING uuid_send(trace_id), batches

-- name: known_traces
-- Which of the traces are projected already, and from how many spans, or wait for it.
SELECT uuid_send(trace_id), span_count, false
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])
UNION ALL
SELECT uuid_send(trace_id), 0, true
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: doubled_executions
-- Those of the traces that have two executions, on different days: somebody else has projected them meanwhile.
SELECT uuid_send(trace_id)
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])
GROUP BY trace_id
HAVING count(*) > 1
LIMIT 1

-- name: delete_pending
DELETE FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])

-- name: copy_executions
COPY spantree.execution FROM STDIN (FORMAT binary)

-- name: copy_nodes
COPY spantree.node FROM STDIN (FORMAT binary)

-- name: copy_edges
COPY spantree.edge FROM STDIN (FORMAT binary)
