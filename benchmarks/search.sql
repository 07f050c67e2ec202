-- What benchmarks/search.py multiplies a few traces by. A copy has ids and an attribute of its own and begins earlier.

-- name: copy_spans
INSERT INTO spantree.span (
    tenant_id, day, trace_id, span_id, fingerprint, parent_span_id, kind, status_code, start_ns, end_ns,
    flags, received_ns, name, status_message, trace_state, resource_id, scope, attributes, events, links,
    dropped_attributes_count, dropped_events_count, dropped_links_count, facts, anomalies, raw
)
SELECT
    tenant_id, %(day)s::date, md5(trace_id || ' ' || %(copy)s)::uuid, span_id, fingerprint, parent_span_id, kind,
    status_code, start_ns - %(earlier_ns)s, end_ns - %(earlier_ns)s, flags, received_ns, name, status_message, trace_state,
    resource_id, scope,
    attributes || jsonb_build_object('copy.id', %(copy)s || '-' || (attributes ->> 'span.number')),
    events, links, dropped_attributes_count, dropped_events_count, dropped_links_count, facts, anomalies, raw
FROM spantree.span
WHERE tenant_id = 0
    AND day = %(from_day)s::date

-- name: copy_executions
INSERT INTO spantree.execution (
    tenant_id, day, trace_id, name, workflow_name, entry, kind, status, started_ns, ended_ns, last_seen_ns,
    root_span_id, service, services, skipped_nodes, total_count, completed_count, failed_count, retried_count,
    skipped_count, waiting_count, running_count, cancelled_count, timed_out_count, span_count, hidden, anomalies, calls,
    search
)
SELECT
    tenant_id, %(day)s::date, md5(trace_id || ' ' || %(copy)s)::uuid, name, workflow_name, entry, kind, status,
    started_ns - %(earlier_ns)s, ended_ns - %(earlier_ns)s, last_seen_ns, root_span_id, service, services, skipped_nodes,
    total_count, completed_count, failed_count, retried_count, skipped_count, waiting_count, running_count,
    cancelled_count, timed_out_count, span_count, hidden, anomalies, calls, search
FROM spantree.execution
WHERE tenant_id = 0
    AND day = %(from_day)s::date

-- name: copy_traces
INSERT INTO spantree.trace (tenant_id, trace_id, days)
SELECT tenant_id, md5(trace_id || ' ' || %(copy)s)::uuid, ARRAY[%(day)s::date]
FROM spantree.execution
WHERE tenant_id = 0
    AND day = %(from_day)s::date

-- name: vacuum
VACUUM (ANALYZE) spantree.span, spantree.execution, spantree.trace, spantree.span_terms, spantree.resource

-- name: size
SELECT sum(octet_length(lists))::bigint, count(*), sum(spans)::bigint FROM spantree.span_terms
