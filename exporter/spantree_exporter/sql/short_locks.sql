-- name: limit_of_transaction
-- For this transaction only.
SELECT set_config('lock_timeout', '2s', true)

-- name: limit_of_session
-- For statements that PostgreSQL runs outside of transactions only.
SELECT set_config('lock_timeout', '2s', false)

-- name: no_limit_of_session
RESET lock_timeout
