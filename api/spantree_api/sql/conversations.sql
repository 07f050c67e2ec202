-- Conversations, newest turn first. Conditions of all: one tenant, days that are named, no hidden executions.

-- name: newest_turns
-- the newest executions before a place, of a conversation or not; served by execution_visible_idx
SELECT conversation_id, started_ns, trace_id
FROM spantree.execution
WHERE tenant_id = %(tenant_id)s
    AND day = ANY (%(days)s::date[])
    AND NOT hidden
    AND started_ns >= %(from_ns)s::bigint
    AND started_ns <= %(to_ns)s::bigint
    AND (started_ns, trace_id) < (%(before_ns)s::bigint, %(before_trace_id)s::uuid)
ORDER BY started_ns DESC, trace_id DESC
LIMIT %(walked)s

-- name: conversations_with_later_turns
-- which of some conversations have a turn at a place or after it: a page before has told them; served by
-- execution_conversation_idx. On a Citus cluster each once a shard, and only below a limit, which cuts nothing.
SELECT asked.conversation_id AS name, 1::bigint AS count
FROM unnest(%(conversation_ids)s::text[]) AS asked (conversation_id)
CROSS JOIN LATERAL (
    SELECT execution.trace_id
    FROM spantree.execution
    WHERE execution.tenant_id = %(tenant_id)s
        AND execution.conversation_id = asked.conversation_id
        AND execution.day = ANY (%(days)s::date[])
        AND NOT execution.hidden
        AND execution.started_ns >= %(before_ns)s::bigint
        AND (execution.started_ns, execution.trace_id) >= (%(before_ns)s::bigint, %(before_trace_id)s::uuid)
    LIMIT 1
) AS later
LIMIT 2147483647

-- name: conversation_sums
-- the newest turns of some conversations, summed up; served by execution_conversation_idx. The turns are numbered once
-- they are together: each shard of a Citus cluster gives the newest that it has.
WITH turn AS MATERIALIZED (
    SELECT asked.conversation_id, turn.*
    FROM unnest(%(conversation_ids)s::text[]) AS asked (conversation_id)
    CROSS JOIN LATERAL (
        SELECT
            execution.user_id, execution.started_ns, execution.trace_id, execution.last_seen_ns, execution.input,
            execution.input_tokens, execution.output_tokens, execution.cost_usd,
            spantree.effective_status(
                execution.status, execution.anomalies, execution.last_seen_ns,
                COALESCE(execution.lost_after_s, %(lost_after_s)s::double precision), %(now_ns)s::bigint
            ) AS status
        FROM spantree.execution
        WHERE execution.tenant_id = %(tenant_id)s
            AND execution.conversation_id = asked.conversation_id
            AND execution.day = ANY (%(days)s::date[])
            AND NOT execution.hidden
        ORDER BY execution.started_ns DESC
        LIMIT %(turns)s
    ) AS turn
    -- Cuts nothing: Citus pushes a limit down only below another.
    LIMIT 2147483647
)
SELECT
    turn.conversation_id,
    (array_agg(turn.user_id ORDER BY turn.started_ns DESC) FILTER (WHERE turn.user_id IS NOT NULL))[1] AS user_id,
    count(*) AS turns,
    count(*) FILTER (WHERE turn.status IN ('failed', 'partial', 'timed_out')) AS failed_turns,
    (array_agg(turn.status ORDER BY turn.started_ns DESC, turn.trace_id DESC))[1] AS last_status,
    min(turn.started_ns) AS started_ns,
    max(turn.started_ns) AS last_started_ns,
    max(turn.last_seen_ns) AS last_seen_ns,
    (array_agg(turn.input ORDER BY turn.started_ns, turn.trace_id) FILTER (WHERE turn.input IS NOT NULL))[1] AS first_input,
    sum(turn.input_tokens)::bigint AS input_tokens,
    sum(turn.output_tokens)::bigint AS output_tokens,
    sum(turn.cost_usd) AS cost_usd
FROM (
    SELECT *, row_number() OVER (PARTITION BY conversation_id ORDER BY started_ns DESC) AS number_of
    FROM turn
) AS turn
WHERE turn.number_of <= %(turns)s
GROUP BY turn.conversation_id
ORDER BY array_position(%(conversation_ids)s::text[], turn.conversation_id)

-- name: nodes_asked
-- of some turns the node that has what was asked: the one whose beginning the execution tells, the outermost of them; of a
-- turn that tells nothing the outermost agent or call of a model, the first one asked; served by node_sequence_idx
SELECT asked.*
FROM unnest(%(trace_ids)s::uuid[], %(inputs)s::text[]) AS turn (trace_id, input)
CROSS JOIN LATERAL (
    SELECT node.*
    FROM spantree.node
    WHERE node.tenant_id = %(tenant_id)s
        AND node.trace_id = turn.trace_id
        AND node.day = ANY (%(days)s::date[])
        AND node.input IS NOT NULL
        AND CASE WHEN turn.input IS NULL THEN node.kind IN ('agent', 'llm') ELSE node.input = turn.input END
    ORDER BY node.depth, node.started_ns, node.sequence
    LIMIT 1
) AS asked
LIMIT cardinality(%(trace_ids)s::uuid[])

-- name: nodes_that_answered
-- likewise the node that has what was answered; of a turn that tells nothing the last one that answered; served by
-- node_sequence_idx
SELECT answered.*
FROM unnest(%(trace_ids)s::uuid[], %(outputs)s::text[]) AS turn (trace_id, output)
CROSS JOIN LATERAL (
    SELECT node.*
    FROM spantree.node
    WHERE node.tenant_id = %(tenant_id)s
        AND node.trace_id = turn.trace_id
        AND node.day = ANY (%(days)s::date[])
        AND node.output IS NOT NULL
        AND CASE WHEN turn.output IS NULL THEN node.kind IN ('agent', 'llm') ELSE node.output = turn.output END
    ORDER BY node.depth, node.started_ns DESC, node.sequence DESC
    LIMIT 1
) AS answered
LIMIT cardinality(%(trace_ids)s::uuid[])
