-- name: insert_segments
-- What spans of one day that are written together are found by; the large value as it is, not as text, and arrays as the
-- text of each, for unnest knows no arrays of arrays.
INSERT INTO spantree.span_terms (
    tenant_id, day, last_ns, first_ns, spans, traces, resources, resource_ends, octave_ends, entry_fences, list_fences, lists
)
SELECT
    tenant_id, day, last_ns, first_ns, spans, traces, resources::bigint[], resource_ends::integer[], octave_ends::integer[],
    entry_fences::integer[], list_fences::integer[], lists
FROM unnest(
    %(tenant_ids)s::integer[], %(days)s::date[], %(last_ns)s::bigint[], %(first_ns)s::bigint[], %(spans)s::integer[],
    %(traces)s::integer[], %(resources)s::text[], %(resource_ends)s::text[], %(octave_ends)s::text[],
    %(entry_fences)s::text[], %(list_fences)s::text[], %(lists)b::bytea[]
) AS sent (
    tenant_id, day, last_ns, first_ns, spans, traces, resources, resource_ends, octave_ends, entry_fences, list_fences, lists
)

-- name: is_gap
-- Whether spans of a day may not be found by their terms. Served by span_terms_gap_pkey.
SELECT EXISTS (
    SELECT
    FROM spantree.span_terms_gap
    WHERE tenant_id = %(tenant_id)s
        AND day = %(day)s
)

-- name: delete_gap
DELETE FROM spantree.span_terms_gap
WHERE tenant_id = %(tenant_id)s
    AND day = %(day)s

-- name: try_merge
-- One merges at a time, until the transaction ends. 'span' in hex, as for partitions.
SELECT pg_try_advisory_xact_lock(1936744814, 5)

-- name: levels_to_merge
-- Of which tenants and days, and between which sizes, there are so many small rows: any of them, so that those whose rows do
-- not fit together keep no others waiting. The day of spans without one of their own is left out: its rows go by when they
-- were stored. Served by span_terms_small_idx, whose rows are few where merging keeps up.
SELECT tenant_id, day, level.least, level.below
FROM spantree.span_terms
JOIN unnest(%(least)s::integer[], %(below)s::integer[], %(rows)s::integer[]) AS level (least, below, rows)
    ON span_terms.spans >= level.least AND span_terms.spans < level.below
WHERE spans < 32768
    AND traces IS NOT NULL
    AND day <> DATE '1970-01-01'
GROUP BY tenant_id, day, level.least, level.below, level.rows
HAVING count(*) >= level.rows
ORDER BY random()
LIMIT %(limit)s

-- name: segments_to_merge
-- Small rows of one size, the earliest first, without what is in them. Served by span_terms_small_idx.
SELECT last_ns, id, spans, octet_length(lists) AS bytes, resources
FROM spantree.span_terms
WHERE tenant_id = %(tenant_id)s
    AND day = %(day)s
    AND spans >= %(least)s
    AND spans < %(below)s
    AND spans < 32768
    AND traces IS NOT NULL
    AND day <> DATE '1970-01-01'
ORDER BY last_ns, id
LIMIT %(limit)s

-- name: take_segments
-- The rows that are merged, as far as they are there. Served by span_terms_pkey.
DELETE FROM spantree.span_terms
WHERE tenant_id = %(tenant_id)s
    AND day = %(day)s
    AND last_ns = ANY (%(last_ns)s::bigint[])
    AND id = ANY (%(ids)s::uuid[])
RETURNING
    spans, traces, first_ns, last_ns, resources, resource_ends, octave_ends, entry_fences, list_fences, lists,
    part_ends, part_first_ns, part_last_ns

-- name: insert_merged
INSERT INTO spantree.span_terms (
    tenant_id, day, spans, traces, first_ns, last_ns, resources, resource_ends, octave_ends, entry_fences, list_fences,
    lists, part_ends, part_first_ns, part_last_ns
)
VALUES (
    %(tenant_id)s, %(day)s, %(spans)s, %(traces)s, %(first_ns)s, %(last_ns)s, %(resources)s::bigint[],
    %(resource_ends)s::integer[], %(octave_ends)s::integer[], %(entry_fences)s::integer[], %(list_fences)s::integer[],
    %(lists)b::bytea, %(part_ends)s::integer[], %(part_first_ns)s::bigint[], %(part_last_ns)s::bigint[]
)
