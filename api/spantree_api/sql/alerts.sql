-- Rules of alerts, what they find, and the messages that are delivered.

-- name: alert_tenants
-- whose rules are to be looked at; reads the keys of all rules, which are few; served by alert_rule_pkey
SELECT tenant_id
FROM spantree.alert_tenants() AS tenant_id

-- name: alert_rules
-- all rules of a tenant, by name; served by alert_rule_pkey
SELECT *
FROM spantree.alert_rule
WHERE tenant_id = %(tenant_id)s
ORDER BY name, id

-- name: alert_rule
-- one rule; served by alert_rule_pkey
SELECT *
FROM spantree.alert_rule
WHERE tenant_id = %(tenant_id)s
    AND id = %(id)s::uuid

-- name: alert_rule_to_change
-- one rule, which nobody else changes until the transaction ends; served by alert_rule_pkey
SELECT *
FROM spantree.alert_rule
WHERE tenant_id = %(tenant_id)s
    AND id = %(id)s::uuid
FOR UPDATE

-- name: put_alert_rule
-- makes or changes a rule; one that is switched on looks at what comes from then on, and one that looks at something
-- else has found nothing of it yet. Served by alert_rule_pkey, alert_firing_pkey
WITH before AS (
    SELECT enabled, definition
    FROM spantree.alert_rule
    WHERE tenant_id = %(tenant_id)s
        AND id = %(id)s::uuid
),
forgotten AS (
    DELETE FROM spantree.alert_firing
    USING before
    WHERE tenant_id = %(tenant_id)s
        AND rule_id = %(id)s::uuid
        AND (
            (%(enabled)s AND NOT before.enabled)
            OR before.definition -> 'kind' IS DISTINCT FROM %(definition)s::text::jsonb -> 'kind'
            OR before.definition -> 'filter' IS DISTINCT FROM %(definition)s::text::jsonb -> 'filter'
        )
)
INSERT INTO spantree.alert_rule AS stored
    (tenant_id, id, name, enabled, definition, secret, source, silenced_until, from_position, active_since, changed_by)
VALUES (
    %(tenant_id)s, %(id)s::uuid, %(name)s, %(enabled)s, %(definition)s::text::jsonb, %(secret)s, %(source)s,
    %(silenced_until)s, %(from_position)s, clock_timestamp(), %(changed_by)s
)
ON CONFLICT ON CONSTRAINT alert_rule_pkey
DO UPDATE SET
    name = EXCLUDED.name,
    enabled = EXCLUDED.enabled,
    definition = EXCLUDED.definition,
    secret = EXCLUDED.secret,
    silenced_until = EXCLUDED.silenced_until,
    from_position = CASE
        WHEN EXCLUDED.enabled AND NOT stored.enabled THEN EXCLUDED.from_position
        ELSE stored.from_position
    END,
    active_since = CASE
        WHEN EXCLUDED.enabled AND NOT stored.enabled THEN EXCLUDED.active_since
        ELSE stored.active_since
    END,
    updated_at = clock_timestamp(),
    changed_by = EXCLUDED.changed_by
RETURNING stored.*

-- name: delete_alert_rule
-- a rule goes, what it has found beyond its limit and what was not delivered; served by alert_rule_pkey,
-- alert_firing_pkey, alert_delivery_rule_idx
WITH firing AS (
    DELETE FROM spantree.alert_firing
    WHERE tenant_id = %(tenant_id)s
        AND rule_id = %(id)s::uuid
),
waiting AS (
    UPDATE spantree.alert_delivery
    SET state = 'dropped'
    WHERE tenant_id = %(tenant_id)s
        AND rule_id = %(id)s::uuid
        AND state = 'pending'
)
DELETE FROM spantree.alert_rule
WHERE tenant_id = %(tenant_id)s
    AND id = %(id)s::uuid
RETURNING id

