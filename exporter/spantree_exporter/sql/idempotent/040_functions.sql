-- plpgsql, because Citus plans no SQL-language functions over distributed tables.

CREATE OR REPLACE FUNCTION spantree.execution_tree(trace uuid, tenant integer DEFAULT 0)
RETURNS TABLE (
    sequence integer,
    tree text,
    kind text,
    status text,
    attempt integer,
    duration_ms double precision,
    error text,
    span_id text,
    ordinal integer,
    parent_span_id text,
    depth integer,
    started_at timestamptz,
    service text
)
LANGUAGE plpgsql
STABLE
-- Days leave partitions out only where they are known when the plan is made.
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
    of_trace date[] := (SELECT t.days FROM spantree.trace AS t WHERE t.tenant_id = tenant AND t.trace_id = trace);
BEGIN
    RETURN QUERY
    SELECT
        n.sequence,
        repeat('  ', n.depth) || n.name,
        n.kind,
        n.status,
        n.attempt,
        (n.ended_ns - n.started_ns) / 1e6::double precision,
        concat_ws(': ', n.error_type, n.error_message),
        lpad(to_hex(n.span_id), 16, '0'),
        n.ordinal,
        lpad(to_hex(n.parent_span_id), 16, '0'),
        n.depth,
        to_timestamp((n.started_ns / 1000) / 1e6::double precision),
        n.service
    FROM spantree.node AS n
    WHERE n.tenant_id = tenant
        AND n.trace_id = trace
        AND n.day = ANY (of_trace)
    ORDER BY n.sequence;
END
$$;

COMMENT ON FUNCTION spantree.execution_tree(uuid, integer) IS 'the steps of one execution in the order of its tree, names indented by depth; takes the 32 hex digits of the trace id';

CREATE OR REPLACE FUNCTION spantree.critical_path(trace uuid, tenant integer DEFAULT 0)
RETURNS TABLE (
    sequence integer,
    name text,
    kind text,
    status text,
    duration_ms double precision,
    self_ms double precision,
    started_at timestamptz,
    span_id text,
    ordinal integer,
    depth integer
)
LANGUAGE plpgsql
STABLE
-- Days leave partitions out only where they are known when the plan is made.
SET plan_cache_mode = force_custom_plan
SET jit = off
AS $$
DECLARE
    of_trace date[] := (SELECT t.days FROM spantree.trace AS t WHERE t.tenant_id = tenant AND t.trace_id = trace);
BEGIN
    RETURN QUERY
    SELECT
        n.sequence,
        n.name,
        n.kind,
        n.status,
        (n.ended_ns - n.started_ns) / 1e6::double precision,
        n.self_ns / 1e6::double precision,
        to_timestamp((n.started_ns / 1000) / 1e6::double precision),
        lpad(to_hex(n.span_id), 16, '0'),
        n.ordinal,
        n.depth
    FROM spantree.node AS n
    WHERE n.tenant_id = tenant
        AND n.trace_id = trace
        AND n.day = ANY (of_trace)
        AND n.on_critical_path
    ORDER BY n.started_ns, n.sequence;
END
$$;

COMMENT ON FUNCTION spantree.critical_path(uuid, integer) IS 'the steps without which the execution would have ended earlier, in order of start';

CREATE OR REPLACE FUNCTION spantree.jaeger_url(jaeger text, trace uuid, span_id text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
AS $$
BEGIN
    RETURN rtrim(jaeger, '/') || '/trace/' || replace(trace::text, '-', '') || coalesce('?uiFind=' || span_id, '');
END
$$;

COMMENT ON FUNCTION spantree.jaeger_url(text, uuid, text) IS 'the page of a trace, or of one of its spans by its 16 hex digits, in the Jaeger at this address, as the API''s jaeger_url';
