-- What spans are found by, wherever an attribute is: a row for each batch that was written, with hashes of what its spans
-- say. No index over terms: writing one costs more than the spans themselves. A search reads a few bytes of each row.

CREATE TABLE spantree.span_terms (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    last_ns bigint NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    first_ns bigint NOT NULL,
    spans integer NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    filter bytea NOT NULL,
    postings bytea NOT NULL,
    CONSTRAINT span_terms_pkey PRIMARY KEY (day, tenant_id, last_ns, id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5);

-- Beside the row and as they are: a look at a filter then reads one piece of it, and hashes do not compress.
ALTER TABLE spantree.span_terms
    ALTER COLUMN filter SET STORAGE EXTERNAL,
    ALTER COLUMN postings SET STORAGE EXTERNAL,
    SET (toast_tuple_target = 256);

COMMENT ON TABLE spantree.span_terms IS 'the terms of spans that were written together, for searches by attributes: spantree_exporter.span_terms; what it says may match, the spans decide';
COMMENT ON CONSTRAINT span_terms_pkey ON spantree.span_terms IS 'serves searches of some days, newest first, and the end of a day';
COMMENT ON COLUMN spantree.span_terms.tenant_id IS 'whose spans they are';
COMMENT ON COLUMN spantree.span_terms.day IS 'span.day of all of them';
COMMENT ON COLUMN spantree.span_terms.last_ns IS 'start of the latest of them, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.span_terms.id IS 'tells two rows apart';
COMMENT ON COLUMN spantree.span_terms.first_ns IS 'start of the earliest of them, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.span_terms.spans IS 'how many they are; one that was sent again is counted again';
COMMENT ON COLUMN spantree.span_terms.stored_at IS 'when it was written';
COMMENT ON COLUMN spantree.span_terms.filter IS 'bits of all terms and resources (a Bloom filter): a row that lacks one has no span that is looked for';
COMMENT ON COLUMN spantree.span_terms.postings IS 'which resource''s spans of which trace have each term';

CREATE TABLE spantree.span_terms_gap (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    CONSTRAINT span_terms_gap_pkey PRIMARY KEY (tenant_id, day)
);

COMMENT ON TABLE spantree.span_terms_gap IS 'days whose spans are not all in span_terms, for they were written by an earlier version: searched span by span, as far as time allows, until `spantree rebuild` has read them';
COMMENT ON CONSTRAINT span_terms_gap_pkey ON spantree.span_terms_gap IS 'serves searches: whether a day is among them';
COMMENT ON COLUMN spantree.span_terms_gap.tenant_id IS 'whose spans they are';
COMMENT ON COLUMN spantree.span_terms_gap.day IS 'span.day of the spans';

-- The days that are there, those ahead as well: collectors of the earlier version may go on for a while.
INSERT INTO spantree.span_terms_gap (tenant_id, day)
SELECT owner.tenant_id, partitions.day
FROM (SELECT 0 AS tenant_id UNION SELECT tenant.tenant_id FROM spantree.tenant) AS owner
CROSS JOIN (
    SELECT CASE WHEN partition.relname ~ '^span_[0-9]{8}$' THEN to_date(right(partition.relname, 8), 'YYYYMMDD') END AS day
    FROM pg_inherits
    JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = 'spantree.span'::regclass
) AS partitions
WHERE partitions.day IS NOT NULL;
