-- Traces by what one of their spans is, for Jaeger, Tempo and Grafana (reads/spans.py). Candidates are executions, found by
-- the parts of executions.sql; whether one matches is decided on its spans.

-- name: services_of_spans
-- the first services, by name, that have sent spans; one step of the index for each, however many names its spans have;
-- served by operation_pkey
WITH RECURSIVE service AS (
    (
        SELECT operation.service AS name, 1 AS place
        FROM spantree.operation
        WHERE operation.tenant_id = %(tenant_id)s
        ORDER BY operation.service
        LIMIT 1
    )
    UNION ALL
    SELECT following.name, service.place + 1
    FROM service
    CROSS JOIN LATERAL (
        SELECT operation.service AS name
        FROM spantree.operation
        WHERE operation.tenant_id = %(tenant_id)s
            AND operation.service > service.name
        ORDER BY operation.service
        LIMIT 1
    ) AS following
    WHERE service.place < %(limit)s
)
SELECT name
FROM service
ORDER BY place

-- name: operations_of_service
-- names and kinds of the spans of a service; served by operation_pkey
SELECT name, kind
FROM spantree.operation
WHERE tenant_id = %(tenant_id)s
    AND service = %(service)s
    AND (%(kind)s::integer IS NULL OR kind = %(kind)s)
ORDER BY name, kind
LIMIT %(limit)s

-- name: select_candidates
-- part: the columns of CandidateRow
SELECT execution.trace_id, execution.started_ns, execution.ended_ns, execution.services

-- name: select_walk_end
-- part: how many executions were walked, and the start of the oldest
SELECT count(*)::bigint AS walked, min(started_ns)::bigint AS oldest_ns

-- name: where_overlaps
-- part: executions that had not ended before the range; clocks differ a little
    AND (ended_ns IS NULL OR ended_ns + 0 >= %(ended_after_ns)s::bigint)

