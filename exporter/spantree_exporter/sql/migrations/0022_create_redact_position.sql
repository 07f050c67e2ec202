-- How far `spantree redact` has come, so that it goes on where it was stopped.

CREATE TABLE spantree.redact_position (
    tenant_id integer NOT NULL,
    asked text NOT NULL,
    rules text NOT NULL,
    part text NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT redact_position_pkey PRIMARY KEY (tenant_id, asked),
    CONSTRAINT redact_position_part_check CHECK (part IN ('span', 'log'))
);

COMMENT ON TABLE spantree.redact_position IS 'how far `spantree redact` has come with what was stored; a row while one is under way or was interrupted';
COMMENT ON CONSTRAINT redact_position_pkey ON spantree.redact_position IS 'serves the look for where to go on';
COMMENT ON COLUMN spantree.redact_position.tenant_id IS 'whose rows are redacted';
COMMENT ON COLUMN spantree.redact_position.asked IS 'which of them: days, execution, workflow, as JSON';
COMMENT ON COLUMN spantree.redact_position.rules IS 'hash of the rules: by others it begins anew';
COMMENT ON COLUMN spantree.redact_position.part IS 'what it is at: span or log; spans come first, of all days';
COMMENT ON COLUMN spantree.redact_position.day IS 'the partition it is at';
COMMENT ON COLUMN spantree.redact_position.trace_id IS 'trace of the last row that is done';
COMMENT ON COLUMN spantree.redact_position.span_id IS 'span of the last row that is done';
COMMENT ON COLUMN spantree.redact_position.fingerprint IS 'fingerprint of the last row that is done';
COMMENT ON COLUMN spantree.redact_position.updated_at IS 'when that was';
