-- name: tenants
-- Those that were dropped, too: their rows stay until retention takes them.
SELECT tenant_id FROM spantree.tenant ORDER BY tenant_id

-- name: days
-- The days that have a partition, or will have one again once retention has put back what stays, oldest first. CASE,
-- because the planner may look at the names of all relations before it knows which are partitions (PostgreSQL 15 does).
SELECT day
FROM (
    SELECT day
    FROM spantree.retention_day
    WHERE state = 'retiring'
    UNION
    SELECT CASE
        WHEN partition.relname ~ '^span_[0-9]{8}$' THEN to_date(right(partition.relname, 8), 'YYYYMMDD')
    END AS day
    FROM pg_inherits
    JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = 'spantree.span'::regclass
) AS partitions
WHERE day BETWEEN %(first_day)s AND %(last_day)s
ORDER BY day

-- name: position
SELECT day, uuid_send(trace_id), span_id, fingerprint
FROM spantree.rebuild_position
WHERE tenant_id = %(tenant_id)s
    AND first_day = %(first_day)s
    AND last_day = %(last_day)s
    AND rules = %(rules)s

-- name: unprojected
-- Which of some traces still wait for a projection, those that failed aside. Served by pending_projection_pkey.
SELECT trace_id
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])
    AND failures = 0

-- name: now
SELECT clock_timestamp()

-- name: pending_since
-- Whether traces wait that did so at some time already, those that failed aside.
SELECT EXISTS (
    SELECT
    FROM spantree.pending_projection
    WHERE tenant_id = %(tenant_id)s
        AND first_pending_at <= %(then)s
        AND failures = 0
)

-- name: upsert_position
INSERT INTO spantree.rebuild_position (tenant_id, first_day, last_day, day, trace_id, span_id, fingerprint, rules)
VALUES (
    %(tenant_id)s, %(first_day)s, %(last_day)s, %(day)s, %(trace_id)s::text::uuid, %(span_id)s, %(fingerprint)s,
    %(rules)s
)
ON CONFLICT ON CONSTRAINT rebuild_position_pkey
DO UPDATE SET
    day = EXCLUDED.day,
    trace_id = EXCLUDED.trace_id,
    span_id = EXCLUDED.span_id,
    fingerprint = EXCLUDED.fingerprint,
    rules = EXCLUDED.rules,
    updated_at = now()

-- name: delete_positions
-- Of all tenants: there is a row or none for each.
DELETE FROM spantree.rebuild_position
WHERE first_day = %(first_day)s
    AND last_day = %(last_day)s

-- name: spans_after
-- The next spans of a day in the order of the key.
SELECT
    uuid_send(span.trace_id) AS trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.flags, span.received_ns, span.trace_state,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.facts, span.anomalies, span.raw, span.resource_id,
    resource.attributes AS resource_attributes, resource.service_name, resource.schema_url,
    resource.dropped_attributes_count AS resource_dropped
FROM spantree.span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.day = %(day)s
    AND (span.trace_id, span.span_id, span.fingerprint)
        > (%(trace_id)s::text::uuid, %(span_id)s::bigint, %(fingerprint)s::bigint)
ORDER BY span.trace_id, span.span_id, span.fingerprint
LIMIT %(spans)s

-- name: update_facts
UPDATE spantree.span
SET facts = read.facts::jsonb
FROM unnest(%(trace_ids)s::text[]::uuid[], %(span_ids)s::bigint[], %(fingerprints)s::bigint[], %(facts)s::text[])
    AS read (trace_id, span_id, fingerprint, facts)
WHERE span.tenant_id = %(tenant_id)s
    AND span.day = %(day)s
    AND span.trace_id = read.trace_id
    AND span.span_id = read.span_id
    AND span.fingerprint = read.fingerprint

-- name: mark_pending
-- Due in some seconds, 0 for most. One batch more, so that a projection that is under way does not take the mark away.
INSERT INTO spantree.pending_projection AS pending
    (tenant_id, trace_id, first_pending_at, due_at, batches, spans, projected_spans, root_ended)
SELECT
    %(tenant_id)s, trace_id, clock_timestamp(), clock_timestamp() + make_interval(secs => due_in_s), 1, spans,
    projected_spans, true
FROM unnest(
    %(trace_ids)s::text[]::uuid[], %(spans)s::bigint[], %(projected_spans)s::bigint[], %(due_in_s)s::float8[]
) AS marked (trace_id, spans, projected_spans, due_in_s)
ORDER BY trace_id
ON CONFLICT ON CONSTRAINT pending_projection_pkey
DO UPDATE SET
    batches = pending.batches + 1,
    projected_spans = greatest(pending.projected_spans, EXCLUDED.projected_spans),
    due_at = EXCLUDED.due_at

-- name: make_due
-- Large traces of which all spans have been gone through.
UPDATE spantree.pending_projection
SET due_at = clock_timestamp()
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::text[]::uuid[])
