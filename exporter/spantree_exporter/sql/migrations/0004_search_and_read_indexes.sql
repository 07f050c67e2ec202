-- no-transaction
-- What lists, search, trees and the views by time meet an index with. Each statement is a transaction of its own: all
-- together would hold a lock on every index of every partition, more than PostgreSQL's lock table takes at a year of days.
-- Building takes some seconds per million executions and per ten million nodes. Rows that are there get no `search`:
-- `spantree rebuild` fills it in.

ALTER TABLE spantree.execution ADD COLUMN IF NOT EXISTS search tsvector;

COMMENT ON COLUMN spantree.execution.search IS 'what q finds it by: words of its names, errors and identifying values, and key:value of attributes; made by spantree_exporter.search_text; null for rows from before there was one';

CREATE INDEX IF NOT EXISTS execution_visible_idx ON spantree.execution (tenant_id, started_ns, trace_id)
    WHERE NOT hidden;

COMMENT ON INDEX spantree.execution_visible_idx IS 'serves lists without filters, which leave hidden executions out';

CREATE INDEX IF NOT EXISTS execution_status_idx ON spantree.execution (tenant_id, status, started_ns, trace_id);

COMMENT ON INDEX spantree.execution_status_idx IS 'serves lists of one status, what runs now, lost and stuck ones';

DROP INDEX IF EXISTS spantree.execution_open_idx;

CREATE INDEX IF NOT EXISTS execution_kind_idx ON spantree.execution (tenant_id, kind, started_ns, trace_id);

COMMENT ON INDEX spantree.execution_kind_idx IS 'serves lists of one kind';

CREATE INDEX IF NOT EXISTS execution_category_idx ON spantree.execution (tenant_id, error_category, started_ns, trace_id)
    WHERE error_category IS NOT NULL;

COMMENT ON INDEX spantree.execution_category_idx IS 'serves lists of one error category';

CREATE INDEX IF NOT EXISTS execution_project_idx ON spantree.execution (tenant_id, project, started_ns, trace_id)
    WHERE project IS NOT NULL;

COMMENT ON INDEX spantree.execution_project_idx IS 'serves lists of one project';

CREATE INDEX IF NOT EXISTS execution_duration_idx ON spantree.execution (tenant_id, (ended_ns - started_ns));

COMMENT ON INDEX spantree.execution_duration_idx IS 'serves lists of executions that took at least, or at most, so long; null while one runs';

CREATE INDEX IF NOT EXISTS execution_search_idx ON spantree.execution USING gin (services, search);

COMMENT ON INDEX spantree.execution_search_idx IS 'serves lists of a service that took part, and q';

CREATE INDEX IF NOT EXISTS execution_time_idx ON spantree.execution ((to_timestamp((started_ns / 1000) / 1e6::double precision)));

COMMENT ON INDEX spantree.execution_time_idx IS 'serves the view executions by started_at';

CREATE INDEX IF NOT EXISTS node_sequence_idx ON spantree.node (tenant_id, trace_id, sequence, depth);

COMMENT ON INDEX spantree.node_sequence_idx IS 'serves pages, upper levels and subtrees of a tree';

CREATE INDEX IF NOT EXISTS node_outline_idx ON spantree.node (tenant_id, trace_id, sequence)
    WHERE parent_span_id IS NULL OR status IN ('failed', 'timed_out', 'skipped');

COMMENT ON INDEX spantree.node_outline_idx IS 'serves the head of a tree: its roots, and what failed or was skipped';

ALTER TABLE spantree.edge
    DROP CONSTRAINT IF EXISTS edge_pkey,
    ADD CONSTRAINT edge_pkey
        PRIMARY KEY (tenant_id, trace_id, to_span_id, to_ordinal, from_span_id, from_ordinal, type, day);

COMMENT ON CONSTRAINT edge_pkey ON spantree.edge IS 'serves the edges of one execution, and those that lead to the nodes of a page';
