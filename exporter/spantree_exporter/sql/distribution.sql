-- What knows of Citus. The catalog of Citus is asked for only where its extension is.

-- name: citus_version
SELECT extversion
FROM pg_extension
WHERE extname = 'citus'

-- name: is_coordinator
SELECT groupid = 0
FROM pg_dist_local_group

-- name: distributed
-- The tables of spantree that Citus has, partitions aside.
SELECT relation.relname
FROM pg_dist_partition AS known
JOIN pg_class AS relation ON relation.oid = known.logicalrelid
WHERE relation.relnamespace = 'spantree'::regnamespace
    AND NOT relation.relispartition

-- name: tables
-- All tables of spantree, partitions and what retention works on aside.
SELECT relname
FROM pg_class
WHERE relnamespace = 'spantree'::regnamespace
    AND relkind IN ('r', 'p')
    AND NOT relispartition
    AND relname NOT LIKE 'retired%%'

-- name: settings
-- Shards of many partitions are made by one transaction: over one connection a worker, in order.
SELECT
    set_config('citus.multi_shard_modify_mode', 'sequential', false),
    set_config('client_min_messages', 'warning', false)

-- name: drop_policies
-- Citus takes no policy with a subquery: guard_table makes them again as it can.
SELECT spantree.drop_policies(%(table)s::regclass)

-- name: distribute_first
SELECT create_distributed_table(%(table)s::regclass, 'trace_id', shard_count => %(shards)s, colocate_with => 'none')

-- name: distribute
SELECT create_distributed_table(%(table)s::regclass, 'trace_id', colocate_with => %(like)s)

-- name: refer
SELECT create_reference_table(%(table)s::regclass)

-- name: truncate_local
-- Rows that were there before were copied to the shards, and lie in the coordinator's own table still.
SELECT truncate_local_data_after_distributing_table(%(table)s::regclass)

-- name: guard
SELECT spantree.guard_table(%(table)s::regclass)

-- name: nodes
-- The nodes of the cluster, with the shards and bytes of spantree's tables on each.
SELECT
    node.nodename, node.nodeport, node.isactive, node.groupid = 0 AS is_coordinator,
    count(shard.shardid) AS shards, coalesce(sum(shard.shard_size), 0)::bigint AS bytes
FROM pg_dist_node AS node
LEFT JOIN citus_shards AS shard
    ON shard.nodename = node.nodename
    AND shard.nodeport = node.nodeport
    AND shard.citus_table_type = 'distributed'
    AND shard.table_name IN (SELECT oid FROM pg_class WHERE relnamespace = 'spantree'::regnamespace)
WHERE node.noderole = 'primary'
GROUP BY node.nodename, node.nodeport, node.isactive, node.groupid
ORDER BY node.groupid

-- name: shard_count
SELECT shard_count
FROM citus_tables
WHERE table_name = 'spantree.span'::regclass

-- name: workers_of_traces
-- Which worker has the shard of each of some traces.
SELECT uuid_send(sent.trace_id), placement.groupid
FROM unnest(%(trace_ids)s::text[]::uuid[]) AS sent (trace_id)
JOIN pg_dist_placement AS placement
    ON placement.shardid = get_shard_id_for_distribution_column('spantree.span', sent.trace_id)

-- name: allow_functions
-- On every node: functions of views and policies read reference tables, which each node has whole, from what runs on a
-- shard. Citus allows that only where it is told that it is meant.
SELECT run_command_on_all_nodes(
    format('ALTER DATABASE %%I SET citus.allow_nested_distributed_execution TO on', current_database())
)
