-- name: set_lock_timeout
-- For this transaction only.
SELECT set_config('lock_timeout', %(lock_timeout)s, true)

-- name: ensure_partitions
-- Makes the partitions of all four tables for the days that lack them.
SELECT spantree.ensure_partitions(%(days)s::date[])
