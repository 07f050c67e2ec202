-- What projections changed, for streams and alerts: numbered here, once it can be read, then followed by its numbers.

-- name: change_state
-- the newest number, and whether changes wait to be numbered; served by change_counter_pkey and change_unnumbered_idx
SELECT
    coalesce((SELECT position FROM spantree.change_counter WHERE tenant_id = %(tenant_id)s), 0) AS position,
    EXISTS (SELECT FROM spantree.change WHERE tenant_id = %(tenant_id)s AND position IS NULL) AS waiting

-- name: try_number
-- one at a time numbers, until its transaction ends; 'span' in hex, as for partitions
SELECT pg_try_advisory_xact_lock(1936744816, %(tenant_id)s::integer) AS mine

-- name: number_changes
-- gives numbers to what has none, in order of its writing; the numbers of a later transaction are larger, and so are
-- seen later. Two changes of one trace are never at work at the same time, so they keep their order. Served by
-- change_unnumbered_idx
WITH waiting AS MATERIALIZED (
    SELECT changed_at, id, sum(events) OVER (ORDER BY changed_at, id) AS up_to
    FROM (
        SELECT changed_at, id, events
        FROM spantree.change
        WHERE tenant_id = %(tenant_id)s
            AND position IS NULL
        ORDER BY changed_at, id
        LIMIT %(limit)s
        FOR UPDATE
    ) AS next
),
counted AS (
    INSERT INTO spantree.change_counter AS counter (tenant_id, position)
    SELECT %(tenant_id)s, max(up_to)
    FROM waiting
    HAVING count(*) > 0
    ON CONFLICT ON CONSTRAINT change_counter_pkey
    DO UPDATE SET position = counter.position + EXCLUDED.position
    RETURNING position
)
UPDATE spantree.change AS numbered
SET position = counted.position - (SELECT max(up_to) FROM waiting) + waiting.up_to
FROM waiting
CROSS JOIN counted
WHERE numbered.tenant_id = %(tenant_id)s
    AND numbered.changed_at = waiting.changed_at
    AND numbered.id = waiting.id
RETURNING numbered.position

-- name: changes_after
-- what was numbered after a position, in order, up to so many bytes; one row more than these tells that there is more.
-- Served by change_position_idx
SELECT position, events, changed
FROM (
    SELECT position, events, changed, sum(octet_length(changed)) OVER (ORDER BY position) AS bytes
    FROM (
        SELECT position, events, changed
        FROM spantree.change
        WHERE tenant_id = %(tenant_id)s
            AND position > %(after)s
        ORDER BY position
        LIMIT %(rows)s
    ) AS next
) AS measured
WHERE bytes - octet_length(changed) <= %(bytes)s
ORDER BY position

-- name: changes_without_number
-- what this snapshot sees beyond the numbered; served by change_unnumbered_idx
SELECT 0::bigint AS position, events, changed
FROM spantree.change
WHERE tenant_id = %(tenant_id)s
    AND position IS NULL
ORDER BY changed_at, id
LIMIT %(rows)s

-- name: first_change
-- the oldest change that is kept, numbered or not; served by change_position_idx
SELECT position - events + 1 AS position
FROM spantree.change
WHERE tenant_id = %(tenant_id)s
    AND position IS NOT NULL
ORDER BY position
LIMIT 1

-- name: changed_executions
-- some executions by their traces, trace by trace so that no statistics are needed; served by execution_pkey
SELECT execution.*
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.execution AS of_trace
    WHERE of_trace.tenant_id = %(tenant_id)s
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
    ORDER BY of_trace.tenant_id
) AS execution

-- name: changed_nodes
-- some nodes by their keys; served by node_pkey
SELECT node.*
FROM unnest(%(trace_ids)s::uuid[], %(span_ids)s::bigint[], %(ordinals)s::integer[])
    AS wanted (trace_id, span_id, ordinal)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.node AS of_key
    WHERE of_key.tenant_id = %(tenant_id)s
        AND of_key.day = ANY (%(days)s::date[])
        AND of_key.trace_id = wanted.trace_id
        AND of_key.span_id = wanted.span_id
        AND of_key.ordinal = wanted.ordinal
    ORDER BY of_key.tenant_id
) AS node

-- name: new_nodes
-- the nodes of some executions, each in its order; served by node_sequence_idx
SELECT node.*
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.node AS of_trace
    WHERE of_trace.tenant_id = %(tenant_id)s
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
    ORDER BY of_trace.sequence
    LIMIT %(limit)s
) AS node
LIMIT %(limit)s::bigint * cardinality(%(trace_ids)s::uuid[])

-- name: changed_matching_words
-- which of some executions a search finds by its index; served by execution_pkey
SELECT execution.trace_id
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.execution AS of_trace
    WHERE of_trace.tenant_id = %(tenant_id)s
        AND of_trace.day = ANY (%(days)s::date[])
        AND of_trace.trace_id = wanted.trace_id
    ORDER BY of_trace.tenant_id
) AS execution
WHERE execution.search @@ %(search)s::tsquery
    OR strpos(lower(execution.name), %(text)s) > 0
    OR strpos(lower(execution.workflow_name), %(text)s) > 0
    OR strpos(lower(execution.entry), %(text)s) > 0
    OR strpos(lower(execution.error_summary), %(text)s) > 0

-- name: changed_matching_attribute
-- which of some executions have a span with an attribute; served by span_pkey
SELECT wanted.trace_id
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT span.span_id
    FROM spantree.span
    WHERE span.tenant_id = %(tenant_id)s
        AND span.day = ANY (%(days)s::date[])
        AND span.trace_id = wanted.trace_id
        AND span.attributes @> ANY (%(attributes)s::jsonb[])
    LIMIT 1
) AS one
LIMIT cardinality(%(trace_ids)s::uuid[])
