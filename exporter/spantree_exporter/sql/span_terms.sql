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
