-- name: listed
-- Newest first; a cause or all. Served by dead_letter_last_received_idx.
SELECT digest, cause, encoding, count, received_ns, last_received_ns, octet_length(raw)::bigint AS bytes, reason
FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
    AND (%(cause)s::text IS NULL OR cause = %(cause)s)
ORDER BY last_received_ns DESC, digest
LIMIT %(letters)s

-- name: causes
-- How many there are of each cause, and how often they came.
SELECT cause, count(*) AS letters, sum(count)::bigint AS count, sum(octet_length(raw))::bigint AS bytes
FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
GROUP BY cause
ORDER BY cause

-- name: found
-- Those whose digest begins so. Served by dead_letter_pkey.
SELECT digest, cause, encoding, count, received_ns, last_received_ns, octet_length(raw)::bigint AS bytes, reason, raw
FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
    AND digest >= %(first)s::bytea
    AND digest <= %(last)s::bytea
ORDER BY digest
LIMIT 2

-- name: after
-- The next ones in order of the key; a cause or all.
SELECT digest, cause, encoding, count, received_ns, last_received_ns, octet_length(raw)::bigint AS bytes, reason, raw
FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
    AND digest > %(digest)s::bytea
    AND (%(cause)s::text IS NULL OR cause = %(cause)s)
ORDER BY digest
LIMIT %(letters)s

-- name: delete
-- One, unless it came again meanwhile.
DELETE FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
    AND digest = %(digest)s::bytea
    AND last_received_ns = %(last_received_ns)s

-- name: note_reason
-- Why it is still none: this build may say something else than the one that gave it up.
UPDATE spantree.dead_letter
SET reason = %(reason)s, cause = %(cause)s
WHERE tenant_id = %(tenant_id)s
    AND digest = %(digest)s::bytea

-- name: delete_all
-- All of a cause, or all.
DELETE FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
    AND (%(cause)s::text IS NULL OR cause = %(cause)s)
