-- Dead letters that are equal are one row, counted; and log records that belong to spans.

ALTER TABLE spantree.dead_letter
    ADD COLUMN cause text NOT NULL DEFAULT 'unreadable',
    ADD COLUMN count bigint NOT NULL DEFAULT 1,
    ADD COLUMN last_received_ns bigint NOT NULL DEFAULT 0;

UPDATE spantree.dead_letter
SET last_received_ns = received_ns;

COMMENT ON TABLE spantree.dead_letter IS 'what was accepted and can never become a row, with its bytes and the reason; equal ones once; bounded in number and bytes, the oldest go first';
COMMENT ON CONSTRAINT dead_letter_pkey ON spantree.dead_letter IS 'recognises a dead letter that is there already; serves `spantree dead-letter show`';
COMMENT ON COLUMN spantree.dead_letter.received_ns IS 'when the collector first took it in, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.dead_letter.encoding IS 'what raw is: protobuf or json are requests of spans, logs-protobuf or logs-json requests of log records';
COMMENT ON COLUMN spantree.dead_letter.cause IS 'the kind of reason: unreadable (ids or bytes of one span), body (the whole request), refused (by PostgreSQL)';
COMMENT ON COLUMN spantree.dead_letter.count IS 'how often it came; one that is sent again after a crash may be counted twice';
COMMENT ON COLUMN spantree.dead_letter.last_received_ns IS 'when the collector last took it in, UTC nanoseconds since 1970';

CREATE INDEX dead_letter_last_received_idx ON spantree.dead_letter (tenant_id, last_received_ns);
COMMENT ON INDEX spantree.dead_letter_last_received_idx IS 'serves `spantree dead-letter list`, newest first, and which of them go when they are too many';

-- ---- log records --------------------------------------------------------------------------------------------------

CREATE TABLE spantree.log_record (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    time_ns bigint NOT NULL,
    observed_ns bigint NOT NULL,
    received_ns bigint NOT NULL,
    severity_number integer NOT NULL,
    severity_text text,
    event_name text,
    flags bigint NOT NULL,
    resource_id bigint NOT NULL,
    scope jsonb,
    body jsonb,
    attributes jsonb NOT NULL,
    dropped_attributes_count bigint,
    anomalies text[],
    raw bytea,
    tells boolean NOT NULL,
    CONSTRAINT log_record_pkey PRIMARY KEY (tenant_id, trace_id, span_id, fingerprint, day)
) PARTITION BY RANGE (day);

COMMENT ON TABLE spantree.log_record IS 'every log record that belongs to a span, as it was sent; append-only; read together with its span when a trace is projected';
COMMENT ON CONSTRAINT log_record_pkey ON spantree.log_record IS 'recognises a re-sent record by its content; serves the records of one trace and of one span';
COMMENT ON COLUMN spantree.log_record.tenant_id IS 'whose record it is; 0 where there is one tenant';
COMMENT ON COLUMN spantree.log_record.day IS 'UTC day of time_ns, else of observed_ns; 1970-01-01 where that is outside of the days that are kept';
COMMENT ON COLUMN spantree.log_record.trace_id IS 'the trace that it belongs to';
COMMENT ON COLUMN spantree.log_record.span_id IS 'the span that it belongs to, as in span.span_id';
COMMENT ON COLUMN spantree.log_record.fingerprint IS '64-bit hash of the content: a re-sent record has the same';
COMMENT ON COLUMN spantree.log_record.time_ns IS 'when it happened, UTC nanoseconds since 1970, by the sender''s clock; 0 when not told';
COMMENT ON COLUMN spantree.log_record.observed_ns IS 'when it was first seen by a machine, UTC nanoseconds since 1970; 0 when not told';
COMMENT ON COLUMN spantree.log_record.received_ns IS 'when the collector first took it in, UTC nanoseconds since 1970, by the collector''s clock';
COMMENT ON COLUMN spantree.log_record.severity_number IS 'SeverityNumber of OTLP as sent: 1 to 4 trace, 5 debug, 9 info, 13 warn, 17 error, 21 fatal; 0 when not told';
COMMENT ON COLUMN spantree.log_record.severity_text IS 'the severity in the sender''s words; null when empty';
COMMENT ON COLUMN spantree.log_record.event_name IS 'the name of the event that it records; null when it records none';
COMMENT ON COLUMN spantree.log_record.flags IS 'trace flags as sent';
COMMENT ON COLUMN spantree.log_record.resource_id IS 'resource.id of what sent it';
COMMENT ON COLUMN spantree.log_record.scope IS 'instrumentation scope: name, version, attributes, schema_url; null when none was named';
COMMENT ON COLUMN spantree.log_record.body IS 'the body, as attributes'' values are stored; null when there is none';
COMMENT ON COLUMN spantree.log_record.attributes IS 'attributes; bytes are {"$b": base64}, doubles that jsonb would change {"$f": text}';
COMMENT ON COLUMN spantree.log_record.dropped_attributes_count IS 'attributes that the sender dropped; null when none';
COMMENT ON COLUMN spantree.log_record.anomalies IS 'what is wrong with the record or was lost in storing it; null when nothing';
COMMENT ON COLUMN spantree.log_record.raw IS 'the record as it came, a request of its own, only where the columns lose something; null otherwise';
COMMENT ON COLUMN spantree.log_record.tells IS 'whether it may say something about its node: it records an event or an exception; ordinary log lines do not';

CREATE INDEX log_record_telling_idx ON spantree.log_record (tenant_id, trace_id, span_id, fingerprint)
    WHERE tells;
COMMENT ON INDEX spantree.log_record_telling_idx IS 'serves projections: the records of a trace that may say something, however many lines it logs besides';

-- lz4 halves the cost of TOAST; a build without it says feature_not_supported and keeps pglz.
DO $$
DECLARE
    wide text;
BEGIN
    FOREACH wide IN ARRAY ARRAY['body', 'attributes', 'raw'] LOOP
        EXECUTE format('ALTER TABLE spantree.log_record ALTER COLUMN %I SET COMPRESSION lz4', wide);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this PostgreSQL is built without lz4: large values are compressed by pglz';
END
$$;
