-- name: insert_segments
-- What spans of one day that are written together are found by; the two large values as they are, not as text.
INSERT INTO spantree.span_terms (tenant_id, day, last_ns, first_ns, spans, filter, postings)
SELECT tenant_id, day, last_ns, first_ns, spans, filter, postings
FROM unnest(
    %(tenant_ids)s::integer[], %(days)s::date[], %(last_ns)s::bigint[], %(first_ns)s::bigint[], %(spans)s::integer[],
    %(filters)b::bytea[], %(postings)b::bytea[]
) AS sent (tenant_id, day, last_ns, first_ns, spans, filter, postings)

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
