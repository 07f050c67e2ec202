-- Where the time, the tokens and the failures of one execution are: its nodes by name. The days are those that the trace has
-- rows on. All of an execution of 20,000 nodes takes some 200 ms.

-- name: step_sums
-- nodes by name, kind and service, those first that `sort` says; `all_names` and `all_self_ns` are of all of them; served by
-- node_sequence_idx
SELECT
    name,
    kind,
    service,
    count(*) AS count,
    count(*) FILTER (WHERE status = 'completed') AS completed,
    count(*) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed,
    count(*) FILTER (WHERE status = 'retried') AS retried,
    count(*) FILTER (WHERE status = 'skipped') AS skipped,
    count(*) FILTER (WHERE status IN ('pending', 'running', 'waiting')) AS open,
    COALESCE(sum(ended_ns - started_ns), 0)::bigint AS total_ns,
    COALESCE(sum(self_ns), 0)::bigint AS self_ns,
    (avg(ended_ns - started_ns) FILTER (WHERE status <> 'skipped'))::double precision AS avg_ns,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY ended_ns - started_ns) FILTER (WHERE status <> 'skipped') AS p50_ns,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY ended_ns - started_ns) FILTER (WHERE status <> 'skipped') AS p95_ns,
    max(ended_ns - started_ns) AS max_ns,
    max(ARRAY[COALESCE(ended_ns - started_ns, -1), -sequence, span_id, ordinal]) AS slowest,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(cost_usd) AS cost_usd,
    count(*) OVER () AS all_names,
    COALESCE(sum(sum(self_ns)) OVER (), 0)::bigint AS all_self_ns
FROM spantree.node
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
    AND sequence > 0
GROUP BY name, kind, service
ORDER BY
    CASE %(sort)s::text
        WHEN 'total' THEN sum(ended_ns - started_ns)::double precision
        WHEN 'count' THEN count(*)::double precision
        WHEN 'failed' THEN (count(*) FILTER (WHERE status IN ('failed', 'timed_out')))::double precision
        WHEN 'tokens' THEN (COALESCE(sum(input_tokens), 0) + COALESCE(sum(output_tokens), 0))::double precision
        WHEN 'cost' THEN sum(cost_usd)
        WHEN 'max' THEN max(ended_ns - started_ns)::double precision
        ELSE sum(self_ns)::double precision
    END DESC NULLS LAST,
    sum(self_ns) DESC NULLS LAST,
    min(sequence)
LIMIT %(limit)s::bigint

-- name: model_sums
-- calls of each model; what sums up calls that the execution has as well is left out, as spantree.is_told_by_calls says of figures;
-- served by node_sequence_idx
SELECT
    model,
    count(*) AS calls,
    count(*) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed,
    count(*) FILTER (WHERE status = 'retried') AS retried,
    COALESCE(sum(ended_ns - started_ns), 0)::bigint AS total_ns,
    percentile_disc(0.95) WITHIN GROUP (ORDER BY ended_ns - started_ns) AS p95_ns,
    sum(input_tokens)::bigint AS input_tokens,
    sum(output_tokens)::bigint AS output_tokens,
    sum(cost_usd) AS cost_usd
FROM (
    SELECT
        node.*,
        spantree.sums_up_calls(kind) AS sums_up,
        bool_or(NOT spantree.sums_up_calls(kind)) OVER () AS has_calls
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND trace_id = %(trace_id)s::uuid
        AND day = ANY (%(days)s::date[])
        AND sequence > 0
        AND model IS NOT NULL
        AND NOT 'model_told_elsewhere' = ANY (anomalies)
) AS told
WHERE NOT (sums_up AND has_calls)
GROUP BY model
ORDER BY sum(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0)) DESC, count(*) DESC, model
LIMIT %(limit)s::bigint

-- name: repeated_calls
-- one step that called the same again and again, each call after the one before: queries of one text but for its values,
-- requests of one name. What a retry tried again is none; served by node_sequence_idx
SELECT
    'repeated_calls' AS finding,
    found.name, found.kind, found.service, found.count, found.total_ns, found.first, found.parent_span_id, found.parent_ordinal,
    parent.name AS parent_name, found.text, NULL::bigint AS outputs
