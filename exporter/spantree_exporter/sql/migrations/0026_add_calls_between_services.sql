-- Which services called each other: kept with each execution, and summed up by hour like every other figure, so that
-- dependencies are read from a few rows. Executions that are there have none: `spantree rebuild` counts theirs.

ALTER TABLE spantree.execution ADD COLUMN calls text[];
COMMENT ON COLUMN spantree.execution.calls IS
    'calls between services, three texts each: caller, called, how many spans of the one have a parent in the other; in order of the names; the 500 pairs with most calls; empty where one service took part; null for rows from before it was kept';

ALTER TABLE spantree.rollup
    DROP CONSTRAINT rollup_subject_check,
    ADD CONSTRAINT rollup_subject_check CHECK (
        subject IN ('node', 'model', 'edge', 'workflow', 'service', 'project', 'user', 'error', 'call')
    );

COMMENT ON COLUMN spantree.rollup.subject IS 'what is counted: nodes (node, model), executions (workflow, service, project, user, error), executions that took an edge (edge), or calls between services (call)';
COMMENT ON COLUMN spantree.rollup.name IS 'name of the node, workflow, service, project, user or model; fingerprint of the error; name of the node that an edge comes from; the service that calls';
COMMENT ON COLUMN spantree.rollup.kind IS 'kind of the node or execution; category of the error; kind of the node that an edge leads to; the service that is called';
COMMENT ON COLUMN spantree.rollup.total IS 'nodes, executions or calls in all';
