-- Whose turn it is to work in the background: each kind of work has one share of the time, however many processes of
-- however many collectors could do it. Before, every writer folded figures for a fiftieth of its own time: with two of
-- them that was 6 of 46 us of PostgreSQL for each span of the reference load, and twice as much with four.

CREATE TABLE spantree.upkeep (
    work text NOT NULL,
    due_at timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT upkeep_pkey PRIMARY KEY (work)
) WITH (fillfactor = 10);

COMMENT ON TABLE spantree.upkeep IS 'work in the background that one process does for all, and when it is due again';
COMMENT ON CONSTRAINT upkeep_pkey ON spantree.upkeep IS 'serves taking a turn';
COMMENT ON COLUMN spantree.upkeep.work IS 'fold: changes of figures into rollup; merge: small rows of span_terms';
COMMENT ON COLUMN spantree.upkeep.due_at IS 'when it may be done again; whoever begins it sets it ahead, so that another goes on should that one die';

INSERT INTO spantree.upkeep (work) VALUES ('fold'), ('merge');

-- Figures of the running hour are updated again and again: on a page with room that changes no index.
ALTER TABLE spantree.rollup SET (fillfactor = 70);

-- Written once and taken once, seconds later; pglz on it took as long as all else about the row.
ALTER TABLE spantree.rollup_delta ALTER COLUMN changes SET STORAGE EXTERNAL;
