-- Sums and quantiles of spantree.histogram. Immutable and in plpgsql, because Citus plans no other functions where rows
-- are updated on conflict.

CREATE OR REPLACE FUNCTION spantree.histogram_plus(one spantree.histogram, other spantree.histogram)
RETURNS spantree.histogram
LANGUAGE plpgsql
IMMUTABLE
-- Writers have every plan made for its values; this one, which is the same for all, would be made for each row.
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    total spantree.histogram;
BEGIN
    IF cardinality(other.buckets) = 0 THEN
        RETURN one;
    ELSIF cardinality(one.buckets) = 0 THEN
        RETURN other;
    END IF;
    SELECT array_agg(bucket ORDER BY bucket), array_agg(count ORDER BY bucket)
    INTO total.buckets, total.counts
    FROM (
        SELECT bucket, sum(count)::bigint AS count
        FROM (
            SELECT * FROM unnest(one.buckets, one.counts)
            UNION ALL
            SELECT * FROM unnest(other.buckets, other.counts)
        ) AS both_of (bucket, count)
        GROUP BY bucket
        HAVING sum(count) <> 0
    ) AS summed;
    RETURN ROW(coalesce(total.buckets, '{}'), coalesce(total.counts, '{}'))::spantree.histogram;
END
$$;

COMMENT ON FUNCTION spantree.histogram_plus(spantree.histogram, spantree.histogram) IS 'sum of two histograms, empty buckets left out';

CREATE OR REPLACE AGGREGATE spantree.histogram_sum(spantree.histogram) (
    SFUNC = spantree.histogram_plus,
    STYPE = spantree.histogram,
    INITCOND = '({},{})',
    PARALLEL = SAFE
);

COMMENT ON AGGREGATE spantree.histogram_sum(spantree.histogram) IS 'sum of histograms, empty buckets left out';

CREATE OR REPLACE FUNCTION spantree.histogram_quantile_ms(durations spantree.histogram, quantile double precision)
RETURNS double precision
LANGUAGE plpgsql
IMMUTABLE
AS $$
DECLARE
    wanted numeric;
    seen numeric := 0;
    place integer := 0;
    held bigint;
BEGIN
    SELECT sum(c) INTO wanted FROM unnest(durations.counts) AS c;
    IF coalesce(wanted, 0) <= 0 THEN
        RETURN NULL;
    END IF;
    wanted := greatest(1, ceil(wanted * quantile::numeric));
    FOREACH held IN ARRAY durations.counts LOOP
        place := place + 1;
        seen := seen + held;
        EXIT WHEN seen >= wanted;
    END LOOP;
    -- The middle of a bucket: as far from both of its ends in proportion.
    RETURN CASE
        WHEN durations.buckets[place] <= 0 THEN 0
        ELSE 2 * power(1.04::double precision, durations.buckets[place]) / 2.04 / 1e6
    END;
END
$$;

CREATE OR REPLACE FUNCTION spantree.histogram_quantile_ms(
    durations spantree.histogram, quantile double precision, ended numeric, duration_ns numeric
)
RETURNS double precision
LANGUAGE plpgsql
IMMUTABLE
AS $$
BEGIN
    IF ended = 1 THEN
        RETURN duration_ns / 1000000;
    END IF;
    RETURN spantree.histogram_quantile_ms(durations, quantile);
END
$$;

COMMENT ON FUNCTION spantree.histogram_quantile_ms(spantree.histogram, double precision, numeric, numeric) IS 'the same of what is known of durations in all: how many ended, and their sum in nanoseconds; of one it is that one';
COMMENT ON FUNCTION spantree.histogram_quantile_ms(spantree.histogram, double precision) IS 'quantile (0 to 1) of a histogram of durations in milliseconds, at most 2 % off; null for an empty one';
