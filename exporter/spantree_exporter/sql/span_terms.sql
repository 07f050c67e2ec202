-- name: insert_segment
-- What spans of one day that are written together are found by; the two large values as they are, not as text.
INSERT INTO spantree.span_terms (tenant_id, day, last_ns, first_ns, spans, filter, postings)
VALUES (%(tenant_id)s, %(day)s, %(last_ns)s, %(first_ns)s, %(spans)s, %(filter)b, %(postings)b)

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
