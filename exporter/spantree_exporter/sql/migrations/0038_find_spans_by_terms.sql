-- Terms tell which spans have them, no longer which traces: two attributes that no one span has together, and durations, are
-- then told apart without a look at any span. Rows of the earlier form say less and go with their days; until
-- `spantree rebuild` has read these again, they are in span_terms_gap.

-- What collectors of the earlier version write is passed over by whoever reads these columns, and what this one writes by
-- APIs of the earlier one: no traces, and a filter that has nothing.
ALTER TABLE spantree.span_terms
    ALTER COLUMN filter SET DEFAULT '\x0000000000000000',
    ALTER COLUMN postings SET DEFAULT '\x00000000000000000000000000000000',
    ADD COLUMN traces integer,
    ADD COLUMN resources bigint[],
    ADD COLUMN resource_ends integer[],
    ADD COLUMN octave_ends integer[],
    ADD COLUMN entry_fences integer[],
    ADD COLUMN list_fences integer[],
    ADD COLUMN lists bytea;

-- On the row's own page, so that one look finds them, but for what pieces are read of.
ALTER TABLE spantree.span_terms
    ALTER COLUMN resources SET STORAGE PLAIN,
    ALTER COLUMN resource_ends SET STORAGE PLAIN,
    ALTER COLUMN octave_ends SET STORAGE PLAIN,
    ALTER COLUMN entry_fences SET STORAGE PLAIN,
    ALTER COLUMN list_fences SET STORAGE PLAIN,
    ALTER COLUMN lists SET STORAGE EXTERNAL;

COMMENT ON COLUMN spantree.span_terms.filter IS 'of the form before this one; has nothing';
COMMENT ON COLUMN spantree.span_terms.postings IS 'of the form before this one; has nothing';
COMMENT ON COLUMN spantree.span_terms.traces IS 'how many traces the spans are of; NULL, and so all that follows, where an earlier version wrote the row';
COMMENT ON COLUMN spantree.span_terms.resources IS 'what sent them, ids in order';
COMMENT ON COLUMN spantree.span_terms.resource_ends IS 'how many of the spans, in the order of what sent them, there are up to the end of each of the resources';
COMMENT ON COLUMN spantree.span_terms.octave_ends IS 'how many of the spans, in the order of their durations, there are up to the end of each octave: up to 1 us, and from there on each time up to twice as long';
COMMENT ON COLUMN spantree.span_terms.entry_fences IS 'how many terms there are before each of some equal ranges of terms, and in all';
COMMENT ON COLUMN spantree.span_terms.list_fences IS 'how many numbers of spans the lists of these terms have';
COMMENT ON COLUMN spantree.span_terms.lists IS 'which of the spans have which term, were sent by which resource, took how long, and of which trace they are: spantree_exporter.term_segment';

INSERT INTO spantree.span_terms_gap (tenant_id, day)
SELECT owner.tenant_id, partitions.day
FROM (SELECT 0 AS tenant_id UNION SELECT tenant.tenant_id FROM spantree.tenant) AS owner
CROSS JOIN (
    SELECT CASE WHEN partition.relname ~ '^span_[0-9]{8}$' THEN to_date(right(partition.relname, 8), 'YYYYMMDD') END AS day
    FROM pg_inherits
    JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = 'spantree.span'::regclass
) AS partitions
WHERE partitions.day IS NOT NULL
ON CONFLICT ON CONSTRAINT span_terms_gap_pkey DO NOTHING;
