-- Views of figures by day (node_stats, users and others) read all figures there ever were, whichever days were asked for: their
-- day is computed from the start. Many figures have the same one, so that an entry is of some 7 bytes; no update touches it.

CREATE INDEX rollup_day_idx ON spantree.rollup (tenant_id, subject, ((started_at AT TIME ZONE 'UTC')::date))
    WHERE grain_h IN (1, 24);
COMMENT ON INDEX spantree.rollup_day_idx IS 'serves views of figures by day';
