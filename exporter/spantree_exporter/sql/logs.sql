-- name: create_log_staging
CREATE TEMPORARY TABLE log_record_staging (LIKE spantree.log_record INCLUDING DEFAULTS) ON COMMIT DELETE ROWS

-- name: copy_log_staging
COPY pg_temp.log_record_staging (
    tenant_id, day, trace_id, span_id, fingerprint, time_ns, observed_ns, received_ns, severity_number, severity_text,
    event_name, flags, resource_id, scope, body, attributes, dropped_attributes_count, anomalies, raw, tells
) FROM STDIN

-- name: insert_staged_logs
-- The records that are not there yet. In order of the key, so that two writers of the same cannot deadlock. A row each
-- of them, as in write.sql.
INSERT INTO spantree.log_record
SELECT *
FROM pg_temp.log_record_staging
ORDER BY tenant_id, trace_id, span_id, fingerprint
ON CONFLICT DO NOTHING
RETURNING true

-- name: telling_bytes
-- How large as text, and at most how large they are read, the records of some traces are that may say something about
-- their spans; a trace without any has no row. Served by log_record_telling_idx on the days given, trace by trace. Rows
-- are numbered, for Citus has no LIMIT of each trace, and windows only of what shards are by.
SELECT wanted.tenant_id, uuid_send(wanted.trace_id) AS trace_id, least(sum(log.bytes), %(bytes)s)::bigint AS bytes
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
CROSS JOIN LATERAL (
    SELECT
        coalesce(octet_length(of_trace.body::text), 0) + octet_length(of_trace.attributes::text) AS bytes,
        row_number() OVER (PARTITION BY of_trace.trace_id) AS position
    FROM spantree.log_record AS of_trace
    WHERE of_trace.tenant_id = wanted.tenant_id
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
        AND of_trace.tells
) AS log
WHERE log.position <= %(records)s
GROUP BY wanted.tenant_id, wanted.trace_id

-- name: telling_logs
-- The records of some traces that may say something about their spans, the first ones of each trace; what a service logs
-- besides is not looked at. Served by log_record_telling_idx on the days given, trace by trace.
SELECT
    wanted.tenant_id, uuid_send(wanted.trace_id) AS trace_id, log.span_id, log.fingerprint, log.time_ns, log.observed_ns,
    log.severity_number, log.event_name, log.body, log.attributes, log.dropped_attributes_count, log.bytes::bigint AS bytes
FROM unnest(%(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[]) AS wanted (tenant_id, trace_id)
CROSS JOIN LATERAL (
    SELECT
        first_ones.*,
        sum(coalesce(octet_length(first_ones.body::text), 0) + octet_length(first_ones.attributes::text))
            OVER (PARTITION BY first_ones.trace_id ORDER BY first_ones.position ROWS UNBOUNDED PRECEDING) AS bytes
    FROM (
        SELECT
            *,
            row_number() OVER (
                PARTITION BY of_trace.trace_id ORDER BY of_trace.span_id, of_trace.fingerprint
            ) AS position
        FROM spantree.log_record AS of_trace
        WHERE of_trace.tenant_id = wanted.tenant_id
            AND of_trace.day = ANY (%(days)s::date[])
            AND of_trace.trace_id = wanted.trace_id
            AND of_trace.tells
    ) AS first_ones
    WHERE first_ones.position <= %(records)s
) AS log
WHERE log.bytes <= %(bytes)s

-- name: spans_with_logs
-- Whole spans by id, to be read again with their log records. Served by span_pkey on the days given. An id that more
-- spans share than retries make is nobody's: each of them with all of its records would be the product of the two.
SELECT
    span.tenant_id, uuid_send(span.trace_id) AS trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.flags, span.received_ns, span.trace_state,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.facts, span.anomalies, span.raw, span.resource_id,
    resource.attributes AS resource_attributes, resource.service_name, resource.schema_url,
    resource.dropped_attributes_count AS resource_dropped
FROM unnest(
    %(tenant_ids)s::integer[], %(trace_ids)s::text[]::uuid[], %(span_ids)s::bigint[]
) AS wanted (tenant_id, trace_id, span_id)
CROSS JOIN LATERAL (
    SELECT *, row_number() OVER (PARTITION BY of_trace.trace_id ORDER BY of_trace.fingerprint) AS position
    FROM spantree.span AS of_trace
    WHERE of_trace.tenant_id = wanted.tenant_id
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
        AND of_trace.span_id = wanted.span_id
) AS span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.position <= %(versions)s
