-- Projections that were begun and did not come to an end: a trace that takes its projector along is tried later and
-- later, and with few others beside it.

ALTER TABLE spantree.pending_projection ADD COLUMN begun integer NOT NULL DEFAULT 0;

COMMENT ON COLUMN spantree.pending_projection.begun IS 'projections of it that were begun since the last that did not fail; one of them may be going on';
