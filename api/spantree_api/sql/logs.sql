-- Log records of one trace.

-- name: days_with_logs
-- the days that may hold records of the trace; read first, so that no other partition is looked at
SELECT unnest(days) AS day
FROM spantree.trace
WHERE tenant_id = %(tenant_id)s AND trace_id = %(trace_id)s::uuid

-- name: logs_of_spans
-- what was logged within some spans, oldest first; served by log_record_pkey on the days of the trace
SELECT
    log.trace_id, log.span_id, log.fingerprint, log.time_ns, log.observed_ns, log.severity_number, log.severity_text,
    log.event_name, log.flags, log.resource_id, log.scope, log.body, log.attributes, log.dropped_attributes_count
FROM spantree.log_record AS log
WHERE log.tenant_id = %(tenant_id)s
    AND log.trace_id = %(trace_id)s::uuid
    AND log.day = ANY (%(days)s::date[])
    AND log.span_id = ANY (%(span_ids)s::bigint[])
ORDER BY coalesce(nullif(log.time_ns, 0), log.observed_ns), log.fingerprint
LIMIT 1000

-- name: logs_of_trace
-- every record, those of one resource and scope together; served by log_record_pkey on the days of the trace
SELECT
    log.trace_id, log.span_id, log.fingerprint, log.time_ns, log.observed_ns, log.severity_number, log.severity_text,
    log.event_name, log.flags, log.resource_id, log.scope, log.body, log.attributes, log.dropped_attributes_count,
    log.raw, resource.attributes AS resource_attributes, resource.schema_url AS resource_schema_url,
    resource.dropped_attributes_count AS resource_dropped_attributes_count
FROM spantree.log_record AS log
JOIN spantree.resource ON resource.tenant_id = log.tenant_id AND resource.id = log.resource_id
WHERE log.tenant_id = %(tenant_id)s
    AND log.trace_id = %(trace_id)s::uuid
    AND log.day = ANY (%(days)s::date[])
ORDER BY log.resource_id, log.scope, log.time_ns, log.span_id, log.fingerprint
