-- name: set_lock_timeout
-- For this transaction only.
SELECT set_config('lock_timeout', %(lock_timeout)s, true)

-- name: ensure_partitions
-- Makes the partitions of all tables for the days that lack them.
SELECT spantree.ensure_partitions(%(days)s::date[])

-- name: existing_days
-- Which of some days have all their partitions.
SELECT asked.day
FROM unnest(%(days)s::date[]) AS asked (day)
WHERE NOT EXISTS (
    SELECT
    FROM unnest(ARRAY['span', 'execution', 'node', 'edge', 'log_record']) AS parent (name)
    WHERE NOT EXISTS (
        SELECT
        FROM pg_inherits
        WHERE inhparent = to_regclass('spantree.' || parent.name)
            AND inhrelid = to_regclass('spantree.' || parent.name || '_' || to_char(asked.day, 'YYYYMMDD'))
    )
)
