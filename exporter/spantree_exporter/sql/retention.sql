-- Names in braces are partitions and tables that retention made, put in by psycopg as identifiers.

-- name: settings
-- Nothing that retention does is worth that somebody waits for it: a lock that does not come is tried for again.
-- While a day is written to its archive, PostgreSQL waits for the disk.
SELECT
    set_config('lock_timeout', '2s', false),
    set_config('statement_timeout', '60s', false),
    set_config('idle_in_transaction_session_timeout', '0', false),
    set_config('TimeZone', 'UTC', false)

-- name: unbounded
-- For a transaction that reads a whole day.
SELECT set_config('statement_timeout', '0', true)

-- name: try_lock
-- One retention at a time, whoever runs it. 'span' in hex.
SELECT pg_try_advisory_lock(1936744814, 4)

-- name: owner
-- Who has to be asked to drop days, where that is not who asks.
SELECT pg_get_userbyid(c.relowner)
FROM pg_class AS c
WHERE c.oid = 'spantree.span'::regclass
    AND NOT pg_has_role(c.relowner, 'USAGE')

-- name: unlock
SELECT pg_advisory_unlock(1936744814, 4)

-- name: days
-- The days that have partitions, oldest first, the sentinel's aside, with what retention did, and the bytes of each.
SELECT partitions.day, state, age_days, held_until, bytes::bigint
FROM (
    SELECT day, sum(bytes) AS bytes
    FROM (
        SELECT
            CASE
                WHEN partition.relname ~ '_[0-9]{8}$' THEN to_date(right(partition.relname, 8), 'YYYYMMDD')
            END AS day,
            pg_total_relation_size(partition.oid) AS bytes
        FROM pg_inherits
        JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
        WHERE pg_inherits.inhparent = ANY (
            ARRAY['spantree.span', 'spantree.execution', 'spantree.node', 'spantree.edge', 'spantree.log_record']::regclass[]
        )
    ) AS sizes
    GROUP BY day
) AS partitions
LEFT JOIN spantree.retention_day USING (day)
WHERE partitions.day <> DATE '1970-01-01'
ORDER BY partitions.day

-- name: unfinished
-- Days that an earlier run did not come to an end with.
SELECT day, state, age_days
FROM spantree.retention_day
WHERE state IN ('retiring', 'restocked', 'archived')
ORDER BY day

-- name: count_kept
-- Of the executions of a day, how many there are and how many stay.
SELECT
    count(*),
    count(*) FILTER (WHERE status = ANY (%(statuses)s::text[]) OR workflow_name LIKE ANY (%(workflows)s::text[]))
FROM spantree.execution
WHERE day = %(day)s

-- name: begin_day
INSERT INTO spantree.retention_day (day, state, age_days)
VALUES (%(day)s, 'retiring', %(age_days)s)
ON CONFLICT ON CONSTRAINT retention_day_pkey
DO UPDATE SET state = 'retiring', age_days = EXCLUDED.age_days, held_until = NULL, changed_at = clock_timestamp()

-- name: set_state
UPDATE spantree.retention_day
SET state = %(state)s, changed_at = clock_timestamp()
WHERE day = %(day)s

-- name: set_archive
UPDATE spantree.retention_day
SET archived_as = %(archived_as)s
WHERE day = %(day)s

-- name: partition_state
-- Whether a partition is attached, being detached, or a table of its own; null where it is not there.
SELECT CASE
    WHEN pg_inherits.inhrelid IS NULL THEN 'detached'
    WHEN pg_inherits.inhdetachpending THEN 'pending'
    ELSE 'attached'
END
FROM pg_class
LEFT JOIN pg_inherits ON pg_inherits.inhrelid = pg_class.oid
WHERE pg_class.oid = to_regclass('spantree.' || %(name)s)

-- name: detach
-- Waits for those that use the parent, and holds up nobody meanwhile.
ALTER TABLE spantree.{parent} DETACH PARTITION spantree.{partition} CONCURRENTLY

-- name: detach_on_citus
-- Citus does it CONCURRENTLY for no table. Within the lock timeout, or another time.
ALTER TABLE spantree.{parent} DETACH PARTITION spantree.{partition}

-- name: finalize
ALTER TABLE spantree.{parent} DETACH PARTITION spantree.{partition} FINALIZE

-- name: rename
ALTER TABLE spantree.{partition} RENAME TO {retired}

-- name: drop
DROP TABLE IF EXISTS spantree.{table}

