-- What projections changed, one row a transaction, for whoever follows: streams and alerts. Numbers are given after the
-- commit (api/spantree_api/sql/changes.sql), in the order in which they can be read: a sequence that writers took
-- from would show its numbers in another order than the commits, and a reader would miss those that come late.

CREATE TABLE spantree.change (
    tenant_id integer NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    events integer NOT NULL,
    position bigint,
    changed bytea NOT NULL,
    CONSTRAINT change_pkey PRIMARY KEY (tenant_id, changed_at, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Trace ids do not compress.
ALTER TABLE spantree.change ALTER COLUMN changed SET STORAGE EXTERNAL;

COMMENT ON TABLE spantree.change IS 'which executions and nodes each transaction of a projection changed; kept for a day';
COMMENT ON CONSTRAINT change_pkey ON spantree.change IS 'serves dropping what is older than a day';
COMMENT ON COLUMN spantree.change.tenant_id IS 'whose executions they are';
COMMENT ON COLUMN spantree.change.changed_at IS 'when it was written, by PostgreSQL''s clock; a little before its commit';
COMMENT ON COLUMN spantree.change.id IS 'tells two changes of one moment apart';
COMMENT ON COLUMN spantree.change.events IS 'events that it makes: one for each execution and each changed node, and so the numbers that it takes';
COMMENT ON COLUMN spantree.change.position IS 'number of its last event; null until it is numbered';
COMMENT ON COLUMN spantree.change.changed IS 'trace ids and nodes as spantree_exporter.changes.Changes writes them';

CREATE UNIQUE INDEX change_position_idx ON spantree.change (tenant_id, position) WHERE position IS NOT NULL;
COMMENT ON INDEX spantree.change_position_idx IS 'serves reading on from a position';
CREATE INDEX change_unnumbered_idx ON spantree.change (tenant_id, changed_at, id) WHERE position IS NULL;
COMMENT ON INDEX spantree.change_unnumbered_idx IS 'serves numbering';

CREATE TABLE spantree.change_counter (
    tenant_id integer NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT change_counter_pkey PRIMARY KEY (tenant_id)
) WITH (fillfactor = 50);

COMMENT ON TABLE spantree.change_counter IS 'the last number that was given to an event; never goes back';
COMMENT ON CONSTRAINT change_counter_pkey ON spantree.change_counter IS 'serves numbering, and the position that a new listener starts from';
COMMENT ON COLUMN spantree.change_counter.tenant_id IS 'whose events are counted';
COMMENT ON COLUMN spantree.change_counter.position IS 'number of the newest numbered event';
