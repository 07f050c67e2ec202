-- name: settings
-- For the session. A statement that waits longer than this is given up and tried again, so that a locked table or a
-- stuck server is seen; synchronous_commit because a commit that returned must survive a crash.
SELECT
    set_config('statement_timeout', %(statement_timeout)s, false),
    set_config('lock_timeout', %(lock_timeout)s, false),
    set_config('idle_in_transaction_session_timeout', %(statement_timeout)s, false),
    set_config('synchronous_commit', 'on', false),
    set_config('client_min_messages', 'warning', false)
