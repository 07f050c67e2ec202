-- As in 0031: counts that no condition names. They change with everything that comes, and a fifth of the rows soon has.

ALTER TABLE spantree.rollup SET (autovacuum_analyze_scale_factor = 0.5);
ALTER TABLE spantree.rollup
    ALTER COLUMN total SET STATISTICS 0,
    ALTER COLUMN pending SET STATISTICS 0,
    ALTER COLUMN running SET STATISTICS 0,
    ALTER COLUMN waiting SET STATISTICS 0,
    ALTER COLUMN completed SET STATISTICS 0,
    ALTER COLUMN failed SET STATISTICS 0,
    ALTER COLUMN retried SET STATISTICS 0,
    ALTER COLUMN skipped SET STATISTICS 0,
    ALTER COLUMN cancelled SET STATISTICS 0,
    ALTER COLUMN timed_out SET STATISTICS 0,
    ALTER COLUMN partial SET STATISTICS 0,
    ALTER COLUMN ended SET STATISTICS 0,
    ALTER COLUMN retried_nodes SET STATISTICS 0;
