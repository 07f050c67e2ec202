-- name: take_turn
-- Whether it is due; then it is not for so long, should whoever took it die over it. What is due later than any turn says
-- was noted by a clock that was ahead. Served by upkeep_pkey.
UPDATE spantree.upkeep
SET due_at = clock_timestamp() + make_interval(secs => %(retry_s)s)
WHERE work = %(work)s
    AND (due_at <= clock_timestamp() OR due_at > clock_timestamp() + make_interval(secs => %(longest_s)s))
RETURNING work

-- name: end_turn
UPDATE spantree.upkeep
SET due_at = clock_timestamp() + make_interval(secs => %(rest_s)s)
WHERE work = %(work)s
