-- name: tenants
-- Those that were dropped, too: their rows stay until retention takes them.
SELECT tenant_id, name
FROM spantree.tenant
WHERE %(name)s::text IS NULL
    OR name = %(name)s
ORDER BY tenant_id

-- name: take_turn
-- Whether it is this session's turn to redact this tenant's rows; until it ends or gives its turn back. 'span' in hex, as
-- for claims.
SELECT pg_try_advisory_lock(1936744820, %(tenant_id)s)

-- name: end_turn
SELECT pg_advisory_unlock(1936744820, %(tenant_id)s)

-- name: position
SELECT part, day, uuid_send(trace_id), span_id, fingerprint
FROM spantree.redact_position
WHERE tenant_id = %(tenant_id)s
    AND asked = %(asked)s
    AND rules = %(rules)s

-- name: upsert_position
INSERT INTO spantree.redact_position (tenant_id, asked, rules, part, day, trace_id, span_id, fingerprint)
VALUES (
    %(tenant_id)s, %(asked)s, %(rules)s, %(part)s, %(day)s, %(trace_id)s::text::uuid, %(span_id)s, %(fingerprint)s
)
ON CONFLICT ON CONSTRAINT redact_position_pkey
DO UPDATE SET
    rules = EXCLUDED.rules,
    part = EXCLUDED.part,
    day = EXCLUDED.day,
    trace_id = EXCLUDED.trace_id,
    span_id = EXCLUDED.span_id,
    fingerprint = EXCLUDED.fingerprint,
    updated_at = now()

-- name: delete_position
DELETE FROM spantree.redact_position
WHERE tenant_id = %(tenant_id)s
    AND asked = %(asked)s

-- name: spans_after
-- The next spans of a day in the order of the key, of one trace or of one workflow where that is asked. Served by the
-- day's span_pkey; whether a trace is of the workflow by trace_pkey and execution_pkey on the trace's days.
SELECT
    uuid_send(span.trace_id) AS trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.name, span.kind,
    span.status_code, span.status_message, span.start_ns, span.end_ns, span.flags, span.received_ns, span.trace_state,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.facts, span.anomalies, span.raw, span.resource_id,
    resource.attributes AS resource_attributes, resource.service_name, resource.schema_url,
    resource.dropped_attributes_count AS resource_dropped
FROM spantree.span
LEFT JOIN spantree.resource
    ON resource.tenant_id = span.tenant_id
    AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.day = %(day)s
    AND (span.trace_id, span.span_id, span.fingerprint)
        > (%(after_trace_id)s::text::uuid, %(after_span_id)s::bigint, %(after_fingerprint)s::bigint)
    AND (%(execution)s::text IS NULL OR span.trace_id = %(execution)s::text::uuid)
    AND (
        %(workflow)s::text IS NULL
        OR EXISTS (
            SELECT
            FROM spantree.trace
            JOIN spantree.execution
                ON execution.tenant_id = trace.tenant_id
                AND execution.trace_id = trace.trace_id
                AND execution.day = ANY (trace.days)
            WHERE trace.tenant_id = span.tenant_id
                AND trace.trace_id = span.trace_id
                AND execution.workflow_name = %(workflow)s
        )
    )
ORDER BY span.trace_id, span.span_id, span.fingerprint
LIMIT %(rows)s

-- name: update_spans
-- Under the key that they have: whoever sends one of them again, redacted, has it stored beside.
UPDATE spantree.span
SET
    name = redacted.name,
    status_message = redacted.status_message,
    trace_state = redacted.trace_state,
    scope = redacted.scope::jsonb,
    attributes = redacted.attributes::jsonb,
    events = redacted.events::jsonb,
    links = redacted.links::jsonb,
    facts = redacted.facts::jsonb,
    raw = redacted.raw
FROM unnest(
    %(trace_ids)s::text[]::uuid[], %(span_ids)s::bigint[], %(fingerprints)s::bigint[], %(names)s::text[],
    %(status_messages)s::text[], %(trace_states)s::text[], %(scopes)s::text[], %(attributes)s::text[],
    %(events)s::text[], %(links)s::text[], %(facts)s::text[], %(raws)s::bytea[]
) AS redacted (
    trace_id, span_id, fingerprint, name, status_message, trace_state, scope, attributes, events, links, facts, raw
)
WHERE span.tenant_id = %(tenant_id)s
    AND span.day = %(day)s
    AND span.trace_id = redacted.trace_id
    AND span.span_id = redacted.span_id
    AND span.fingerprint = redacted.fingerprint

