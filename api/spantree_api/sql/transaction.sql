-- The bounds of what one request reads.

-- name: set_up
-- for the session, and by a statement: poolers (PgBouncer) refuse a connection that asks for these by `options`. Plans are
-- made for the values of their parameters, because only then does PostgreSQL leave out, while it plans, the partitions
-- that a statement does not name; and never compiled, which costs more than it saves here. No constraint but a
-- partition's bounds is held against conditions: none ever leaves out more, and looking was a sixth of the time to plan
-- for sixty days
SELECT
    set_config('statement_timeout', %(statement_timeout_ms)s::text, false),
    set_config('TimeZone', 'UTC', false),
    set_config('plan_cache_mode', 'force_custom_plan', false),
    set_config('jit', 'off', false),
    set_config('constraint_exclusion', 'off', false)

-- name: begin
-- before anything else, in one round trip with what is asked first
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: begin_writing
-- the same for the few requests that change something
BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE

-- name: name_tenant
-- whose rows this transaction reads, for the policies: the role spantree_reader sees those, and without it none
SELECT set_config('spantree.tenant', %(tenant_id)s::text, true)

-- name: commit
-- gives up the locks that reading took
COMMIT

-- name: days_of_trace
-- the partitions that the rows of a trace are in; served by trace_pkey
SELECT days
FROM spantree.trace
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid

-- name: days_of_traces
-- every day that any of some traces has rows on, ascending; served by trace_pkey
SELECT DISTINCT unnest(days) AS day
FROM spantree.trace
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
ORDER BY day

-- name: partition_days
-- the days up to one that have a partition of executions, newest first; reads the catalog only. CASE, because the
-- planner may look at the names of all relations before it knows which are partitions (PostgreSQL 15 does).
SELECT day
FROM (
    SELECT CASE
        WHEN partition.relname ~ '^execution_[0-9]{8}$' THEN to_date(right(partition.relname, 8), 'YYYYMMDD')
    END AS day
    FROM pg_inherits
    JOIN pg_class AS partition ON partition.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = 'spantree.execution'::regclass
) AS partitions
WHERE day BETWEEN %(first_day)s::date AND %(last_day)s::date
ORDER BY day DESC

-- name: is_citus
-- whether the database has Citus, asked once a connection
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')

-- name: is_worker
-- of Citus: whether it is a node without the queues and figures, asked once a connection
SELECT groupid <> 0
FROM pg_dist_local_group

-- name: push_limits
-- within the transaction, for Citus: whether limits of subqueries are asked of every shard
SELECT set_config('citus.subquery_pushdown', %(pushed)s::text, true)

-- name: allow_sort
-- within the transaction: whether rows may be sorted where an index gives them in order
SELECT set_config('enable_sort', %(allowed)s::text, true)