-- name: begin_matching
-- part: some traces, and of each the spans that are all that is asked for, which the next parts say; served by span_pkey
SELECT candidate.trace_id, matching.*
FROM unnest(%(trace_ids)s::uuid[]) AS candidate (trace_id)
CROSS JOIN LATERAL (

-- name: select_matching
-- part: that there is one
    SELECT span.span_id

-- name: select_matching_told
-- part: the columns of FoundSpan
    SELECT
        span.span_id, span.parent_span_id, span.name, resource.service_name AS service, span.start_ns, span.end_ns,
        span.kind, span.status_code, span.status_message,
        jsonb_path_query_array(span.attributes, %(picked)s::text::jsonpath) AS span_values,
        jsonb_path_query_array(resource.attributes, %(picked)s::text::jsonpath) AS resource_values,
        jsonb_path_query_array(span.scope -> 'attributes', %(picked)s::text::jsonpath) AS scope_values,
        jsonb_path_query_array(span.events, %(picked_of_lists)s::text::jsonpath) AS event_values,
        jsonb_path_query_array(span.links, %(picked_of_lists)s::text::jsonpath) AS link_values,
        left(span.scope ->> 'name', 500) AS scope_name, left(span.scope ->> 'version', 500) AS scope_version,
        count(*) OVER (PARTITION BY span.trace_id) AS matched

-- name: where_matching
-- part: spans of a candidate that are all that is asked for
    FROM spantree.span
    JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
    WHERE span.tenant_id = %(tenant_id)s
        AND span.day = ANY (%(days)s::date[])
        AND span.trace_id = candidate.trace_id
        AND span.start_ns BETWEEN %(from_ns)s::bigint AND %(to_ns)s::bigint
        AND (%(operation)s::text IS NULL OR span.name = %(operation)s)
        AND (%(kind)s::integer IS NULL OR span.kind = %(kind)s)
        AND (%(status)s::integer IS NULL OR span.status_code = %(status)s)
        AND (%(failed)s::boolean IS NULL OR (span.status_code = 2) = %(failed)s)
        AND (%(is_root)s::boolean IS NULL OR (span.parent_span_id IS NULL) = %(is_root)s)
        AND (%(min_duration_ns)s::bigint IS NULL OR span.end_ns - span.start_ns >= %(min_duration_ns)s)
        AND (%(max_duration_ns)s::bigint IS NULL OR span.end_ns - span.start_ns <= %(max_duration_ns)s)
        AND (%(service)s::text IS NULL OR resource.service_name = %(service)s)
        AND (%(scope_name)s::text IS NULL OR span.scope ->> 'name' = %(scope_name)s)
        AND (%(scope_version)s::text IS NULL OR span.scope ->> 'version' = %(scope_version)s)
        AND span.facts ->> 'fold' IS DISTINCT FROM 'pending'
        AND (
            %(needed_key)s::text IS NULL
            OR span.attributes ? %(needed_key)s
            OR resource.attributes ? %(needed_key)s
            OR span.events IS NOT NULL
            OR span.links IS NOT NULL
            OR span.scope ? 'attributes'
        )
        AND %(tags_there)s::bigint = (
            -- How many of them the span holds somewhere, and far fewer where it holds one that is to be missing: no
            -- subquery in a subquery, which Citus does not plan.
            SELECT count(DISTINCT tag.number_of) - 1000 * count(*) FILTER (WHERE tag.operator = 'missing')
            FROM unnest(
                %(tag_keys)s::text[], %(tag_places)s::text[], %(tag_operators)s::text[], %(tag_texts)s::text[],
                %(tag_values)s::text[]::jsonb[], %(tag_numbers)s::float8[]
            ) WITH ORDINALITY AS tag (key, place, operator, text, value, number, number_of)
            CROSS JOIN LATERAL (
                VALUES
                    ('span', tag.key, CASE WHEN tag.place IN ('span', 'any') THEN '[]' || span.attributes END),
                    ('resource', tag.key, CASE WHEN tag.place IN ('resource', 'any') THEN '[]' || resource.attributes END),
                    ('scope', tag.key, CASE WHEN tag.place IN ('scope', 'any') THEN '[]' || (span.scope -> 'attributes') END),
                    ('event', tag.key, CASE
                        WHEN tag.place IN ('event', 'any') THEN jsonb_path_query_array(span.events, '$[*].attributes')
                    END),
                    ('link', tag.key, CASE
                        WHEN tag.place IN ('link', 'any') THEN jsonb_path_query_array(span.links, '$[*].attributes')
                    END),
                    -- Made of what is immutable, unlike jsonb_build_object.
                    ('own', tag.key, CASE WHEN tag.place = 'own' THEN '[]' || (jsonb_object(
                        ARRAY['name', 'service', 'status_message', 'span_id', 'parent_id', 'scope_name', 'scope_version'],
                        ARRAY[
                            span.name, resource.service_name, coalesce(span.status_message, ''),
                            lpad(to_hex(span.span_id), 16, '0'), lpad(to_hex(span.parent_span_id), 16, '0'),
                            coalesce(span.scope ->> 'name', ''), coalesce(span.scope ->> 'version', '')
                        ]
                    ) || (
                        '{"kind":' || span.kind::text || ',"status":' || span.status_code::text || ',"duration_ns":'
                        || (span.end_ns - span.start_ns)::text || '}'
                    )::jsonb) END),
                    ('own', 'name', CASE WHEN tag.key = 'event_name' THEN span.events END),
                    ('own', 'trace_id', CASE WHEN tag.key = 'link_trace_id' THEN span.links END),
                    ('own', 'span_id', CASE WHEN tag.key = 'link_span_id' THEN span.links END)
            ) AS place (name, key, held)
            CROSS JOIN LATERAL jsonb_array_elements(place.held) AS held (attributes)
            -- What it holds, and the items of a list, of which any may do; to be none of them is asked of the whole.
            CROSS JOIN LATERAL jsonb_array_elements(
                CASE
                    WHEN NOT held.attributes ? place.key THEN '[]'
                    WHEN jsonb_typeof(held.attributes -> place.key) <> 'array' THEN '[]' || (held.attributes -> place.key)
                    WHEN tag.operator IN ('!=', '!~', 'there', 'missing')
                    THEN jsonb_set('[0]', '{0}', held.attributes -> place.key)
                    ELSE jsonb_set('[0]', '{0}', held.attributes -> place.key) || (held.attributes -> place.key)
                END
            ) AS item (value)
            WHERE (place.name = tag.place OR tag.place = 'any' AND place.name <> 'own')
                AND CASE tag.operator
                    WHEN '=' THEN item.value #>> '{}' = tag.text OR item.value = tag.value
                    WHEN '!=' THEN
                        item.value #>> '{}' IS DISTINCT FROM tag.text
                        AND item.value IS DISTINCT FROM tag.value
                        AND NOT (
                            jsonb_typeof(item.value) = 'array'
                            AND (coalesce(item.value ? tag.text, false) OR coalesce(item.value @> tag.value, false))
                        )
                    WHEN '=~' THEN item.value #>> '{}' ~ tag.text
                    WHEN '!~' THEN item.value #>> '{}' !~ tag.text
                    WHEN '>' THEN CASE WHEN jsonb_typeof(item.value) = 'number' THEN item.value::float8 > tag.number END
                    WHEN '>=' THEN CASE WHEN jsonb_typeof(item.value) = 'number' THEN item.value::float8 >= tag.number END
                    WHEN '<' THEN CASE WHEN jsonb_typeof(item.value) = 'number' THEN item.value::float8 < tag.number END
                    WHEN '<=' THEN CASE WHEN jsonb_typeof(item.value) = 'number' THEN item.value::float8 <= tag.number END
                    WHEN 'there' THEN item.value <> 'null'
                    WHEN 'missing' THEN item.value <> 'null'
                END
        )

-- name: end_matching
-- part: one of each trace
    LIMIT 1
) AS matching
LIMIT cardinality(%(trace_ids)s::uuid[])

