-- What an analysis said of why an execution failed: made on request, one an execution, the last one.

CREATE TABLE spantree.analysis (
    tenant_id integer NOT NULL,
    trace_id uuid NOT NULL,
    day date NOT NULL,
    created_at timestamptz NOT NULL,
    model text,
    input_tokens bigint,
    output_tokens bigint,
    answer jsonb NOT NULL,
    CONSTRAINT analysis_pkey PRIMARY KEY (tenant_id, trace_id)
);

COMMENT ON TABLE spantree.analysis IS 'why executions failed, as it was analysed on request; the last analysis of each';
COMMENT ON CONSTRAINT analysis_pkey ON spantree.analysis IS 'serves the analysis of some executions';
COMMENT ON COLUMN spantree.analysis.tenant_id IS 'whose execution it is';
COMMENT ON COLUMN spantree.analysis.trace_id IS 'the execution';
COMMENT ON COLUMN spantree.analysis.day IS 'day of the execution: what retention takes it away by';
COMMENT ON COLUMN spantree.analysis.created_at IS 'when it was made';
COMMENT ON COLUMN spantree.analysis.model IS 'language model that wrote it; null where the rules did';
COMMENT ON COLUMN spantree.analysis.input_tokens IS 'tokens given to that model';
COMMENT ON COLUMN spantree.analysis.output_tokens IS 'tokens taken from that model';
COMMENT ON COLUMN spantree.analysis.answer IS 'the answer of POST /executions/{id}/analyze';

CREATE INDEX analysis_day_idx ON spantree.analysis (day);
COMMENT ON INDEX spantree.analysis_day_idx IS 'serves retention: what belongs to days that are dropped';
