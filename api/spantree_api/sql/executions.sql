-- Executions: one by its trace, and lists, which are composed of parts (listing.py says which). Columns are named, so
-- that `search` is not read. `lost` is decided by rendering.py in answers and by the same rule here in filters.

-- name: execution_of_trace
-- one execution; at most one row, of the days of its trace; served by execution_pkey
SELECT execution.*
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid
    AND day = ANY (%(days)s::date[])
LIMIT 1

-- name: select_executions
-- part: the columns of ExecutionRow
SELECT
    execution.tenant_id, execution.day, execution.trace_id, execution.name, execution.workflow_name, execution.entry,
    execution.kind, execution.status, execution.started_ns, execution.ended_ns, execution.last_seen_ns,
    execution.root_span_id, execution.service, execution.services, execution.run_id, execution.conversation_id,
    execution.user_id, execution.project, execution.input, execution.output, execution.error_summary,
    execution.error_category, execution.error_fingerprint, execution.first_failed_span_id,
    execution.first_failed_ordinal, execution.first_failed_name, execution.first_failed_error_type,
    execution.first_failed_error_message, execution.total_count, execution.completed_count, execution.failed_count,
    execution.retried_count, execution.skipped_count, execution.waiting_count, execution.running_count,
    execution.cancelled_count, execution.timed_out_count, execution.span_count, execution.input_tokens,
    execution.output_tokens, execution.cost_usd, execution.skipped_nodes, execution.resumes, execution.lost_after_s,
    execution.hidden, execution.anomalies, execution.calls

-- name: select_keys
-- part: what executions are read by, what orders them, and what the clock's conditions are held against
SELECT
    execution.day, execution.trace_id, execution.started_ns, execution.ended_ns, execution.last_seen_ns,
    execution.status, execution.anomalies, execution.lost_after_s

-- name: of_keys
-- part: the executions of some days and traces, one by one so that no statistics are needed; served by execution_pkey
FROM unnest(%(days)s::date[], %(trace_ids)s::uuid[]) AS wanted (day, trace_id)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.execution AS of_key
    WHERE of_key.tenant_id = %(tenant_id)s
        AND of_key.day = ANY (%(days)s::date[])
        AND of_key.day = wanted.day
        AND of_key.trace_id = wanted.trace_id
    ORDER BY of_key.tenant_id
) AS execution

-- name: of_newest_days
-- part: executions of the newest days, and of the sentinel's day, whose starts may be any
FROM spantree.execution
WHERE (day BETWEEN %(first_day)s::date AND %(last_day)s::date OR day = DATE '1970-01-01')

-- name: of_days
-- part: executions of the given days
FROM spantree.execution
WHERE day = ANY (%(days)s::date[])

-- name: of_range
-- part: executions of all days from one to another; a planner has less to do for two bounds than for fifty days, which
-- it holds against the conditions of each partial index of each partition
FROM spantree.execution
WHERE day BETWEEN %(first_day)s::date AND %(last_day)s::date

-- name: begins_on_sentinel
-- whether the sentinel's day, of which a list over a range knows nothing, has a start of some; served by
-- execution_started_idx
SELECT day
FROM spantree.execution
WHERE day = DATE '1970-01-01'
    AND tenant_id = %(tenant_id)s
    AND started_ns <= %(to_ns)s::bigint
    AND started_ns + 0 >= %(from_ns)s::bigint
ORDER BY started_ns DESC, trace_id DESC
LIMIT 1

-- name: of_tenant
-- part: of one tenant
    AND tenant_id = %(tenant_id)s

-- name: of_tenant_by_words
-- part: the same for an index that does not know tenants: neither is the tenant a condition of it
    AND tenant_id + 0 = %(tenant_id)s

-- name: in_order
-- part: in a range of starts, for what an index gives by start. The lower bound is no condition of an
-- index: of two bounds a planner without statistics, as it is for a new day, thinks that nothing is left between them,
-- and takes any index. It is one where the range begins within its first day, all of which would be read otherwise, and then
-- sorts are off (database.py).
    AND started_ns <= %(to_ns)s::bigint
    AND CASE
        WHEN %(from_inside)s::boolean
        THEN started_ns >= %(from_ns)s::bigint
        ELSE started_ns + 0 >= %(from_ns)s::bigint
    END

-- name: in_any_order
-- part: the same for what an index gives by something else: no bound is a condition of an index
    AND started_ns + 0 BETWEEN %(from_ns)s::bigint AND %(to_ns)s::bigint

-- name: begin_walk
-- part: what stands below it, up to end_walk, says which executions are walked, newest first
FROM (
    SELECT *

-- name: end_walk
-- part: a bounded number of them; conditions that follow are asked of these rows only
    ORDER BY started_ns DESC, trace_id DESC
    LIMIT %(walked)s
) AS execution
WHERE true

