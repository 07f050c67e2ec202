-- name: create_job
-- one row a job; `job` is all of it as JSON, the columns beside it are what is asked by
CREATE TABLE IF NOT EXISTS job (
    key TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    is_over INTEGER NOT NULL,
    due_s REAL NOT NULL,
    job TEXT NOT NULL
) STRICT, WITHOUT ROWID

-- name: create_job_due_idx
-- serves due_jobs
CREATE INDEX IF NOT EXISTS job_due_idx ON job (due_s) WHERE is_over = 0

-- name: create_result
-- the result of a job's latest attempt
CREATE TABLE IF NOT EXISTS result (
    key TEXT NOT NULL PRIMARY KEY,
    format TEXT NOT NULL,
    content TEXT NOT NULL,
    rows INTEGER,
    size_bytes INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    is_cut INTEGER NOT NULL
) STRICT

-- name: create_activity
-- looks by five minutes and outcome: ok, or the class of the error
CREATE TABLE IF NOT EXISTS activity (
    bucket_s INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    looks INTEGER NOT NULL,
    PRIMARY KEY (bucket_s, outcome)
) STRICT, WITHOUT ROWID

-- name: create_beat
-- one row: when the watcher was last seen to be alive
CREATE TABLE IF NOT EXISTS beat (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    at_s REAL NOT NULL
) STRICT

-- name: put_job
INSERT INTO job (key, state, is_over, due_s, job)
VALUES (:key, :state, :is_over, :due_s, :job)
ON CONFLICT (key) DO UPDATE SET state = excluded.state, is_over = excluded.is_over, due_s = excluded.due_s, job = excluded.job

-- name: job
SELECT job FROM job WHERE key = :key

-- name: due_jobs
SELECT key FROM job WHERE is_over = 0 AND due_s <= :now_s ORDER BY due_s LIMIT :limit

-- name: open_jobs
SELECT job FROM job WHERE is_over = 0 ORDER BY key

-- name: jobs_over
-- jobs that ended after some time
SELECT job FROM job WHERE is_over = 1 AND due_s >= :since_s ORDER BY key

-- name: jobs
-- the jobs of some states, by key, a page at a time
SELECT job FROM job WHERE (:state IS NULL OR state = :state) AND key > :after ORDER BY key LIMIT :limit

-- name: count_by_state
SELECT state, is_over, count(*) FROM job GROUP BY state, is_over

-- name: forget_over
-- jobs that ended before some time, and their results
DELETE FROM job WHERE is_over = 1 AND due_s < :before_s

-- name: forget_results
DELETE FROM result WHERE NOT EXISTS (SELECT 1 FROM job WHERE job.key = result.key)

-- name: put_result
INSERT OR REPLACE INTO result (key, format, content, rows, size_bytes, duration_s, is_cut)
VALUES (:key, :format, :content, :rows, :size_bytes, :duration_s, :is_cut)

-- name: result
SELECT format, content, rows, size_bytes, duration_s, is_cut FROM result WHERE key = :key

-- name: count_look
INSERT INTO activity (bucket_s, outcome, looks) VALUES (:bucket_s, :outcome, 1)
ON CONFLICT (bucket_s, outcome) DO UPDATE SET looks = looks + 1

-- name: forget_activity
DELETE FROM activity WHERE bucket_s < :before_s

-- name: looks_since
SELECT outcome, sum(looks) FROM activity WHERE bucket_s >= :since_s GROUP BY outcome

-- name: put_beat
INSERT OR REPLACE INTO beat (one, at_s) VALUES (1, :at_s)

-- name: beat
SELECT at_s FROM beat