-- name: create_keep
CREATE TABLE IF NOT EXISTS spantree.{keep} (
    tenant_id integer NOT NULL,
    trace_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, trace_id)
);
ALTER TABLE spantree.{keep} ENABLE ROW LEVEL SECURITY

-- name: comment_keep
COMMENT ON TABLE spantree.{keep} IS 'traces of a day that retention keeps; goes when it is through with the day'

-- name: other_days
-- The days of traces that have spans or log records on the day, and whose execution is on another one.
SELECT DISTINCT unnest(trace.days) AS day
FROM (
    (
        SELECT tenant_id, trace_id FROM spantree.{span}
        UNION
        SELECT tenant_id, trace_id FROM spantree.{log}
    )
    EXCEPT
    SELECT tenant_id, trace_id FROM spantree.{execution}
) AS other
JOIN spantree.trace USING (tenant_id, trace_id)

-- name: insert_keep
-- Traces of the day whose execution, on that day or another, is of what is kept longer, and those of which nobody knows
-- yet: what has come for them is still to be projected, which waits until what stays of the day can be read again.
INSERT INTO spantree.{keep} (tenant_id, trace_id)
SELECT tenant_id, trace_id
FROM spantree.{execution}
WHERE status = ANY (%(statuses)s::text[])
    OR workflow_name LIKE ANY (%(workflows)s::text[])
UNION
SELECT other.tenant_id, other.trace_id
FROM (
    (
        SELECT tenant_id, trace_id FROM spantree.{span}
        UNION
        SELECT tenant_id, trace_id FROM spantree.{log}
    )
    EXCEPT
    SELECT tenant_id, trace_id FROM spantree.{execution}
) AS other
JOIN spantree.execution USING (tenant_id, trace_id)
WHERE execution.day = ANY (%(days)s::date[])
    AND (
        execution.status = ANY (%(statuses)s::text[])
        OR execution.workflow_name LIKE ANY (%(workflows)s::text[])
    )
UNION
SELECT waiting.tenant_id, waiting.trace_id
FROM spantree.pending_projection AS waiting
JOIN (
    SELECT tenant_id, trace_id FROM spantree.{span}
    UNION
    SELECT tenant_id, trace_id FROM spantree.{log}
) AS of_day USING (tenant_id, trace_id)
ON CONFLICT DO NOTHING

-- name: analyze
ANALYZE spantree.{table}

-- name: any_kept
SELECT EXISTS (SELECT kept.trace_id FROM spantree.{keep} AS kept)

-- name: copy_kept
INSERT INTO spantree.{parent}
SELECT retired.*
FROM spantree.{retired} AS retired
JOIN spantree.{keep} USING (tenant_id, trace_id)

-- name: tenants
SELECT DISTINCT tenant_id FROM spantree.{span}
UNION
SELECT DISTINCT tenant_id FROM spantree.{log}
ORDER BY tenant_id

-- name: spans_that_go
-- Trace by trace, as an archive has them.
SELECT
    span.trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.kind, span.status_code, span.start_ns,
    span.end_ns, span.flags, span.received_ns, span.name, span.status_message, span.trace_state, span.resource_id,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.anomalies, span.raw IS NOT NULL AS raw_available,
    coalesce(resource.attributes, '{{}}') AS resource_attributes, coalesce(resource.schema_url, '') AS resource_schema_url,
    coalesce(resource.dropped_attributes_count, 0) AS resource_dropped_attributes_count, span.raw
FROM spantree.{span} AS span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND NOT EXISTS (
        SELECT
        FROM spantree.{keep} AS kept
        WHERE kept.tenant_id = span.tenant_id
            AND kept.trace_id = span.trace_id
    )
ORDER BY span.trace_id, span.span_id, span.fingerprint

-- name: logs_that_go
SELECT
    log.trace_id, log.span_id, log.fingerprint, log.time_ns, log.observed_ns, log.severity_number, log.severity_text,
    log.event_name, log.flags, log.resource_id, log.scope, log.body, log.attributes, log.dropped_attributes_count,
    log.raw, coalesce(resource.attributes, '{{}}') AS resource_attributes,
    coalesce(resource.schema_url, '') AS resource_schema_url,
    coalesce(resource.dropped_attributes_count, 0) AS resource_dropped_attributes_count, log.received_ns
FROM spantree.{log} AS log
LEFT JOIN spantree.resource
    ON resource.tenant_id = log.tenant_id
    AND resource.id = log.resource_id
WHERE log.tenant_id = %(tenant_id)s
    AND NOT EXISTS (
        SELECT
        FROM spantree.{keep} AS kept
        WHERE kept.tenant_id = log.tenant_id
            AND kept.trace_id = log.trace_id
    )