-- name: logs_after
-- As spans_after. Served by the day's log_record_pkey.
SELECT
    uuid_send(log.trace_id) AS trace_id, log.span_id, log.fingerprint, log.severity_text, log.event_name, log.scope,
    log.body, log.attributes, log.raw
FROM spantree.log_record AS log
WHERE log.tenant_id = %(tenant_id)s
    AND log.day = %(day)s
    AND (log.trace_id, log.span_id, log.fingerprint)
        > (%(after_trace_id)s::text::uuid, %(after_span_id)s::bigint, %(after_fingerprint)s::bigint)
    AND (%(execution)s::text IS NULL OR log.trace_id = %(execution)s::text::uuid)
    AND (
        %(workflow)s::text IS NULL
        OR EXISTS (
            SELECT
            FROM spantree.trace
            JOIN spantree.execution
                ON execution.tenant_id = trace.tenant_id
                AND execution.trace_id = trace.trace_id
                AND execution.day = ANY (trace.days)
            WHERE trace.tenant_id = log.tenant_id
                AND trace.trace_id = log.trace_id
                AND execution.workflow_name = %(workflow)s
        )
    )
ORDER BY log.trace_id, log.span_id, log.fingerprint
LIMIT %(rows)s

-- name: update_logs
UPDATE spantree.log_record AS log
SET
    severity_text = redacted.severity_text,
    event_name = redacted.event_name,
    scope = redacted.scope::jsonb,
    body = redacted.body::jsonb,
    attributes = redacted.attributes::jsonb,
    raw = redacted.raw
FROM unnest(
    %(trace_ids)s::text[]::uuid[], %(span_ids)s::bigint[], %(fingerprints)s::bigint[], %(severity_texts)s::text[],
    %(event_names)s::text[], %(scopes)s::text[], %(bodies)s::text[], %(attributes)s::text[], %(raws)s::bytea[]
) AS redacted (trace_id, span_id, fingerprint, severity_text, event_name, scope, body, attributes, raw)
WHERE log.tenant_id = %(tenant_id)s
    AND log.day = %(day)s
    AND log.trace_id = redacted.trace_id
    AND log.span_id = redacted.span_id
    AND log.fingerprint = redacted.fingerprint

-- name: resources_after
-- Served by resource_pkey.
SELECT id, attributes, service_name, schema_url, dropped_attributes_count
FROM spantree.resource
WHERE tenant_id = %(tenant_id)s
    AND id > %(after)s
ORDER BY id
LIMIT %(rows)s

-- name: update_resource
-- Under the id that spans name it by.
UPDATE spantree.resource
SET
    attributes = %(attributes)s::text::jsonb,
    service_name = %(service_name)s,
    schema_url = %(schema_url)s
WHERE tenant_id = %(tenant_id)s
    AND id = %(id)s

-- name: letters_after
-- Served by dead_letter_pkey.
SELECT digest, encoding, raw, reason
FROM spantree.dead_letter
WHERE tenant_id = %(tenant_id)s
    AND digest > %(after)s
ORDER BY digest
LIMIT %(rows)s

-- name: replace_letter
-- Under the digest of what is left; letters that differed only in a secret are one then.
WITH gone AS (
    DELETE FROM spantree.dead_letter
    WHERE tenant_id = %(tenant_id)s
        AND digest = %(digest)s
    RETURNING *
)
INSERT INTO spantree.dead_letter AS letter
    (tenant_id, digest, received_ns, last_received_ns, dead_at, cause, reason, encoding, raw, count)
SELECT
    tenant_id, %(new_digest)s, received_ns, last_received_ns, dead_at, cause, %(reason)s, encoding, %(raw)s::bytea, count
FROM gone
ON CONFLICT ON CONSTRAINT dead_letter_pkey
DO UPDATE SET
    count = letter.count + EXCLUDED.count,
    received_ns = least(letter.received_ns, EXCLUDED.received_ns),
    last_received_ns = greatest(letter.last_received_ns, EXCLUDED.last_received_ns)

-- name: update_letter_reason
UPDATE spantree.dead_letter
SET reason = %(reason)s
WHERE tenant_id = %(tenant_id)s
    AND digest = %(digest)s

-- name: analyses
SELECT trace_id::text, answer
FROM spantree.analysis
WHERE tenant_id = %(tenant_id)s

-- name: update_analysis
UPDATE spantree.analysis
SET answer = %(new)s::text::jsonb
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(key)s::text::uuid

-- name: group_notes
SELECT fingerprint, note
FROM spantree.failure_group
WHERE tenant_id = %(tenant_id)s
    AND note IS NOT NULL