-- name: end_matching_told
-- part: the first of each trace, as far as so many at once are read
    ORDER BY span.start_ns, span.span_id
    LIMIT %(spans_each)s
) AS matching
LIMIT %(spans_most)s

-- name: parents_of_traces
-- every span of some traces and its parent; served by span_pkey
SELECT found.trace_id, found.span_id, found.parent_span_id
FROM unnest(%(trace_ids)s::uuid[]) AS candidate (trace_id)
CROSS JOIN LATERAL (
    SELECT span.trace_id, span.span_id, span.parent_span_id
    FROM spantree.span
    WHERE span.tenant_id = %(tenant_id)s
        AND span.day = ANY (%(days)s::date[])
        AND span.trace_id = candidate.trace_id
        AND span.facts ->> 'fold' IS DISTINCT FROM 'pending'
    LIMIT %(spans_most)s
) AS found
LIMIT %(spans_most)s

-- name: attributes_of_traces
-- which attributes spans of some traces have, the first event and link of each, and values of one; served by span_pkey
SELECT DISTINCT found.place, found.key, found.value
FROM (
    SELECT held.place, pair.key, CASE WHEN pair.key = %(key)s::text THEN pair.value END AS value
    FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
    CROSS JOIN LATERAL (
        SELECT
            span.attributes, resource.attributes AS resource_attributes, span.scope -> 'attributes' AS scope_attributes,
            jsonb_path_query_first(span.events, '$[*].attributes') AS event_attributes,
            jsonb_path_query_first(span.links, '$[*].attributes') AS link_attributes
        FROM spantree.span
        JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
        WHERE span.tenant_id = %(tenant_id)s
            AND span.day = ANY (%(days)s::date[])
            AND span.trace_id = wanted.trace_id
        LIMIT 200
    ) AS sent
    CROSS JOIN LATERAL (
        VALUES
            ('span', sent.attributes), ('resource', sent.resource_attributes), ('scope', sent.scope_attributes),
            ('event', sent.event_attributes), ('link', sent.link_attributes)
    ) AS held (place, attributes)
    CROSS JOIN LATERAL jsonb_each(held.attributes) AS pair (key, value)
    WHERE %(key)s::text IS NULL OR pair.key = %(key)s
) AS found
LIMIT %(limit)s

-- name: spans_of_trace_without_marks
-- every span but live marks, in the order of the index, so that a trace of any size is neither sorted nor waited for;
-- served by span_pkey
SELECT
    span.trace_id, span.span_id, span.fingerprint, span.parent_span_id, span.kind, span.status_code, span.start_ns,
    span.end_ns, span.flags, span.received_ns, span.name, span.status_message, span.trace_state, span.resource_id,
    span.scope, span.attributes, span.events, span.links, span.dropped_attributes_count, span.dropped_events_count,
    span.dropped_links_count, span.anomalies, span.raw IS NOT NULL AS raw_available, span.raw,
    resource.attributes AS resource_attributes, resource.schema_url AS resource_schema_url,
    resource.dropped_attributes_count AS resource_dropped_attributes_count
FROM spantree.span
JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
WHERE span.tenant_id = %(tenant_id)s
    AND span.trace_id = %(trace_id)s::uuid
    AND span.day = ANY (%(days)s::date[])
    AND span.facts ->> 'fold' IS DISTINCT FROM 'pending'
ORDER BY span.span_id, span.fingerprint

