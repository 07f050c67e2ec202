-- Names that figures have no row of their own for: spantree_exporter.rollup_names says which, and under what they are counted.

-- name: widths
-- How many keys some hours have of a subject, counted up to a number that is more than any keeps, and whether they gather
-- (rollup_names.py). Served by rollup_pkey.
SELECT held.keys, gathers.any_of_them, gathers.all_of_them
FROM unnest(%(tenant_ids)s::integer[], %(subjects)s::text[], %(hours)s::timestamptz[])
    WITH ORDINALITY AS asked (tenant_id, subject, started_at, position)
CROSS JOIN LATERAL (
    SELECT
        EXISTS (
            SELECT
            FROM spantree.rollup
            WHERE rollup.tenant_id = asked.tenant_id
                AND rollup.subject = asked.subject
                AND rollup.grain_h = 1
                AND rollup.started_at = asked.started_at
                AND rollup.workflow_name = %(other)s
        ) OR EXISTS (
            SELECT
            FROM spantree.rollup
            WHERE rollup.tenant_id = asked.tenant_id
                AND rollup.subject = asked.subject
                AND rollup.grain_h = 1
                AND rollup.started_at = asked.started_at
                AND rollup.workflow_name = ''
                AND rollup.service = ''
                AND rollup.name = %(other)s
        ) AS any_of_them,
        EXISTS (
            SELECT
            FROM spantree.rollup
            WHERE rollup.tenant_id = asked.tenant_id
                AND rollup.subject = asked.subject
                AND rollup.grain_h = 1
                AND rollup.started_at = asked.started_at
                AND rollup.workflow_name = %(other)s
                AND rollup.service = ''
                AND rollup.name = %(other)s
        ) AS all_of_them
) AS gathers
CROSS JOIN LATERAL (
    SELECT count(*) AS keys
    FROM (
        SELECT
        FROM spantree.rollup
        WHERE rollup.tenant_id = asked.tenant_id
            AND rollup.subject = asked.subject
            AND rollup.grain_h = 1
            AND rollup.started_at = asked.started_at
        LIMIT CASE WHEN gathers.all_of_them THEN 0 ELSE %(most)s END
    ) AS counted
) AS held
ORDER BY asked.position

-- name: known_keys
-- Which of some keys of one subject and hour there are, by their places in the lists. Served by rollup_pkey.
SELECT asked.position
FROM unnest(
    %(workflow_names)s::text[], %(services)s::text[], %(names)s::text[], %(kinds)s::text[], %(targets)s::text[],
    %(roles)s::text[], %(hidden)s::boolean[]
) WITH ORDINALITY AS asked (workflow_name, service, name, kind, target, role, hidden, position)
CROSS JOIN LATERAL (
    SELECT
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = %(subject)s
        AND rollup.grain_h = 1
        AND rollup.started_at = %(hour)s
        AND rollup.workflow_name = asked.workflow_name
        AND rollup.service = asked.service
        AND rollup.name = asked.name
        AND rollup.kind = asked.kind
        AND rollup.target = asked.target
        AND rollup.role = asked.role
        AND rollup.hidden = asked.hidden
    LIMIT 1
) AS held