-- name: update_group_note
UPDATE spantree.failure_group
SET note = %(new)s
WHERE tenant_id = %(tenant_id)s
    AND fingerprint = %(key)s

-- name: group_change_notes
SELECT id::text, note
FROM spantree.failure_group_change
WHERE tenant_id = %(tenant_id)s
    AND note IS NOT NULL

-- name: update_group_change_note
UPDATE spantree.failure_group_change
SET note = %(new)s
WHERE tenant_id = %(tenant_id)s
    AND id = %(key)s::text::uuid

-- name: delivery_bodies
SELECT id::text, body
FROM spantree.alert_delivery
WHERE tenant_id = %(tenant_id)s

-- name: update_delivery_body
UPDATE spantree.alert_delivery
SET body = %(new)s
WHERE tenant_id = %(tenant_id)s
    AND id = %(key)s::text::uuid

-- name: delivery_subjects
SELECT id::text, subject
FROM spantree.alert_delivery
WHERE tenant_id = %(tenant_id)s

-- name: update_delivery_subject
UPDATE spantree.alert_delivery
SET subject = %(new)s
WHERE tenant_id = %(tenant_id)s
    AND id = %(key)s::text::uuid

-- name: firing_subjects
SELECT subject, subject
FROM spantree.alert_firing
WHERE tenant_id = %(tenant_id)s

-- name: delete_firing
-- What still holds fires again, under the name that is left of it.
DELETE FROM spantree.alert_firing
WHERE tenant_id = %(tenant_id)s
    AND subject = %(key)s
    AND %(new)s::text IS NOT NULL

-- name: projection_errors
SELECT trace_id::text, error
FROM spantree.pending_projection
WHERE tenant_id = %(tenant_id)s
    AND error IS NOT NULL

-- name: update_projection_error
UPDATE spantree.pending_projection
SET error = %(new)s
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(key)s::text::uuid

-- name: operations
SELECT service, name
FROM spantree.operation
WHERE tenant_id = %(tenant_id)s
GROUP BY service, name

-- name: replace_operation
WITH gone AS (
    DELETE FROM spantree.operation
    WHERE tenant_id = %(tenant_id)s
        AND service = %(service)s
        AND name = %(name)s
    RETURNING *
)
INSERT INTO spantree.operation AS known (tenant_id, service, name, kind, last_day)
SELECT tenant_id, %(new_service)s, %(new_name)s, kind, last_day
FROM gone
ON CONFLICT ON CONSTRAINT operation_pkey
DO UPDATE SET last_day = greatest(known.last_day, EXCLUDED.last_day)

-- name: figure_names
-- Reads all figures of the tenant; a server-side cursor takes what they are called by.
SELECT DISTINCT workflow_name, service, name, target
FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s

-- name: delete_empty_figures
-- What has a new name now, and is counted there. Served by rollup_workflow_idx, as are the next two, which is why they name
-- all subjects: without, all figures are read for each name.
DELETE FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s
    AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
    AND workflow_name = %(workflow_name)s
    AND service = %(service)s
    AND name = %(name)s
    AND target = %(target)s
    AND grain_h = 1
    AND total = 0

-- name: rename_figures
-- Of days whose rows retention has taken, and sums of several hours until they are made anew.
UPDATE spantree.rollup AS figure
SET
    workflow_name = %(new_workflow_name)s,
    service = %(new_service)s,
    name = %(new_name)s,
    target = %(new_target)s
WHERE tenant_id = %(tenant_id)s
    AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
    AND workflow_name = %(workflow_name)s
    AND service = %(service)s
    AND name = %(name)s
    AND target = %(target)s
    AND NOT EXISTS (
        SELECT
        FROM spantree.rollup AS other
        WHERE other.tenant_id = figure.tenant_id
            AND other.subject = figure.subject
            AND other.grain_h = figure.grain_h
            AND other.started_at = figure.started_at
            AND other.workflow_name = %(new_workflow_name)s
            AND other.service = %(new_service)s
            AND other.name = %(new_name)s
            AND other.kind = figure.kind
            AND other.target = %(new_target)s
            AND other.role = figure.role
            AND other.hidden = figure.hidden
    )

-- name: delete_figures
-- Where a figure of the new name is there already: two are not added up.
DELETE FROM spantree.rollup
WHERE tenant_id = %(tenant_id)s
    AND subject = ANY ('{node,model,edge,workflow,service,project,user,error,call}')
    AND workflow_name = %(workflow_name)s
    AND service = %(service)s
    AND name = %(name)s
    AND target = %(target)s
