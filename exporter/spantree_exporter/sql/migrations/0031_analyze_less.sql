-- Figures change all the time, and none of these columns stands in a condition: ANALYZE would read them again and again
-- to no use. Partitions say the same of theirs when they are made (spantree.ensure_partitions).

ALTER TABLE spantree.rollup SET (autovacuum_analyze_scale_factor = 0.2);
ALTER TABLE spantree.rollup
    ALTER COLUMN durations SET STATISTICS 0,
    ALTER COLUMN duration_ns SET STATISTICS 0,
    ALTER COLUMN input_tokens SET STATISTICS 0,
    ALTER COLUMN output_tokens SET STATISTICS 0,
    ALTER COLUMN cost_usd SET STATISTICS 0,
    ALTER COLUMN last_started_ns SET STATISTICS 0,
    ALTER COLUMN last_failed_ns SET STATISTICS 0;
