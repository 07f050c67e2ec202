-- The state of the whole, cheap enough to be asked every second.

-- name: ping
-- whether the database answers and the schema can be read
SELECT NULL::text AS name, count(*) AS count
FROM (SELECT FROM spantree.pending_projection LIMIT 1) AS one

-- name: replication
-- how far a standby is behind: not at all while it has replayed what it received and something sends to it; else as long
-- as its last transaction is ago, which is too much where the primary has nothing to do
SELECT
    pg_is_in_recovery() AS in_recovery,
    CASE
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::double precision
    END AS lag_s

-- name: health
-- lag, dead letters, and how the executions of the last hour went; only the days around now are looked at. What came last
-- is among the executions that started last, those that a clock ahead of ours has started looked at apart: all of three
-- days had to be read to know it of all; served by execution_started_idx, execution_visible_idx
WITH recent AS (
    SELECT status
    FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s
        AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND started_ns >= %(since_ns)s::bigint
        AND NOT hidden
    -- For its index: without statistics, any other looks as good, and reads whole days.
    ORDER BY started_ns DESC
    LIMIT %(counted)s
),
newest AS (
    (
        SELECT last_seen_ns
        FROM spantree.execution
        WHERE tenant_id = %(tenant_id)s
            AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
            AND started_ns <= %(now_ns)s::bigint
        ORDER BY started_ns DESC
        LIMIT %(walked)s
    )
    UNION ALL
    (
        SELECT last_seen_ns
        FROM spantree.execution
        WHERE tenant_id = %(tenant_id)s
            AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
            AND started_ns > %(now_ns)s::bigint
        ORDER BY started_ns DESC
        LIMIT %(walked)s
    )
),
pending AS (
    SELECT
        count(*) AS traces,
        (extract(epoch FROM min(first_pending_at)) * 1000000000)::bigint AS oldest_ns,
        count(*) FILTER (WHERE failures > 0 OR begun > 1) AS failing
    FROM spantree.pending_projection
    WHERE tenant_id = %(tenant_id)s
),
dead AS (
    SELECT cause, count(*) AS letters, sum(count)::bigint AS count
    FROM spantree.dead_letter
    WHERE tenant_id = %(tenant_id)s
    GROUP BY cause
)
SELECT
    (SELECT max(last_seen_ns) FROM newest) AS last_received_ns,
    pending.traces AS pending_traces,
    pending.oldest_ns AS oldest_pending_ns,
    pending.failing AS failing_projections,
    (SELECT coalesce(sum(letters), 0)::bigint FROM dead) AS dead_letters,
    (
        SELECT coalesce(jsonb_agg(jsonb_build_object('reason', cause, 'letters', letters, 'count', count) ORDER BY cause), '[]')
        FROM dead
    ) AS dead_letters_by_reason,
    (SELECT count(*) FROM recent) AS executions,
    (SELECT count(*) FROM recent WHERE status IN ('failed', 'partial', 'timed_out')) AS failed_executions
FROM pending

-- name: storage
-- partitions and bytes of each table that is partitioned by day, on a Citus cluster of all nodes; reads catalogs and the
-- sizes of files only. CASE, because the planner may look at the names of all relations before it knows which are
-- partitions (PostgreSQL 15 does)
SELECT
    name,
    count(*) AS partitions,
    count(day) AS days,
    min(day) AS first_day,
    max(day) AS last_day,
    sum(bytes)::bigint AS bytes,
    spantree.database_size() AS database_bytes
FROM (
    SELECT
        parent.relname::text AS name,
        NULLIF(
            CASE
                WHEN partition.relname ~ '_[0-9]{8}$' THEN to_date(right(partition.relname, 8), 'YYYYMMDD')
            END,
            '1970-01-01'
        ) AS day,
        sizes.bytes
    FROM pg_class AS parent
    JOIN pg_inherits ON pg_inherits.inhparent = parent.oid
    JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
    JOIN spantree.partition_sizes() AS sizes ON sizes.partition = partition.oid
    WHERE parent.relnamespace = 'spantree'::regnamespace
        AND parent.relkind = 'p'
) AS partitions
GROUP BY name
ORDER BY name