-- name: begin_found
-- part: all that the conditions find by an index, before any order: with LIMIT in sight the planner may prefer to walk
-- executions newest first until enough match, which reads every row where none does
WITH found AS MATERIALIZED (

-- name: end_found
-- part: conditions that follow are asked of what was found, and so planned once and not for each day
)
SELECT *
FROM found AS execution
WHERE true

-- name: newest_first
-- part: in the order of every list
ORDER BY started_ns DESC, trace_id DESC
LIMIT %(limit)s

-- name: select_walked_to
-- part: the start of the oldest execution that was walked
SELECT NULL::text AS name, min(started_ns)::bigint AS count

-- name: select_turns_walked
-- part: how many turns were walked, and the start of the oldest
SELECT min(started_ns)::bigint AS walked_to_ns, count(*) AS turns

-- name: of_turns
-- part: the turns of one conversation, hidden ones among them, in the order of execution_conversation_idx
    AND conversation_id = %(conversation_id)s

-- name: where_before
-- part: after the cursor of the page before, in the order of the list; its start is the upper bound of the starts too
    AND (started_ns, trace_id) < (%(before_ns)s::bigint, %(before_trace_id)s::uuid)

-- name: where_visible
-- part; served by execution_visible_idx
    AND NOT hidden

-- name: where_status
-- part: one status that the clock does not change; served by execution_status_idx
    AND status = %(status)s

-- name: where_statuses
-- part: any of some, lost and open ones told apart by the clock; served by execution_status_idx
    AND status = ANY (%(stored_statuses)s::text[])
    AND CASE
        WHEN status IN ('pending', 'running')
        THEN spantree.effective_status(
            status, anomalies, last_seen_ns, COALESCE(lost_after_s, %(lost_after_s)s::double precision),
            %(now_ns)s::bigint
        )
        ELSE status
    END = ANY (%(statuses)s::text[])

-- name: where_stored_statuses
-- part: those among which where_statuses finds its own; served by execution_status_idx
    AND status = ANY (%(stored_statuses)s::text[])

-- name: where_workflow
-- part; served by execution_workflow_idx
    AND workflow_name = %(workflow)s

-- name: where_workflows
-- part; served by execution_workflow_idx
    AND workflow_name = ANY (%(workflows)s::text[])

-- name: where_service
-- part: a service that took part; served by execution_search_idx
    AND services @> ARRAY[%(service)s::text]

-- name: where_conversation
-- part; served by execution_conversation_idx
    AND conversation_id = %(conversation_id)s

-- name: where_user
-- part; served by execution_user_idx
    AND user_id = %(user_id)s

-- name: where_run
-- part; served by execution_run_idx
    AND run_id = %(run_id)s

-- name: where_project
-- part; served by execution_project_idx
    AND project = %(project)s

-- name: where_kind
-- part; served by execution_kind_idx
    AND kind = %(kind)s

-- name: where_category
-- part; served by execution_category_idx
    AND error_category = %(error_category)s

-- name: where_lasted
-- part: between two durations; one that runs lasts until now, a lost one until its last sign of life; served by
-- execution_duration_idx
    AND (
        ended_ns - started_ns BETWEEN %(min_duration_ns)s::bigint AND %(max_duration_ns)s::bigint
        OR (
            ended_ns - started_ns IS NULL
            -- Whichever of the two it is, and a lost one was seen before now; asked first, for it costs little.
            AND started_ns <= %(now_ns)s::bigint - %(min_duration_ns)s::bigint
            AND LEAST(last_seen_ns, %(now_ns)s::bigint) - GREATEST(started_ns, 0) <= %(max_duration_ns)s::bigint
            AND CASE
                WHEN spantree.effective_status(
                    status, anomalies, last_seen_ns, COALESCE(lost_after_s, %(lost_after_s)s::double precision),
                    %(now_ns)s::bigint
                ) = 'lost'
                THEN last_seen_ns
                ELSE %(now_ns)s::bigint
            END::numeric - started_ns BETWEEN %(min_duration_ns)s::bigint AND %(max_duration_ns)s::bigint
        )
    )

-- name: where_may_have_lasted
-- part: those among which where_lasted finds its own, whichever open ones are lost; served by execution_duration_idx.
-- Each condition is held against each day: few, and none that could overflow.
    AND (
        ended_ns - started_ns BETWEEN %(min_duration_ns)s::bigint AND %(max_duration_ns)s::bigint
        OR (
            ended_ns - started_ns IS NULL
            AND started_ns <= %(now_ns)s::bigint - %(min_duration_ns)s::bigint
            AND LEAST(last_seen_ns, %(now_ns)s::bigint) - GREATEST(started_ns, 0) <= %(max_duration_ns)s::bigint
        )
    )

