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
            AND NOT inhdetachpending
    )
)

-- name: dropped_days
-- Which of some days get no partition because retention has dropped them, or works on them.
SELECT day
FROM spantree.retention_day
WHERE day = ANY (%(days)s::date[])
    AND state IN ('retiring', 'restocked', 'archived', 'dropped')

-- name: hold_days
-- Lets days be imported: those that were dropped may get partitions again, and retention leaves all of them alone for
-- a while. A day that retention works on just now is left as it is.
INSERT INTO spantree.retention_day (day, state, held_until)
SELECT day, 'held', %(until)s::date
FROM unnest(%(days)s::date[]) AS asked (day)
ORDER BY day
ON CONFLICT ON CONSTRAINT retention_day_pkey
DO UPDATE SET
    state = CASE WHEN retention_day.state IN ('thinned', 'dropped') THEN 'restored' ELSE retention_day.state END,
    held_until = greatest(retention_day.held_until, EXCLUDED.held_until),
    changed_at = clock_timestamp()
WHERE retention_day.state NOT IN ('retiring', 'restocked', 'archived')
