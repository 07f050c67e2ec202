-- name: insert_changes
INSERT INTO spantree.change (tenant_id, events, changed)
SELECT tenant_id, events, changed
FROM unnest(%(tenant_ids)s::integer[], %(events)s::integer[], %(changed)b::bytea[]) AS sent (tenant_id, events, changed)

-- name: prune_changes
-- Those of more than a day ago, some at a time. Served by change_pkey. Numbers that nobody has given are counted as
-- given: a listener that comes back then sees that it has missed something.
WITH dropped AS (
    DELETE FROM spantree.change
    WHERE tenant_id = %(tenant_id)s
        AND (changed_at, id) IN (
            SELECT changed_at, id
            FROM spantree.change
            WHERE tenant_id = %(tenant_id)s
                AND changed_at < clock_timestamp() - make_interval(secs => %(kept_s)s)
            ORDER BY changed_at, id
            LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
        )
    RETURNING events, position
),
unnumbered AS (
    INSERT INTO spantree.change_counter AS counter (tenant_id, position)
    SELECT %(tenant_id)s, sum(events)
    FROM dropped
    WHERE position IS NULL
    HAVING count(*) > 0
    ON CONFLICT ON CONSTRAINT change_counter_pkey
    DO UPDATE SET position = counter.position + EXCLUDED.position
)
SELECT count(*)
FROM dropped