-- name: take_surplus
-- Takes out of intervals of one grain what has too many keys, of these those with least, and puts it into rollup_staging
-- under what it is gathered under (rollup_names.py), each key once: for `fold`. Served by rollup_pkey.
WITH wide AS MATERIALIZED (
    SELECT subject, started_at, CASE WHEN subject IN ('service', 'user', 'call') THEN 2 ELSE 1 END * %(kept)s AS kept
    FROM spantree.rollup
    WHERE tenant_id = %(tenant_id)s
        AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
        AND grain_h = %(grain_h)s
        AND started_at >= %(since)s::timestamptz
        AND started_at < %(until)s::timestamptz
    GROUP BY subject, started_at
    HAVING count(*) > %(kept)s
),
ranked AS MATERIALIZED (
    SELECT
        wide.subject, wide.kept, held.*,
        row_number() OVER (
            PARTITION BY subject, held.started_at, level
            ORDER BY total DESC, workflow_name, service, name, kind, target, role, hidden
        ) AS place
    FROM wide
    CROSS JOIN LATERAL (
        SELECT
            rollup.ctid AS at, rollup.started_at, workflow_name, service, name, kind, target, role, hidden, total,
            CASE WHEN name = %(other)s THEN 2 WHEN workflow_name = %(other)s THEN 1 ELSE 0 END AS level
        FROM spantree.rollup
        WHERE rollup.tenant_id = %(tenant_id)s
            AND rollup.subject = wide.subject
            AND rollup.grain_h = %(grain_h)s
            AND rollup.started_at = wide.started_at
        OFFSET 0
    ) AS held
),
gathered AS MATERIALIZED (
    SELECT ranked.*, workflow_name IN ('', name) AS has_one_name
    FROM ranked
    WHERE (level = 0 AND place > kept)
        OR level = 1
),
once AS (
    SELECT
        subject, started_at, service, name, kind, target, role, hidden,
        row_number() OVER (
            PARTITION BY subject, started_at
            ORDER BY sum(total) DESC, service, name, kind, target, role, hidden
        ) AS place
    FROM gathered
    WHERE NOT has_one_name
    GROUP BY subject, started_at, service, name, kind, target, role, hidden
),
moved AS MATERIALIZED (
    SELECT gathered.at, gathered.subject, gathered.started_at, gathered.role, gathered.hidden, new.*
    FROM gathered
    LEFT JOIN once USING (subject, started_at, service, name, kind, target, role, hidden)
    CROSS JOIN LATERAL (
        SELECT gathered.has_one_name OR once.place > %(kept)s AS is_last
    ) AS to_last
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN gathered.workflow_name = '' THEN '' ELSE %(other)s END AS new_workflow_name,
            CASE WHEN is_last THEN '' ELSE gathered.service END AS new_service,
            CASE WHEN is_last AND gathered.name <> '' THEN %(other)s ELSE gathered.name END AS new_name,
            CASE WHEN is_last AND subject = 'call' THEN %(other)s ELSE gathered.kind END AS new_kind,
            CASE WHEN is_last AND gathered.target <> '' THEN %(other)s ELSE gathered.target END AS new_target
    ) AS new
    WHERE (gathered.workflow_name, gathered.service, gathered.name, gathered.kind, gathered.target)
        <> (new_workflow_name, new_service, new_name, new_kind, new_target)
),
gone AS (
    DELETE FROM spantree.rollup
    USING moved
    WHERE rollup.ctid = moved.at
        AND rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
        AND rollup.grain_h = %(grain_h)s
        AND rollup.started_at >= %(since)s::timestamptz
        AND rollup.started_at < %(until)s::timestamptz
    RETURNING rollup.*, new_workflow_name, new_service, new_name, new_kind, new_target
),
histogram AS (
    SELECT
        subject, started_at, new_workflow_name, new_service, new_name, new_kind, new_target, role, hidden,
        array_agg(bucket ORDER BY bucket) AS buckets, array_agg(held ORDER BY bucket) AS counts
    FROM (
        SELECT
            subject, started_at, new_workflow_name, new_service, new_name, new_kind, new_target, role, hidden,
            each.bucket, sum(each.held)::bigint AS held
        FROM gone
        CROSS JOIN LATERAL unnest((gone.durations).buckets, (gone.durations).counts) AS each (bucket, held)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
        HAVING sum(each.held) <> 0
    ) AS by_bucket
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
),
summed AS (
    SELECT
        subject, started_at, new_workflow_name, new_service, new_name, new_kind, new_target, role, hidden,
        sum(total)::bigint AS total, sum(pending)::bigint AS pending, sum(running)::bigint AS running,
        sum(waiting)::bigint AS waiting, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed,
        sum(retried)::bigint AS retried, sum(skipped)::bigint AS skipped, sum(cancelled)::bigint AS cancelled,
        sum(timed_out)::bigint AS timed_out, sum(partial)::bigint AS partial, sum(ended)::bigint AS ended,
        sum(retried_nodes)::bigint AS retried_nodes, max(last_started_ns) AS last_started_ns,
        max(last_failed_ns) AS last_failed_ns, sum(duration_ns) AS duration_ns, sum(input_tokens) AS input_tokens,
        sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
    FROM gone
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
)
INSERT INTO pg_temp.rollup_staging (
    tenant_id, subject, started_at, workflow_name, service, name, kind, target, role, hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd, buckets, counts
)
SELECT
    %(tenant_id)s, subject, started_at, new_workflow_name, new_service, new_name, new_kind, new_target, role, hidden,
    total, pending, running, waiting, completed, failed, retried, skipped, cancelled, timed_out, partial, ended,
    retried_nodes, last_started_ns, last_failed_ns, duration_ns, input_tokens, output_tokens, cost_usd,
    coalesce(buckets, '{}'), coalesce(counts, '{}')
FROM summed
LEFT JOIN histogram
    USING (subject, started_at, new_workflow_name, new_service, new_name, new_kind, new_target, role, hidden)
