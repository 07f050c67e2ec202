-- Who reads all rows of something on some days, and writes what follows from them, holds these days: retention takes none of
-- them off meanwhile. One that it is taking off has rows that nobody sees until what stays of it is there again.

-- name: hold_days
-- For the session: until advisory locks are released. 'span' in hex, as for claims.
SELECT pg_advisory_lock_shared(1936744818, day - DATE '1970-01-01')
FROM unnest(%(days)s::date[]) AS held (day)

-- name: hold_days_of_transaction
SELECT pg_advisory_xact_lock_shared(1936744818, day - DATE '1970-01-01')
FROM unnest(%(days)s::date[]) AS held (day)

-- name: take_day
-- Waits for those that hold the day; for the transaction.
SELECT pg_advisory_xact_lock(1936744818, %(day)s::date - DATE '1970-01-01')

-- name: hidden_days
-- Which of the days that the caller holds are taken off, or about to be. Served by retention_day_pkey.
SELECT day
FROM spantree.retention_day
WHERE day = ANY (%(days)s::date[])
    AND state = 'retiring'

-- name: lock_rewriting
-- One process at a time writes stored spans of a tenant anew: whoever reads one sees what the other has made of it.
SELECT pg_advisory_xact_lock(1936744819, %(tenant_id)s::integer)
