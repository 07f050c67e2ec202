-- Sparse histograms: `buckets` ascending, and how many of something each holds. Immutable and in plpgsql, because Citus
-- plans no other functions where rows are updated on conflict.

CREATE OR REPLACE FUNCTION spantree.histogram_buckets(
    buckets integer[], counts bigint[], more_buckets integer[], more_counts bigint[]
)
RETURNS integer[]
LANGUAGE plpgsql
IMMUTABLE
AS $$
BEGIN
    RETURN ARRAY(
        SELECT both_of.bucket
        FROM (
            SELECT * FROM unnest(buckets, counts)
            UNION ALL
            SELECT * FROM unnest(more_buckets, more_counts)
        ) AS both_of (bucket, count)
        GROUP BY both_of.bucket
        HAVING sum(both_of.count) <> 0
        ORDER BY both_of.bucket
    );
END
$$;

COMMENT ON FUNCTION spantree.histogram_buckets(integer[], bigint[], integer[], bigint[]) IS 'buckets of the sum of two histograms, empty ones left out';

CREATE OR REPLACE FUNCTION spantree.histogram_counts(
    buckets integer[], counts bigint[], more_buckets integer[], more_counts bigint[]
)
RETURNS bigint[]
LANGUAGE plpgsql
IMMUTABLE
AS $$
BEGIN
    RETURN ARRAY(
        SELECT sum(both_of.count)::bigint
        FROM (
            SELECT * FROM unnest(buckets, counts)
            UNION ALL
            SELECT * FROM unnest(more_buckets, more_counts)
        ) AS both_of (bucket, count)
        GROUP BY both_of.bucket
        HAVING sum(both_of.count) <> 0
        ORDER BY both_of.bucket
    );
END
$$;

COMMENT ON FUNCTION spantree.histogram_counts(integer[], bigint[], integer[], bigint[]) IS 'counts of the sum of two histograms, in the order of histogram_buckets';

CREATE OR REPLACE FUNCTION spantree.histogram_quantile_ms(buckets integer[], counts numeric[], quantile double precision)
RETURNS double precision
LANGUAGE plpgsql
IMMUTABLE
AS $$
DECLARE
    wanted numeric;
    seen numeric := 0;
    place integer := 0;
    count numeric;
BEGIN
    SELECT sum(c) INTO wanted FROM unnest(counts) AS c;
    IF coalesce(wanted, 0) <= 0 THEN
        RETURN NULL;
    END IF;
    wanted := greatest(1, ceil(wanted * quantile::numeric));
    FOREACH count IN ARRAY counts LOOP
        place := place + 1;
        seen := seen + count;
        EXIT WHEN seen >= wanted;
    END LOOP;
    -- The middle of a bucket, as far from both of its ends in proportion.
    RETURN CASE
        WHEN buckets[place] <= 0 THEN 0
        ELSE 2 * power(1.04::double precision, buckets[place]) / 2.04 / 1e6
    END;
END
$$;

COMMENT ON FUNCTION spantree.histogram_quantile_ms(integer[], numeric[], double precision) IS 'quantile of a histogram of durations in milliseconds, at most 2 % off; null for an empty one';
