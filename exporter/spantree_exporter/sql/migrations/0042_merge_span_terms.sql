-- Small rows of span_terms become large ones in the background: what a search does for each row it then does for some ten
-- thousand spans. A merged row says which of its spans were of which time, so that the newest are looked at first.

ALTER TABLE spantree.span_terms
    ADD COLUMN part_ends integer[],
    ADD COLUMN part_first_ns bigint[],
    ADD COLUMN part_last_ns bigint[];

ALTER TABLE spantree.span_terms
    ALTER COLUMN part_ends SET STORAGE PLAIN,
    ALTER COLUMN part_first_ns SET STORAGE PLAIN,
    ALTER COLUMN part_last_ns SET STORAGE PLAIN;

COMMENT ON COLUMN spantree.span_terms.part_ends IS 'how many of the spans there are up to the end of each part, the newest part first; NULL, and so the next two, where all are one part';
COMMENT ON COLUMN spantree.span_terms.part_first_ns IS 'start of the earliest span of each part, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.span_terms.part_last_ns IS 'start of the latest span of each part, UTC nanoseconds since 1970';

CREATE INDEX span_terms_small_idx ON spantree.span_terms (day, tenant_id, spans, last_ns)
WHERE spans < 32768 AND traces IS NOT NULL AND day <> DATE '1970-01-01';

COMMENT ON INDEX spantree.span_terms_small_idx IS 'serves merging: which days have many small rows (levels_to_merge, segments_to_merge)';