-- name: where_search
-- part: words and attributes that executions are found by; served by execution_search_idx
    AND search @@ %(search)s::tsquery

-- name: where_text
-- part: text anywhere in names and the error; served by no index, and so for a bounded number of executions only
    AND (
        strpos(lower(name), %(text)s) > 0
        OR strpos(lower(workflow_name), %(text)s) > 0
        OR strpos(lower(entry), %(text)s) > 0
        OR strpos(lower(error_summary), %(text)s) > 0
    )

-- name: where_span_attribute
-- part: an attribute of any of its spans; reads all spans of the execution by span_pkey, and so for a bounded number of
-- executions only
    AND EXISTS (
        SELECT
        FROM spantree.span
        WHERE span.tenant_id = %(tenant_id)s
            AND (span.day BETWEEN %(first_day)s::date AND %(last_day)s::date OR span.day = DATE '1970-01-01')
            AND span.day = execution.day
            AND span.trace_id = execution.trace_id
            AND span.attributes @> ANY (%(attributes)s::jsonb[])
        -- Keeps it a look-up for each execution: a join would read all spans of these days.
        OFFSET 0
    )

-- name: where_failed
-- part; served by execution_failure_idx
    AND status IN ('failed', 'partial', 'timed_out')

-- name: workflow_after
-- of some days, the next name of a workflow after another one; served by execution_workflow_idx
SELECT workflow_name AS name
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
    AND workflow_name > %(after)s
ORDER BY workflow_name
LIMIT 1

-- name: later_of_runs
-- of some days, executions of some runs after a start in each, oldest first; served by execution_run_idx. Run by run, and by
-- nothing but its id: where texts have no statistics some hundred runs look like all that there is, and all is read
SELECT wanted.name, later.started_ns, later.trace_id
FROM unnest(%(names)s::text[], %(waited_ns)s::bigint[]) AS wanted (name, waited_ns)
CROSS JOIN LATERAL (
    SELECT of_run.started_ns, of_run.trace_id
    FROM spantree.execution AS of_run
    WHERE of_run.tenant_id = %(tenant_id)s
        AND of_run.day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND of_run.run_id = wanted.name
        AND of_run.started_ns + 0 > wanted.waited_ns
    ORDER BY of_run.tenant_id
) AS later
ORDER BY later.started_ns, later.trace_id
LIMIT %(limit)s

-- name: later_of_conversations
-- the same of executions that take conversations up again, among so many turns that follow the start; served by
-- execution_conversation_idx
SELECT wanted.name, later.started_ns, later.trace_id
FROM unnest(%(names)s::text[], %(waited_ns)s::bigint[]) AS wanted (name, waited_ns)
CROSS JOIN LATERAL (
    SELECT of_conversation.started_ns, of_conversation.trace_id, of_conversation.resumes
    FROM spantree.execution AS of_conversation
    WHERE of_conversation.tenant_id = %(tenant_id)s
        AND of_conversation.day BETWEEN %(first_day)s::date AND %(last_day)s::date
        AND of_conversation.conversation_id = wanted.name
        AND of_conversation.started_ns > wanted.waited_ns
    ORDER BY of_conversation.started_ns
    LIMIT %(turns)s
) AS later
WHERE later.resumes IS NOT NULL
ORDER BY later.started_ns, later.trace_id
LIMIT %(limit)s

-- name: list_stuck
-- of some days, executions that are open for longer than their threshold, and lost ones, after one that is known; with
-- `news_ns` those that came to be so since, or were heard of since that less their threshold; served by
-- execution_status_idx
SELECT execution.*, stuck.after_s
FROM spantree.execution
CROSS JOIN LATERAL (
    SELECT spantree.stuck_after_s(
        execution.status, execution.anomalies, execution.started_ns, execution.last_seen_ns, execution.lost_after_s,
        %(lost_after_s)s::double precision,
        CASE execution.status
            WHEN 'pending' THEN %(stuck_pending_s)s::double precision
            WHEN 'running' THEN %(stuck_running_s)s::double precision
            ELSE %(stuck_waiting_s)s::double precision
        END,
        %(now_ns)s::bigint
    ) AS after_s
    OFFSET 0
) AS stuck
WHERE tenant_id = %(tenant_id)s
    AND day BETWEEN %(first_day)s::date AND %(last_day)s::date
    AND status IN ('pending', 'running', 'waiting')
    AND (%(hidden)s OR NOT hidden)
    AND stuck.after_s IS NOT NULL
    AND (
        %(news_ns)s::bigint IS NULL
        OR greatest(started_ns, last_seen_ns)::numeric + stuck.after_s::numeric * 1000000000 >= %(news_ns)s::bigint
    )
    AND (started_ns, trace_id) > (%(after_ns)s::bigint, %(after_trace_id)s::uuid)
ORDER BY started_ns, trace_id
LIMIT %(limit)s
