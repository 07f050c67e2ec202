-- Partitions are made as plain tables and attached: ATTACH locks the parent against other DDL only, whereas
-- CREATE TABLE ... PARTITION OF waits for, and holds up, every reader and writer.

CREATE OR REPLACE FUNCTION spantree.ensure_partitions(days date[])
RETURNS integer
LANGUAGE plpgsql
-- The collector's role owns no table, and makes partitions by this alone.
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    one_day date;
    parent text;
    partition text;
    made integer := 0;
    not_analyzed text[];
    expression text;
    -- With 100, PostgreSQL's default, ANALYZE read 30,000 rows of a day's executions time and again; the plans that tests
    -- look at are the same.
    statistics_target CONSTANT integer := 30;
    -- Columns that no statement of ours has a condition on: no statistics are kept of them. Nor of texts, for tenants' sake
    -- (texts_of).
    shown_only CONSTANT text[] := ARRAY[
        'anomalies', 'attributes', 'body', 'calls', 'condition', 'dropped_attributes_count', 'dropped_events_count',
        'dropped_links_count', 'error_message', 'error_summary', 'events', 'facts',
        'first_failed_error_message', 'flags', 'folded_span_ids', 'input', 'links', 'output', 'raw', 'scope',
        'severity_text', 'skipped_nodes', 'status_message', 'status_reason', 'trace_state'
    ];
BEGIN
    -- One maker at a time: two that attach the same day in different order would deadlock. 'span' in hex.
    PERFORM pg_advisory_xact_lock(1936744814, 1);
    -- A day that retention has dropped, or works on, gets none: what comes late does not bring it back.
    FOR one_day IN
        SELECT DISTINCT asked.day
        FROM unnest(days) AS asked (day)
        WHERE NOT EXISTS (
            SELECT
            FROM spantree.retention_day
            WHERE retention_day.day = asked.day
                AND state IN ('retiring', 'restocked', 'archived', 'dropped')
        )
        ORDER BY 1
    LOOP
        FOREACH parent IN ARRAY ARRAY['span', 'execution', 'node', 'edge', 'log_record'] LOOP
            partition := parent || '_' || to_char(one_day, 'YYYYMMDD');
            CONTINUE WHEN EXISTS (
                SELECT
                FROM pg_inherits
                WHERE inhparent = format('spantree.%I', parent)::regclass
                    AND inhrelid = to_regclass(format('spantree.%I', partition))
            );
            -- One that somebody detached comes back with its rows: spans of its day must go somewhere.
            IF to_regclass(format('spantree.%I', partition)) IS NULL THEN
                EXECUTE format('CREATE TABLE spantree.%I (LIKE spantree.%I INCLUDING ALL)', partition, parent);
                -- Rows are written once and seldom change. No vacuum for what was inserted alone: no statement reads a
                -- visibility map of spans, nodes or edges, and to freeze them while the day fills is to read and write all
                -- of it once more, and to log it. Retention drops most before PostgreSQL wants them frozen; it freezes the
                -- others one by one, each 200 million transactions old (autovacuum_freeze_max_age).
                EXECUTE format(
                    'ALTER TABLE spantree.%I SET (%s, '
                    'autovacuum_analyze_scale_factor = 0.5, autovacuum_freeze_min_age = 1000000)', partition,
                    CASE
                        WHEN parent = 'execution' THEN 'autovacuum_vacuum_insert_scale_factor = 0.2'
                        ELSE 'autovacuum_vacuum_insert_threshold = -1'
                    END
                );
                -- Read for searches alone and as large as all else about an execution: pglz, which PostgreSQL compresses with
                -- where lz4 was not built in, took longer on it than the row took to be stored.
                IF parent = 'execution' THEN
                    EXECUTE format('ALTER TABLE spantree.%I ALTER COLUMN search SET STORAGE EXTERNAL', partition);
                END IF;
                -- ANALYZE reads 300 rows for each unit of the largest target, and decompresses and sorts what it reads:
                -- a third of what PostgreSQL did for 400,000 spans of one day was that, over and over, while the day grew.
                not_analyzed := shown_only || ARRAY(
                    SELECT column_name::text FROM spantree.texts_of(format('spantree.%I', partition)::regclass)
                );
                EXECUTE (
                    SELECT format(
                        'ALTER TABLE spantree.%I %s', partition,
                        string_agg(
                            format(
                                'ALTER COLUMN %I SET STATISTICS %s', attname,
                                CASE WHEN attname = ANY (not_analyzed) THEN 0 ELSE statistics_target END
                            ),
                            ', '
                        )
                    )
                    FROM pg_attribute
                    WHERE attrelid = format('spantree.%I', partition)::regclass
                        AND attnum > 0
                        AND NOT attisdropped
                );
                -- Expressions of indexes have targets of their own, and the largest of all says how many rows are read.
                FOR expression IN
                    SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', indexrelid::regclass, attnum, statistics_target)
                    FROM pg_index
                    INNER JOIN pg_attribute ON attrelid = indexrelid
                    WHERE indrelid = format('spantree.%I', partition)::regclass
                        AND indkey[attnum - 1] = 0
                LOOP
                    EXECUTE expression;
                END LOOP;
            END IF;
            -- Without a policy: read through its parent, whose policies hold, or by its owner.
            EXECUTE format('ALTER TABLE spantree.%I ENABLE ROW LEVEL SECURITY', partition);
            EXECUTE format(
                'ALTER TABLE spantree.%I ATTACH PARTITION spantree.%I FOR VALUES FROM (%L) TO (%L)',
                parent, partition, one_day, one_day + 1
            );
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

COMMENT ON FUNCTION spantree.ensure_partitions(date[]) IS 'make the partitions of span, execution, node, edge and log_record for the given days where they are missing, but for days that retention has dropped; answers how many it made';

REVOKE EXECUTE ON FUNCTION spantree.ensure_partitions(date[]) FROM PUBLIC;