-- name: spans_in_trace
-- from how many spans a trace is projected; served by execution_pkey
SELECT execution.span_count
FROM spantree.execution
WHERE execution.tenant_id = %(tenant_id)s
    AND execution.day = ANY (%(days)s::date[])
    AND execution.trace_id = %(trace_id)s::uuid

-- name: days_by_trace
-- the days of each of some traces; served by trace_pkey
SELECT trace_id, days
FROM spantree.trace
WHERE tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])

-- name: summaries_of_traces
-- spans, errors and times of each service of some traces, and how many spans have a parent that is not there: each span
-- names itself and its parent, and a parent that no span names is not there; served by span_pkey
SELECT
    linked.trace_id, linked.service,
    count(*) FILTER (WHERE NOT linked.is_child) AS spans,
    count(*) FILTER (WHERE NOT linked.is_child AND linked.status_code = 2) AS errors,
    count(*) FILTER (WHERE linked.is_child AND linked.id IS NOT NULL AND NOT linked.is_there) AS orphans,
    min(linked.start_ns) AS start_ns,
    max(linked.end_ns) AS end_ns
FROM (
    SELECT
        sent.trace_id, sent.service, sent.status_code, sent.start_ns, sent.end_ns, link.id, link.is_child,
        bool_or(NOT link.is_child) OVER (PARTITION BY sent.trace_id, link.id) AS is_there
    FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
    CROSS JOIN LATERAL (
        SELECT
            span.trace_id, span.span_id, span.parent_span_id, span.status_code, span.start_ns, span.end_ns,
            resource.service_name AS service
        FROM spantree.span
        JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
        WHERE span.tenant_id = %(tenant_id)s
            AND span.day = ANY (%(days)s::date[])
            AND span.trace_id = wanted.trace_id
            AND span.facts ->> 'fold' IS DISTINCT FROM 'pending'
        ORDER BY span.tenant_id
    ) AS sent
    CROSS JOIN LATERAL (VALUES (sent.span_id, false), (sent.parent_span_id, true)) AS link (id, is_child)
) AS linked
GROUP BY linked.trace_id, linked.service

-- name: roots_of_traces
-- the first span without a parent of each of some traces, the first of all where every one has one; served by span_pkey
SELECT root.trace_id, root.name, root.service
FROM unnest(%(trace_ids)s::uuid[]) AS wanted (trace_id)
CROSS JOIN LATERAL (
    SELECT span.trace_id, span.name, resource.service_name AS service
    FROM spantree.span
    JOIN spantree.resource ON resource.tenant_id = span.tenant_id AND resource.id = span.resource_id
    WHERE span.tenant_id = %(tenant_id)s
        AND span.day = ANY (%(days)s::date[])
        AND span.trace_id = wanted.trace_id
        AND span.facts ->> 'fold' IS DISTINCT FROM 'pending'
    ORDER BY span.parent_span_id IS NOT NULL, span.start_ns, span.span_id
    LIMIT 1
) AS root
LIMIT cardinality(%(trace_ids)s::uuid[])

-- name: calls_between_services
-- which service called which in the executions of a range, most calls first; from rollups, served by rollup_pkey
SELECT held.name AS parent, held.kind AS child, sum(held.total)::bigint AS calls
FROM unnest(%(grains)s::integer[], %(since)s::timestamptz[], %(until)s::timestamptz[]) AS part (grain_h, since, until)
CROSS JOIN LATERAL (
    SELECT *
    FROM spantree.rollup
    WHERE rollup.tenant_id = %(tenant_id)s
        AND rollup.subject = 'call'
        AND rollup.grain_h = part.grain_h
        AND rollup.started_at >= part.since
        AND rollup.started_at < part.until
    OFFSET 0
) AS held
GROUP BY held.name, held.kind
HAVING sum(held.total) > 0
ORDER BY sum(held.total) DESC, held.name, held.kind
LIMIT %(limit)s

-- name: resources_of_service
-- what a service runs as; reads the tenant's resources, one for each process, whatever it sent
SELECT id
FROM spantree.resource
WHERE tenant_id = %(tenant_id)s
    AND service_name = %(service)s
LIMIT %(limit)s

-- name: resources_with_attribute
-- resources that have an attribute; reads the tenant's resources
SELECT id
FROM spantree.resource
WHERE tenant_id = %(tenant_id)s
    AND attributes ? %(key)s
    AND (attributes ->> %(key)s = %(text)s::text OR attributes -> %(key)s = %(value)s::text::jsonb)
LIMIT %(limit)s