-- name: try_alerts
-- one process looks at a time, until its transaction ends; 'span' in hex, as for partitions
SELECT pg_try_advisory_xact_lock(1936744817, %(tenant_id)s::integer) AS mine

-- name: alert_position
-- how far the rules have looked; served by alert_state_pkey
SELECT position
FROM spantree.alert_state
WHERE tenant_id = %(tenant_id)s

-- name: put_alert_position
-- they have looked further; served by alert_state_pkey
INSERT INTO spantree.alert_state (tenant_id, position)
VALUES (%(tenant_id)s, %(position)s)
ON CONFLICT ON CONSTRAINT alert_state_pkey
DO UPDATE SET position = EXCLUDED.position
RETURNING position

-- name: put_alert_messages
-- messages that are not there yet, in order of the key; served by alert_delivery_pkey
INSERT INTO spantree.alert_delivery (tenant_id, id, rule_id, rule_name, kind, subject, body, state, due_at)
SELECT %(tenant_id)s, id, rule_id, rule_name, kind, subject, body, state, clock_timestamp()
FROM unnest(
    %(ids)s::uuid[], %(rule_ids)s::uuid[], %(rule_names)s::text[], %(kinds)s::text[], %(subjects)s::text[],
    %(bodies)s::text[], %(states)s::text[]
) AS found (id, rule_id, rule_name, kind, subject, body, state)
ORDER BY id
ON CONFLICT ON CONSTRAINT alert_delivery_pkey DO NOTHING
RETURNING id

-- name: full_alert_rules
-- rules of which as many messages wait as may; served by alert_delivery_rule_idx
SELECT rule.id
FROM spantree.alert_rule AS rule
WHERE rule.tenant_id = %(tenant_id)s
    AND (
        SELECT count(*)
        FROM (
            SELECT
            FROM spantree.alert_delivery AS waiting
            WHERE waiting.tenant_id = %(tenant_id)s
                AND waiting.rule_id = rule.id
                AND waiting.state = 'pending'
            LIMIT %(most)s
        ) AS counted
    ) >= %(most)s::bigint

-- name: claim_alert_messages
-- some that are due, a few of each rule, in turn, for this process to send: others take over when it has not by then.
-- Nothing is put off for a day: what is due so late, a clock that was ahead for a while has noted. `resting` are rules
-- whose receivers are given a pause. Those of a rule that is gone come without one, and so do those of a tenant that was
-- dropped. Served by alert_delivery_rule_idx, alert_delivery_pkey, tenant_pkey
WITH RECURSIVE waiting (rule_id) AS (
    (
        SELECT rule_id
        FROM spantree.alert_delivery
        WHERE tenant_id = %(tenant_id)s
            AND state = 'pending'
        ORDER BY rule_id
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT next.rule_id
        FROM spantree.alert_delivery AS next
        WHERE next.tenant_id = %(tenant_id)s
            AND next.state = 'pending'
            AND next.rule_id > waiting.rule_id
        ORDER BY next.rule_id
        LIMIT 1
    )
    FROM waiting
    WHERE waiting.rule_id IS NOT NULL
),
due AS MATERIALIZED (
    SELECT first.id
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT id, due_at, row_number() OVER (ORDER BY due_at) AS nth
        FROM (
            SELECT id, due_at
            FROM spantree.alert_delivery
            WHERE tenant_id = %(tenant_id)s
                AND rule_id = waiting.rule_id
                AND state = 'pending'
                AND (due_at <= clock_timestamp() OR due_at > clock_timestamp() + interval '1 day')
            ORDER BY due_at
            LIMIT %(of_each)s
        ) AS oldest
    ) AS first
    WHERE waiting.rule_id IS NOT NULL
        AND NOT waiting.rule_id = ANY (%(resting)s::uuid[])
    ORDER BY first.nth, first.due_at, first.id
    LIMIT %(limit)s
),
locked AS MATERIALIZED (
    SELECT delivery.id
    FROM spantree.alert_delivery AS delivery
    JOIN due ON due.id = delivery.id
    WHERE delivery.tenant_id = %(tenant_id)s
        AND delivery.state = 'pending'
        AND (delivery.due_at <= clock_timestamp() OR delivery.due_at > clock_timestamp() + interval '1 day')
    FOR UPDATE OF delivery SKIP LOCKED
)
UPDATE spantree.alert_delivery AS delivery
SET
    attempts = delivery.attempts + 1,
    due_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM locked