ORDER BY log.trace_id, log.resource_id, log.span_id, log.fingerprint

-- name: traces_of_day
-- Some traces of the day, from one on. Served by the primary key of the retired table.
SELECT DISTINCT tenant_id, trace_id
FROM spantree.{table}
WHERE (tenant_id, trace_id) > (%(tenant_id)s::integer, %(trace_id)s::uuid)
ORDER BY tenant_id, trace_id
LIMIT %(traces)s

-- name: hold_writers
-- Whoever writes to the partition has committed, and nobody else does until this transaction ends.
LOCK TABLE spantree.{partition} IN SHARE MODE

-- name: delete_traces_of_day
-- Of some traces those that are not kept and have no other day. Served by trace_pkey, and by span_pkey and
-- log_record_pkey: what has come for the day since it was restocked is there.
DELETE FROM spantree.trace
WHERE trace.tenant_id = %(tenant_id)s
    AND trace.trace_id = ANY (%(trace_ids)s::uuid[])
    AND trace.days = ARRAY[%(day)s::date]
    AND NOT EXISTS (
        SELECT
        FROM spantree.{keep} AS kept
        WHERE kept.tenant_id = trace.tenant_id
            AND kept.trace_id = trace.trace_id
    )
    AND NOT EXISTS (
        SELECT
        FROM spantree.span
        WHERE span.tenant_id = trace.tenant_id
            AND span.trace_id = trace.trace_id
            AND span.day = %(day)s::date
    )
    AND NOT EXISTS (
        SELECT
        FROM spantree.log_record AS log
        WHERE log.tenant_id = trace.tenant_id
            AND log.trace_id = trace.trace_id
            AND log.day = %(day)s::date
    )

-- name: forget_day_of_traces
-- Of some traces those that are not kept lose the day. Served as those.
UPDATE spantree.trace
SET days = array_remove(trace.days, %(day)s::date)
WHERE trace.tenant_id = %(tenant_id)s
    AND trace.trace_id = ANY (%(trace_ids)s::uuid[])
    AND trace.days @> ARRAY[%(day)s::date]
    AND trace.days <> ARRAY[%(day)s::date]
    AND NOT EXISTS (
        SELECT
        FROM spantree.{keep} AS kept
        WHERE kept.tenant_id = trace.tenant_id
            AND kept.trace_id = trace.trace_id
    )
    AND NOT EXISTS (
        SELECT
        FROM spantree.span
        WHERE span.tenant_id = trace.tenant_id
            AND span.trace_id = trace.trace_id
            AND span.day = %(day)s::date
    )
    AND NOT EXISTS (
        SELECT
        FROM spantree.log_record AS log
        WHERE log.tenant_id = trace.tenant_id
            AND log.trace_id = trace.trace_id
            AND log.day = %(day)s::date
    )

-- name: old_sentinel_traces
-- Traces on the sentinel's day of which the newest span or log record there came before some time. Served by span_pkey and
-- log_record_pkey, from one on.
SELECT tenant_id, trace_id, max(received_ns) < %(before_ns)s::bigint
FROM (
    (
        SELECT tenant_id, trace_id, max(received_ns) AS received_ns
        FROM spantree.span
        WHERE day = DATE '1970-01-01'
            AND (tenant_id, trace_id) > (%(tenant_id)s::integer, %(trace_id)s::uuid)
        GROUP BY tenant_id, trace_id
        ORDER BY tenant_id, trace_id
        LIMIT %(traces)s
    )
    UNION ALL
    (
        SELECT tenant_id, trace_id, max(received_ns)
        FROM spantree.log_record
        WHERE day = DATE '1970-01-01'
            AND (tenant_id, trace_id) > (%(tenant_id)s::integer, %(trace_id)s::uuid)
        GROUP BY tenant_id, trace_id
        ORDER BY tenant_id, trace_id
        LIMIT %(traces)s
    )
) AS there
GROUP BY tenant_id, trace_id
ORDER BY tenant_id, trace_id
LIMIT %(traces)s

-- name: delete_sentinel_rows
DELETE FROM spantree.{parent}
WHERE day = DATE '1970-01-01'
    AND tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])

-- name: forget_sentinel_day
UPDATE spantree.trace
SET days = array_remove(days, DATE '1970-01-01')
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])

-- name: delete_traces_without_days
DELETE FROM spantree.trace
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
    AND days = '{{}}'

