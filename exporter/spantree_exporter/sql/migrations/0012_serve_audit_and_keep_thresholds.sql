-- no-transaction
-- What was asked of services, by whom, is found by an index of its own: only of the spans of servers, some of each trace.
-- Thresholds have one home, which the views read and the API writes.

CREATE INDEX IF NOT EXISTS span_server_idx ON spantree.span (tenant_id, start_ns, trace_id, span_id)
    WHERE kind = 2;

COMMENT ON INDEX spantree.span_server_idx IS 'serves the view audit, newest first';

CREATE TABLE IF NOT EXISTS spantree.threshold (
    tenant_id integer NOT NULL,
    name text NOT NULL,
    seconds double precision NOT NULL,
    CONSTRAINT threshold_pkey PRIMARY KEY (tenant_id, name),
    CONSTRAINT threshold_name_check CHECK (name IN ('lost', 'pending', 'running', 'waiting')),
    CONSTRAINT threshold_seconds_check CHECK (seconds > 0)
);

COMMENT ON TABLE spantree.threshold IS 'after how long an execution is lost or stuck, as the settings of the API that started last say; spantree.threshold_s has what holds without';

COMMENT ON CONSTRAINT threshold_pkey ON spantree.threshold IS 'serves spantree.threshold_s';

COMMENT ON COLUMN spantree.threshold.tenant_id IS 'whose executions';

COMMENT ON COLUMN spantree.threshold.name IS 'lost: silent while it runs; pending, running, waiting: open for long';

COMMENT ON COLUMN spantree.threshold.seconds IS 'how long'