LEFT JOIN LATERAL (
    SELECT id, secret, definition
    FROM spantree.alert_rule
    WHERE alert_rule.tenant_id = %(tenant_id)s
        AND alert_rule.id = (
            SELECT rule_id FROM spantree.alert_delivery AS own WHERE own.tenant_id = %(tenant_id)s AND own.id = locked.id
        )
        AND NOT EXISTS (
            SELECT
            FROM spantree.tenant AS dropped
            WHERE dropped.tenant_id = %(tenant_id)s
                AND dropped.dropped_at IS NOT NULL
        )
) AS rule ON true
WHERE delivery.tenant_id = %(tenant_id)s
    AND delivery.id = locked.id
RETURNING
    delivery.id, delivery.rule_id, delivery.attempts, delivery.body, rule.secret,
    rule.definition ->> 'webhook_url' AS webhook_url

-- name: settle_alert_message
-- what came of an attempt: delivered, to be tried again after a while, or given up a day after it was made; served by
-- alert_delivery_pkey
UPDATE spantree.alert_delivery
SET
    state = CASE
        WHEN %(delivered)s THEN 'delivered'
        WHEN %(dropped)s THEN 'dropped'
        WHEN created_at < clock_timestamp() - make_interval(secs => %(tried_for_s)s) THEN 'failed'
        ELSE 'pending'
    END,
    delivered_at = CASE WHEN %(delivered)s THEN clock_timestamp() END,
    due_at = clock_timestamp() + make_interval(secs => %(wait_s)s),
    answer_status = %(answer_status)s,
    error = %(error)s
WHERE tenant_id = %(tenant_id)s
    AND id = %(id)s::uuid
    AND state = 'pending'
RETURNING id

-- name: give_up_alert_messages
-- what waits, due or not, of rules that are gone and of a tenant that was dropped; served by alert_delivery_rule_idx,
-- alert_rule_pkey, tenant_pkey
UPDATE spantree.alert_delivery AS delivery
SET state = 'dropped'
WHERE delivery.tenant_id = %(tenant_id)s
    AND delivery.state = 'pending'
    AND (
        NOT EXISTS (
            SELECT
            FROM spantree.alert_rule AS rule
            WHERE rule.tenant_id = %(tenant_id)s
                AND rule.id = delivery.rule_id
        )
        OR EXISTS (
            SELECT
            FROM spantree.tenant AS dropped
            WHERE dropped.tenant_id = %(tenant_id)s
                AND dropped.dropped_at IS NOT NULL
        )
    )
RETURNING delivery.id