-- name: delete_dead_letters
DELETE FROM spantree.dead_letter AS letter
USING (
    SELECT tenant_id, digest
    FROM spantree.dead_letter
    WHERE last_received_ns < %(before_ns)s::bigint
    ORDER BY tenant_id, digest
    LIMIT %(rows)s
    FOR UPDATE SKIP LOCKED
) AS old
WHERE letter.tenant_id = old.tenant_id
    AND letter.digest = old.digest

-- name: delete_failure_groups
DELETE FROM spantree.failure_group AS failures
USING (
    SELECT tenant_id, fingerprint
    FROM spantree.failure_group
    WHERE last_seen_ns < %(before_ns)s::bigint
    ORDER BY tenant_id, fingerprint
    LIMIT %(rows)s
    FOR UPDATE SKIP LOCKED
) AS old
WHERE failures.tenant_id = old.tenant_id
    AND failures.fingerprint = old.fingerprint

-- name: delete_failure_group_changes
DELETE FROM spantree.failure_group_change AS change
USING (
    SELECT tenant_id, fingerprint, changed_at, id
    FROM spantree.failure_group_change AS of_group
    WHERE changed_at < %(before)s
        AND NOT EXISTS (
            SELECT
            FROM spantree.failure_group
            WHERE failure_group.tenant_id = of_group.tenant_id
                AND failure_group.fingerprint = of_group.fingerprint
        )
    LIMIT %(rows)s
) AS old
WHERE change.tenant_id = old.tenant_id
    AND change.fingerprint = old.fingerprint
    AND change.changed_at = old.changed_at
    AND change.id = old.id

-- name: old_analyses
-- Executions with an analysis from before some day, from one on. Served by analysis_pkey.
SELECT tenant_id, trace_id
FROM spantree.analysis
WHERE day < %(before)s::date
    AND (tenant_id, trace_id) > (%(tenant_id)s::integer, %(trace_id)s::uuid)
ORDER BY tenant_id, trace_id
LIMIT %(rows)s

-- name: known_traces
-- Which of some traces are there still. Served by trace_pkey.
SELECT tenant_id, trace_id
FROM spantree.trace
WHERE tenant_id = ANY (%(tenant_ids)s::integer[])
    AND trace_id = ANY (%(trace_ids)s::uuid[])

-- name: delete_analyses
-- Of executions that are gone. Served by analysis_pkey.
DELETE FROM spantree.analysis
USING unnest(%(tenant_ids)s::integer[], %(trace_ids)s::uuid[]) AS gone (tenant_id, trace_id)
WHERE analysis.tenant_id = gone.tenant_id
    AND analysis.trace_id = gone.trace_id

-- name: delete_resources
-- Of resources that nobody has written for since before the oldest day that is there no span is left.
DELETE FROM spantree.resource
USING (
    SELECT tenant_id, id
    FROM spantree.resource
    WHERE last_seen_day < %(before)s::date
    ORDER BY tenant_id, id
    LIMIT %(rows)s
    FOR UPDATE SKIP LOCKED
) AS old
WHERE resource.tenant_id = old.tenant_id
    AND resource.id = old.id
    AND resource.last_seen_day < %(before)s::date

-- name: delete_operations
DELETE FROM spantree.operation
USING (
    SELECT tenant_id, service, name, kind
    FROM spantree.operation
    WHERE last_day < %(before)s::date
    ORDER BY tenant_id, service, name, kind
    LIMIT %(rows)s
    FOR UPDATE SKIP LOCKED
) AS old
WHERE operation.tenant_id = old.tenant_id
    AND operation.service = old.service
    AND operation.name = old.name
    AND operation.kind = old.kind
    AND operation.last_day < %(before)s::date

-- name: delete_terms
-- Of a day that is dropped. Served by span_terms_pkey.
DELETE FROM spantree.span_terms
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM spantree.span_terms
    WHERE day = %(day)s
    LIMIT %(rows)s
))

-- name: delete_terms_before
-- Of days before all that have partitions, and of the sentinel's what was stored before some day.
DELETE FROM spantree.span_terms
WHERE ctid = ANY (ARRAY(
    SELECT ctid
    FROM spantree.span_terms
    WHERE day < %(before)s::date
        AND (day <> DATE '1970-01-01' OR stored_at < %(before)s::date)
    LIMIT %(rows)s
))

-- name: delete_gaps
DELETE FROM spantree.span_terms_gap
WHERE day < %(before)s::date
    AND day <> DATE '1970-01-01'

-- name: forget_days
-- A dropped day is remembered for as long as anything could still come for it that makes a partition.
DELETE FROM spantree.retention_day
WHERE day < %(before)s::date
    AND state = 'dropped'
