-- What was logged within spans, a line each. Columns are only ever appended.

CREATE OR REPLACE VIEW spantree.logs WITH (security_invoker = true) AS
SELECT
    l.tenant_id,
    l.day,
    l.trace_id AS execution_id,
    lpad(to_hex(l.span_id), 16, '0') AS span_id,
    to_timestamp((said.at_ns / 1000) / 1e6::double precision) AS at,
    CASE
        WHEN l.severity_number BETWEEN 1 AND 4 THEN 'trace'
        WHEN l.severity_number BETWEEN 5 AND 8 THEN 'debug'
        WHEN l.severity_number BETWEEN 9 AND 12 THEN 'info'
        WHEN l.severity_number BETWEEN 13 AND 16 THEN 'warn'
        WHEN l.severity_number BETWEEN 17 AND 20 THEN 'error'
        WHEN l.severity_number BETWEEN 21 AND 24 THEN 'fatal'
        ELSE lower(l.severity_text)
    END AS severity,
    l.event_name,
    CASE WHEN jsonb_typeof(l.body) = 'string' THEN l.body #>> '{}' ELSE l.body::text END AS message,
    l.attributes ->> 'exception.type' AS error_type,
    coalesce(l.scope ->> 'name', '') AS logger,
    coalesce(r.service_name, '') AS service,
    l.attributes,
    l.body,
    l.severity_number,
    said.at_ns,
    l.span_id AS span_number
FROM spantree.log_record AS l
LEFT JOIN spantree.resource AS r
    ON r.tenant_id = l.tenant_id
    AND r.id = l.resource_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN l.time_ns <> 0 THEN l.time_ns WHEN l.observed_ns <> 0 THEN l.observed_ns ELSE l.received_ns END AS at_ns
) AS said;

COMMENT ON VIEW spantree.logs IS 'what was logged within spans: every log record that came with the id of a span';
COMMENT ON COLUMN spantree.logs.tenant_id IS 'whose record it is';
COMMENT ON COLUMN spantree.logs.day IS 'UTC day of the record; filter by it';
COMMENT ON COLUMN spantree.logs.execution_id IS 'the execution that it is a part of; compares with 32 hex digits; filter by it to use the index';
COMMENT ON COLUMN spantree.logs.span_id IS 'the span that it was logged in, 16 hex digits';
COMMENT ON COLUMN spantree.logs.at IS 'when it happened, else when it was first seen';
COMMENT ON COLUMN spantree.logs.severity IS 'trace, debug, info, warn, error or fatal; else in the sender''s words';
COMMENT ON COLUMN spantree.logs.event_name IS 'the name of the event that it records; null when it records none';
COMMENT ON COLUMN spantree.logs.message IS 'the body: a text as it is, anything else as JSON; null when there is none';
COMMENT ON COLUMN spantree.logs.error_type IS 'exception.type of a record of an exception; null otherwise';
COMMENT ON COLUMN spantree.logs.logger IS 'name of the instrumentation scope, most often of the logger; empty where none was named';
COMMENT ON COLUMN spantree.logs.service IS 'the service that logged it';
COMMENT ON COLUMN spantree.logs.attributes IS 'attributes as stored';
COMMENT ON COLUMN spantree.logs.body IS 'the body as stored';
COMMENT ON COLUMN spantree.logs.severity_number IS 'SeverityNumber of OTLP as sent; 0 when not told';
COMMENT ON COLUMN spantree.logs.at_ns IS 'when it happened, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.logs.span_number IS 'the span id as a number';
