-- name: session
-- What everything here counts on, whatever a database or a role of somebody's own sets: forms of values that psycopg
-- reads, backslashes in texts that are themselves, writers that meet and do not fail each other, no limit of a whole
-- transaction (PostgreSQL 17), by which a span would be blamed for a server that is slow, and no end for having nothing
-- to do: who holds a lock of the session waits for others.
SELECT
    set_config('DateStyle', 'ISO', false),
    set_config('IntervalStyle', 'postgres', false),
    set_config('standard_conforming_strings', 'on', false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('idle_session_timeout', '0', false),
    CASE
        WHEN current_setting('transaction_timeout', true) IS NOT NULL THEN set_config('transaction_timeout', '0', false)
    END,
    -- Whether somebody of spantree has had the session before, and the mark of it; NULL or '' where it is new.
    coalesce(marked.before, '') <> '' AS is_marked,
    marked.pid
FROM (
    SELECT
        current_setting('spantree.session', true) AS before,
        set_config('spantree.session', 'taken', false) AS now,
        pg_backend_pid() AS pid
    OFFSET 0
) AS marked

-- name: is_kept
-- Whether the mark of the session is there.
SELECT coalesce(current_setting('spantree.session', true), '') = 'taken'

-- name: settings
-- For the session. A statement that waits longer than this is given up and tried again, so that a locked table or a
-- stuck server is seen; synchronous_commit because a commit that returned must survive a crash. Plans are made for the
-- values at hand: a generic one opens and locks every partition. JIT costs seconds where there are many partitions.
-- Every statement here looks rows up by key; without statistics, as of a partition that is new, PostgreSQL takes some
-- hundred keys for all of the table and reads the whole of it. What Citus is told, PostgreSQL keeps unread: one connection
-- a worker, as statements come in batches and each connection is a participant of the commit; those that an INSERT of a
-- SELECT opens for its shards all the same are kept; parameters that SET LOCAL changes count on the workers, too.
SELECT
    set_config('statement_timeout', %(statement_timeout)s, false),
    set_config('lock_timeout', %(lock_timeout)s, false),
    set_config('idle_in_transaction_session_timeout', %(statement_timeout)s, false),
    CASE current_setting('synchronous_commit')
        WHEN 'remote_apply' THEN 'remote_apply'
        ELSE set_config('synchronous_commit', 'on', false)
    END,
    set_config('plan_cache_mode', 'force_custom_plan', false),
    set_config('jit', 'off', false),
    set_config('enable_seqscan', 'off', false),
    set_config('citus.multi_shard_modify_mode', 'sequential', false),
    set_config('citus.max_adaptive_executor_pool_size', '1', false),
    set_config('citus.max_cached_conns_per_worker', '4', false),
    set_config('citus.propagate_set_commands', 'local', false),
    set_config('client_min_messages', 'warning', false),
    EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS on_citus
