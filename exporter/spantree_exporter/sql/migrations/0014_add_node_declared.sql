-- Steps that an execution declares before they run are nodes from its start.

ALTER TABLE spantree.node ADD COLUMN declared text;
COMMENT ON COLUMN spantree.node.declared IS
    'JSON text of what its execution declared of the step before it ran: name, key, kind, depends_on, description, thought, action; null where it declared nothing';