FROM (
    SELECT
        parent_span_id,
        parent_ordinal,
        name,
        kind,
        service,
        min(input) AS text,
        count(*) AS count,
        sum(ended_ns - started_ns)::bigint AS total_ns,
        min(ARRAY[started_ns, sequence, span_id, ordinal]) AS first
    FROM (
        SELECT
            call.*,
            started_ns >= lag(ended_ns) OVER (
                PARTITION BY parent_span_id, parent_ordinal, name, kind, service, shape ORDER BY started_ns, sequence
            ) AS comes_after
        FROM (
            SELECT
                node.*,
                CASE WHEN kind = 'db' THEN regexp_replace(COALESCE(input, ''), '''[^'']*''|[0-9]+', '?', 'g') END AS shape
            FROM spantree.node
            WHERE tenant_id = %(tenant_id)s
                AND trace_id = %(trace_id)s::uuid
                AND day = ANY (%(days)s::date[])
                AND sequence > 0
                AND kind IN ('db', 'http_client', 'rpc')
                AND parent_span_id IS NOT NULL
                AND ended_ns IS NOT NULL
                AND status <> 'retried'
                AND attempt = 1
        ) AS call
    ) AS ordered
    GROUP BY parent_span_id, parent_ordinal, name, kind, service, shape
    HAVING count(*) FILTER (WHERE comes_after) >= %(least_calls)s::bigint - 1
        AND sum(ended_ns - started_ns) >= %(least_ns)s::bigint
    ORDER BY sum(ended_ns - started_ns) DESC
    LIMIT %(limit)s::bigint
) AS found
LEFT JOIN LATERAL (
    SELECT step.name
    FROM spantree.node AS step
    WHERE step.tenant_id = %(tenant_id)s
        AND step.trace_id = %(trace_id)s::uuid
        AND step.day = ANY (%(days)s::date[])
        AND step.span_id = found.parent_span_id
        AND step.ordinal = found.parent_ordinal
    LIMIT 1
) AS parent ON true
ORDER BY found.total_ns DESC, found.first

-- name: agent_loops
-- tools and models that were asked the same again, and not each time answered something else: an agent that is stuck. Inputs
-- that are cut may differ where that is not seen, and empty ones say nothing; served by node_sequence_idx
SELECT
    'agent_loop' AS finding,
    name,
    kind,
    min(service) AS service,
    count(*) AS count,
    sum(ended_ns - started_ns)::bigint AS total_ns,
    min(ARRAY[started_ns, sequence, span_id, ordinal]) AS first,
    NULL::bigint AS parent_span_id,
    NULL::integer AS parent_ordinal,
    NULL::text AS parent_name,
    input AS text,
    count(DISTINCT output) AS outputs
FROM (
    SELECT
        node.*,
        started_ns >= lag(ended_ns) OVER (PARTITION BY name, kind, input ORDER BY started_ns, sequence) AS comes_after
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND trace_id = %(trace_id)s::uuid
        AND day = ANY (%(days)s::date[])
        AND sequence > 0
        AND kind IN ('tool', 'llm', 'retriever', 'agent')
        AND ended_ns IS NOT NULL
        AND status NOT IN ('retried', 'skipped')
        AND attempt = 1
        AND length(input) < %(preview_chars)s::integer
        AND input !~ '^[\s"{}\[\]]*$'
        AND input <> 'null'
) AS call
GROUP BY name, kind, input
HAVING count(*) FILTER (WHERE comes_after) >= %(least_calls)s::bigint - 1
    AND count(DISTINCT output) < count(*)
ORDER BY count(*) DESC, sum(ended_ns - started_ns) DESC, name
LIMIT %(limit)s::bigint

-- name: ways_by_name
-- how often a node of one name led to one of another, or is above it (`child`); the most used; served by node_sequence_idx
WITH step AS MATERIALIZED (
    SELECT span_id, ordinal, parent_span_id, parent_ordinal, name
    FROM spantree.node
    WHERE tenant_id = %(tenant_id)s
        AND trace_id = %(trace_id)s::uuid
        AND day = ANY (%(days)s::date[])
        AND sequence > 0
),
way AS (
    SELECT from_span_id, from_ordinal, to_span_id, to_ordinal, type
    FROM spantree.edge
    WHERE tenant_id = %(tenant_id)s
        AND trace_id = %(trace_id)s::uuid
        AND day = ANY (%(days)s::date[])
        AND from_trace_id IS NULL
    UNION ALL
    SELECT parent_span_id, parent_ordinal, span_id, ordinal, 'child'
    FROM step
    WHERE parent_span_id IS NOT NULL
)
SELECT earlier.name AS from_name, later.name AS to_name, way.type, count(*) AS count
FROM way
JOIN step AS earlier ON earlier.span_id = way.from_span_id AND earlier.ordinal = way.from_ordinal
JOIN step AS later ON later.span_id = way.to_span_id AND later.ordinal = way.to_ordinal
GROUP BY earlier.name, later.name, way.type
ORDER BY count(*) DESC, earlier.name, later.name, way.type
LIMIT %(limit)s::bigint
