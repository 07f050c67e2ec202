-- What an analysis is made of beyond the failure report, and what was made.

-- name: versions_of_spans
-- services that sent some spans of a trace, with their versions; served by span_pkey
SELECT DISTINCT resource.service_name AS service, resource.attributes ->> 'service.version' AS version
FROM (
    SELECT span.resource_id
    FROM spantree.span
    WHERE span.tenant_id = %(tenant_id)s
        AND span.trace_id = %(trace_id)s::uuid
        AND span.day = ANY (%(days)s::date[])
        AND span.span_id = ANY (%(span_ids)s::bigint[])
    LIMIT 100
) AS sent
JOIN spantree.resource
    ON resource.tenant_id = %(tenant_id)s
    AND resource.id = sent.resource_id
ORDER BY 1, 2

-- name: analysis_of_trace
-- the stored analysis of an execution; served by analysis_pkey
SELECT answer
FROM spantree.analysis
WHERE tenant_id = %(tenant_id)s
    AND trace_id = %(trace_id)s::uuid

-- name: store_analysis
-- instead of the one there was; served by analysis_pkey
INSERT INTO spantree.analysis (tenant_id, trace_id, day, created_at, model, input_tokens, output_tokens, answer)
VALUES (
    %(tenant_id)s, %(trace_id)s::uuid, %(day)s::date, %(created_at)s::timestamptz, %(model)s, %(input_tokens)s,
    %(output_tokens)s, %(answer)s::jsonb
)
ON CONFLICT ON CONSTRAINT analysis_pkey
DO UPDATE SET
    day = EXCLUDED.day,
    created_at = EXCLUDED.created_at,
    model = EXCLUDED.model,
    input_tokens = EXCLUDED.input_tokens,
    output_tokens = EXCLUDED.output_tokens,
    answer = EXCLUDED.answer
RETURNING trace_id
