-- What retention has done with each day, so that it goes on where it was stopped, and so that spans that come late do not
-- make a partition anew for a day that was dropped. A day is of all tenants, as its partitions are: no tenant_id.

CREATE TABLE spantree.retention_day (
    day date NOT NULL,
    state text NOT NULL,
    age_days integer,
    held_until date,
    archived_as text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT retention_day_pkey PRIMARY KEY (day),
    CONSTRAINT retention_day_state_check CHECK (
        state IN ('retiring', 'restocked', 'archived', 'thinned', 'dropped', 'held', 'restored')
    )
);

COMMENT ON TABLE spantree.retention_day IS 'days that retention has thinned or dropped, is about to, or is to leave alone';
COMMENT ON CONSTRAINT retention_day_pkey ON spantree.retention_day IS 'serves the choice of a span''s partition, and retention itself';
COMMENT ON COLUMN spantree.retention_day.day IS 'UTC day whose partitions they are';
COMMENT ON COLUMN spantree.retention_day.state IS 'retiring: its partitions are taken off; restocked: what is kept is there again, the rest is still to be archived; archived: it is, and still to be dropped; thinned: only what is kept longer is there; dropped; held: imported, left alone until held_until; restored: the same after it had been thinned or dropped, so that its figures are counted already';
COMMENT ON COLUMN spantree.retention_day.age_days IS 'what is kept no longer than so many days is gone, or going; null where nothing is';
COMMENT ON COLUMN spantree.retention_day.held_until IS 'last day on which an imported day is left alone; null where it is not imported';
COMMENT ON COLUMN spantree.retention_day.archived_as IS 'file of the last archive of the day; null where none was written';
COMMENT ON COLUMN spantree.retention_day.changed_at IS 'when it got into this state';

ALTER TABLE spantree.resource ADD COLUMN last_seen_day date NOT NULL DEFAULT CURRENT_DATE;

COMMENT ON COLUMN spantree.resource.last_seen_day IS 'UTC day on which a collector last wrote for it, by the collector''s clock; retention deletes what no day that is kept can refer to';
