-- What lies on disk, wherever it lies: on a Citus cluster a partition is its shards, on all nodes, and the table that
-- the coordinator has in its place is empty. Dynamic where the catalog of Citus is named, which PostgreSQL has not.

CREATE OR REPLACE FUNCTION spantree.partition_sizes() RETURNS TABLE (partition oid, bytes bigint)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RETURN QUERY EXECUTE
            'SELECT local.oid, coalesce(sharded.bytes, pg_total_relation_size(local.oid)) '
            'FROM pg_class AS local '
            'LEFT JOIN ('
            '    SELECT table_name::oid AS oid, sum(shard_size)::bigint AS bytes '
            '    FROM citus_shards '
            '    GROUP BY table_name'
            ') AS sharded USING (oid) '
            'WHERE local.relnamespace = ''spantree''::regnamespace '
            '    AND local.relispartition '
            '    AND local.relkind = ''r''';
    ELSE
        RETURN QUERY
            SELECT local.oid, pg_total_relation_size(local.oid)
            FROM pg_class AS local
            WHERE local.relnamespace = 'spantree'::regnamespace
                AND local.relispartition
                AND local.relkind = 'r';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION spantree.database_size() RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    bytes bigint;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        -- Of the nodes that answer.
        EXECUTE
            'SELECT sum(result::bigint) '
            'FROM run_command_on_all_nodes(''SELECT pg_database_size(current_database())'', give_warning_for_connection_errors => true) '
            'WHERE success'
        INTO bytes;
    END IF;
    RETURN coalesce(bytes, pg_database_size(current_database()));
END
$$;

COMMENT ON FUNCTION spantree.partition_sizes() IS 'bytes of each partition with its indexes, those of a Citus cluster summed over its shards';
COMMENT ON FUNCTION spantree.database_size() IS 'bytes of the database, on a Citus cluster of all its nodes that answer';
