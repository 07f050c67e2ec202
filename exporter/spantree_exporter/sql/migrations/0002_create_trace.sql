-- Which days a trace has rows on, so that every statement about a trace names its partitions, and where writers of one
-- trace meet: whoever puts the row there first may project the trace at once.

CREATE TABLE spantree.trace (
    tenant_id integer NOT NULL,
    trace_id uuid NOT NULL,
    days date[] NOT NULL,
    CONSTRAINT trace_pkey PRIMARY KEY (tenant_id, trace_id)
);

COMMENT ON TABLE spantree.trace IS 'the days, and so the partitions, that each trace has rows on; one row a trace';
COMMENT ON CONSTRAINT trace_pkey ON spantree.trace IS 'serves every read and write of one trace: its days first, then only their partitions';
COMMENT ON COLUMN spantree.trace.tenant_id IS 'whose trace it is';
COMMENT ON COLUMN spantree.trace.trace_id IS 'the trace';
COMMENT ON COLUMN spantree.trace.days IS 'every day that spans, execution, nodes or edges of it are on, ascending';

-- Nodes and edges are on days of spans or of the execution.
INSERT INTO spantree.trace (tenant_id, trace_id, days)
SELECT tenant_id, trace_id, array_agg(day ORDER BY day)
FROM (
    SELECT tenant_id, trace_id, day FROM spantree.span
    UNION
    SELECT tenant_id, trace_id, day FROM spantree.execution
) AS found
GROUP BY tenant_id, trace_id;