-- name: alert_deliveries
-- messages, newest first; served by alert_delivery_created_idx
SELECT id, rule_id, rule_name, kind, subject, state, attempts, due_at, created_at, delivered_at, answer_status, error
FROM spantree.alert_delivery
WHERE tenant_id = %(tenant_id)s
    AND (%(rule_id)s::uuid IS NULL OR rule_id = %(rule_id)s::uuid)
    AND (%(state)s::text IS NULL OR state = %(state)s::text)
    AND (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

-- name: drop_alert_messages
-- those of long ago, which are tried no more; served by alert_delivery_created_idx
DELETE FROM spantree.alert_delivery
WHERE tenant_id = %(tenant_id)s
    AND id IN (
        SELECT id
        FROM spantree.alert_delivery
        WHERE tenant_id = %(tenant_id)s
            AND created_at < clock_timestamp() - make_interval(secs => %(kept_s)s)
        ORDER BY created_at, id
        LIMIT %(most)s
        FOR UPDATE SKIP LOCKED
    )
RETURNING id

-- name: alert_firing
-- what a rule has found beyond its limit; served by alert_firing_pkey
SELECT subject
FROM spantree.alert_firing
WHERE tenant_id = %(tenant_id)s
    AND rule_id = %(rule_id)s::uuid

-- name: put_alert_firing
-- what is beyond the limit now, and no longer; served by alert_firing_pkey
WITH below AS (
    DELETE FROM spantree.alert_firing
    WHERE tenant_id = %(tenant_id)s
        AND rule_id = %(rule_id)s::uuid
        AND subject = ANY (%(below)s::text[])
)
INSERT INTO spantree.alert_firing (tenant_id, rule_id, subject, since)
SELECT %(tenant_id)s, %(rule_id)s::uuid, subject, clock_timestamp()
FROM unnest(%(beyond)s::text[]) AS found (subject)
ON CONFLICT ON CONSTRAINT alert_firing_pkey DO NOTHING
RETURNING subject

-- name: alert_figures
-- what started in a window of time, of the newest so many executions: all as one, or the workflows of which more than a
-- part failed; served by execution_started_idx
SELECT
    CASE WHEN %(by_workflow)s THEN coalesce(workflow_name, '') ELSE '' END AS workflow,
    count(*) AS runs,
    count(*) FILTER (WHERE status NOT IN ('pending', 'running', 'waiting')) AS ended,
    count(*) FILTER (WHERE status IN ('failed', 'timed_out')) AS failed,
    coalesce(sum(cost_usd) FILTER (WHERE cost_usd < 'infinity'), 0)::double precision AS cost_usd,
    coalesce(sum(coalesce(input_tokens, 0)::numeric + coalesce(output_tokens, 0)), 0)::double precision AS tokens
FROM (
    SELECT workflow_name, status, cost_usd, input_tokens, output_tokens, hidden, service, services, project, user_id, kind
    FROM spantree.execution
    WHERE (day BETWEEN %(first_day)s::date AND %(last_day)s::date OR day = DATE '1970-01-01')
        AND tenant_id = %(tenant_id)s
        AND started_ns <= %(to_ns)s::bigint
        AND started_ns >= %(from_ns)s::bigint
    ORDER BY started_ns DESC
    LIMIT %(walked)s
) AS execution
WHERE (%(hidden)s OR NOT hidden)
    AND (%(workflow)s::text IS NULL OR workflow_name = %(workflow)s::text)
    AND (%(service)s::text IS NULL OR %(service)s::text = ANY (services))
    AND (%(project)s::text IS NULL OR project = %(project)s::text)
    AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s::text)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
GROUP BY 1
HAVING NOT %(by_workflow)s
    OR (
        count(*) FILTER (WHERE status NOT IN ('pending', 'running', 'waiting')) >= %(min_runs)s::bigint
        AND count(*) FILTER (WHERE status IN ('failed', 'timed_out'))::double precision
            / nullif(count(*) FILTER (WHERE status NOT IN ('pending', 'running', 'waiting')), 0)
            > %(threshold)s::double precision
    )
ORDER BY 1
LIMIT 1000

-- name: alert_groups
-- some groups of failures; served by failure_group_pkey
SELECT fingerprint, category, first_seen_ns, last_seen_ns, reopened_at, reopened_version
FROM spantree.failure_group
WHERE tenant_id = %(tenant_id)s
    AND fingerprint = ANY (%(fingerprints)s::text[])

-- name: alert_reopened_groups
-- groups that came back since; served by failure_group_seen_idx, for they were seen when they came back
SELECT fingerprint, category, first_seen_ns, last_seen_ns, reopened_at, reopened_version
FROM spantree.failure_group
WHERE tenant_id = %(tenant_id)s
    AND last_seen_ns >= %(since_ns)s::bigint
    AND reopened_at >= %(since)s::timestamptz
ORDER BY last_seen_ns DESC
LIMIT 1000