-- name: gaps_of_terms
-- days of a range whose spans are not all found by terms; served by span_terms_gap_pkey
SELECT day
FROM spantree.span_terms_gap
WHERE tenant_id = %(tenant_id)s
    AND (day BETWEEN %(first_day)s::date AND %(last_day)s::date OR day = DATE '1970-01-01')
ORDER BY day

-- name: segments_with_terms
-- what was written of spans of one day that has some term of each place, and a span of the octaves, newest first, with the
-- entries among which terms are; served by span_terms_pkey
SELECT
    segment.last_ns, segment.id, segment.spans, segment.traces,
    segment.entry_fences[cardinality(segment.entry_fences)] AS entries,
    CASE WHEN %(by_resource)s::boolean THEN segment.resources END AS resources,
    CASE WHEN %(by_resource)s::boolean THEN segment.resource_ends END AS resource_ends,
    coalesce(segment.octave_ends[%(first_octave)s::integer], 0) AS shorter,
    segment.octave_ends[%(last_octave)s::integer + 1] AS up_to_longest,
    looked.near, looked.before, looked.looks, segment.part_ends, segment.part_first_ns, segment.part_last_ns
FROM spantree.span_terms AS segment
CROSS JOIN LATERAL (
    SELECT
        array_agg(look.near ORDER BY look.number_of) FILTER (WHERE look.is_near) AS near,
        array_agg(look.before ORDER BY look.number_of) FILTER (WHERE look.is_near) AS before,
        array_agg(look.number_of::integer ORDER BY look.number_of) FILTER (WHERE look.is_near) AS looks,
        count(DISTINCT look.place) FILTER (WHERE look.is_near) AS places
    FROM (
        SELECT read.*, position(read.term_bytes IN read.near) > 0 AS is_near
        FROM (
            SELECT
                wanted.number_of, wanted.place, wanted.term_bytes,
                segment.list_fences[range_of.number_of] AS before,
                substring(
                    segment.lists
                    FROM 16 * segment.traces + 8 * segment.spans + 6 * segment.entry_fences[range_of.number_of] + 1
                    FOR 6 * (segment.entry_fences[range_of.number_of + 1] - segment.entry_fences[range_of.number_of])
                ) AS near
            FROM unnest(%(look_places)s::integer[], %(look_terms)s::bigint[], %(look_bytes)s::bytea[])
                WITH ORDINALITY AS wanted (place, term, term_bytes, number_of)
            CROSS JOIN LATERAL (
                SELECT (wanted.term * (cardinality(segment.entry_fences) - 1) >> 32)::integer + 1 AS number_of
            ) AS range_of
            -- Each piece is read once, not wherever it is named.
            OFFSET 0
        ) AS read
        OFFSET 0
    ) AS look
) AS looked
WHERE segment.tenant_id = %(tenant_id)s
    AND segment.day = %(day)s::date
    AND segment.last_ns BETWEEN %(from_ns)s::bigint AND %(before_ns)s::bigint
    AND (segment.last_ns, segment.id) < (%(before_ns)s::bigint, %(before_id)s::uuid)
    AND segment.first_ns <= %(to_ns)s::bigint
    -- What an earlier version wrote has none; its day is in span_terms_gap.
    AND segment.lists IS NOT NULL
    AND segment.octave_ends[%(last_octave)s::integer + 1] > coalesce(segment.octave_ends[%(first_octave)s::integer], 0)
    AND looked.places = %(places)s::integer
ORDER BY segment.last_ns DESC, segment.id DESC
LIMIT %(segments)s

-- name: pieces_of_segments
-- pieces of what was written of spans, one behind the other as they are asked for; served by span_terms_pkey
SELECT string_agg(piece.bytes, ''::bytea ORDER BY wanted.number_of) AS bytes
FROM unnest(%(last_ns)s::text::bigint[], %(ids)s::text::uuid[], %(offsets)s::text::integer[], %(lengths)s::text::integer[])
    WITH ORDINALITY AS wanted (last_ns, id, first, length, number_of)
CROSS JOIN LATERAL (
    SELECT substring(segment.lists FROM wanted.first + 1 FOR wanted.length) AS bytes
    FROM spantree.span_terms AS segment
    WHERE segment.tenant_id = %(tenant_id)s
        AND segment.day = %(day)s::date
        AND segment.last_ns = wanted.last_ns
        AND segment.id = wanted.id
    LIMIT 1
) AS piece

-- name: of_traces
-- part: some traces by their ids; served by execution_pkey
    AND tenant_id = %(tenant_id)s
    AND trace_id = ANY (%(trace_ids)s::uuid[])
