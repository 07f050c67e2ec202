-- Who asked what of which service, from the spans of servers. Columns are only ever appended. Old names of attributes and
-- new; what services declare of themselves (audit.action and the like) goes before what the request tells.

CREATE OR REPLACE VIEW spantree.audit WITH (security_invoker = true) AS
SELECT
    s.tenant_id,
    s.day,
    s.trace_id AS execution_id,
    lpad(to_hex(s.span_id), 16, '0') AS span_id,
    to_timestamp((s.start_ns / 1000) / 1e6::double precision) AS at,
    coalesce(
        said.caller_id,
        (
            SELECT e.user_id
            FROM spantree.execution AS e
            WHERE e.tenant_id = s.tenant_id
                AND e.trace_id = s.trace_id
                AND e.day = s.day
        )
    ) AS user_id,
    coalesce(
        s.attributes ->> 'audit.action',
        CASE said.method
            WHEN 'GET' THEN 'read'
            WHEN 'HEAD' THEN 'read'
            WHEN 'POST' THEN 'create'
            WHEN 'PUT' THEN 'update'
            WHEN 'PATCH' THEN 'update'
            WHEN 'DELETE' THEN 'delete'
            ELSE coalesce(lower(said.method), s.attributes ->> 'rpc.method', s.name)
        END
    ) AS action,
    coalesce(
        s.attributes ->> 'audit.resource.type',
        substring(said.pattern FROM '.*/([^/{}]+)/\{[^/]*\}'),
        substring(said.pattern FROM '.*/([^/{}]+)/?$'),
        s.attributes ->> 'rpc.service'
    ) AS resource_type,
    coalesce(
        s.attributes ->> 'audit.resource.id',
        nullif(
            split_part(
                said.path, '/',
                coalesce(cardinality(string_to_array(substring(said.pattern FROM '^(.*/)\{[^/]*\}'), '/')), 1)
            ),
            ''
        )
    ) AS resource_id,
    coalesce(
        s.attributes ->> 'tenant.id', s.attributes ->> 'tenant_id', s.attributes ->> 'organization.id', s.tenant_id::text
    ) AS tenant,
    said.method,
    said.path,
    said.status,
    s.status_code <> 2 AND coalesce(said.status, 0) < 400 AS success,
    coalesce(s.facts ->> 'error_message', s.status_message, s.facts ->> 'error_type') AS error,
    coalesce(
        s.attributes ->> 'client.address', s.attributes ->> 'http.client_ip', s.attributes ->> 'network.peer.address',
        s.attributes ->> 'net.sock.peer.addr', s.attributes ->> 'net.peer.ip'
    ) AS address,
    coalesce(s.attributes ->> 'user_agent.original', s.attributes ->> 'http.user_agent') AS user_agent,
    r.service_name AS service,
    s.attributes ->> 'http.route' AS route,
    (s.end_ns - s.start_ns) / 1e6::double precision AS duration_ms,
    coalesce(s.facts ->> 'hidden', '') = 'true' AS hidden,
    said.caller_id,
    s.start_ns AS started_ns,
    s.span_id AS span_number
FROM spantree.span AS s
LEFT JOIN spantree.resource AS r
    ON r.tenant_id = s.tenant_id
    AND r.id = s.resource_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(s.attributes ->> 'http.request.method', s.attributes ->> 'http.method') AS method,
        coalesce(
            split_part(coalesce(s.attributes ->> 'url.path', s.attributes ->> 'http.target'), '?', 1),
            substring(left(coalesce(s.attributes ->> 'url.full', s.attributes ->> 'http.url'), 4000) FROM '^[a-z]+://[^/?#]*(/[^?#]*)')
        ) AS path
) AS request
CROSS JOIN LATERAL (
    SELECT
        request.method,
        left(request.path, 2000) AS path,
        -- The route with its parameters in braces; without one, the path with what looks like an id in braces.
        CASE
            WHEN s.attributes ? 'http.route'
            THEN regexp_replace(left(s.attributes ->> 'http.route', 2000), '<[^>/]*>|:[A-Za-z_][^/]*', '{}', 'g')
            ELSE regexp_replace(
                left(request.path, 2000), '/([0-9]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,})(?=/|$)', '/{}', 'g'
            )
        END AS pattern,
        CASE
            WHEN coalesce(s.attributes ->> 'http.response.status_code', s.attributes ->> 'http.status_code') ~ '^[1-9][0-9]{2}$'
            THEN coalesce(s.attributes ->> 'http.response.status_code', s.attributes ->> 'http.status_code')::integer
        END AS status,
        coalesce(
            s.attributes ->> 'audit.user', s.attributes ->> 'user.id', s.attributes ->> 'enduser.id',
            s.facts ->> 'user_id', s.attributes ->> 'enduser.pseudo.id'
        ) AS caller_id
) AS said
WHERE s.kind = 2;

COMMENT ON VIEW spantree.audit IS 'who asked what of which service: every request that a traced service answered';
COMMENT ON COLUMN spantree.audit.tenant_id IS 'whose span it is';
COMMENT ON COLUMN spantree.audit.day IS 'UTC day of the request; filter by it';
COMMENT ON COLUMN spantree.audit.execution_id IS 'the execution that it is a part of; compares with 32 hex digits';
COMMENT ON COLUMN spantree.audit.span_id IS 'the span of the request, 16 hex digits';
COMMENT ON COLUMN spantree.audit.at IS 'when it came in';
COMMENT ON COLUMN spantree.audit.user_id IS 'caller_id, else the user of the execution';
COMMENT ON COLUMN spantree.audit.action IS 'what was asked: audit.action where the service declares it, else read, create, update or delete by the HTTP method, else the method, of RPC, or the name of the span';
COMMENT ON COLUMN spantree.audit.resource_type IS 'of what: audit.resource.type where the service declares it, else the part of the route before its last parameter, else its last part; the service of RPC';
COMMENT ON COLUMN spantree.audit.resource_id IS 'of which: audit.resource.id where the service declares it, else the value of the route''s last parameter';
COMMENT ON COLUMN spantree.audit.tenant IS 'tenant.id, tenant_id or organization.id as the service declares it, else whose span it is';
COMMENT ON COLUMN spantree.audit.method IS 'HTTP method';
COMMENT ON COLUMN spantree.audit.path IS 'path of the URL, without its query, which may hold secrets';
COMMENT ON COLUMN spantree.audit.status IS 'HTTP status code; null where there is none';
COMMENT ON COLUMN spantree.audit.success IS 'whether neither the span failed nor the status is 400 or more';
COMMENT ON COLUMN spantree.audit.error IS 'message of the error, else its type; null where there is none';
COMMENT ON COLUMN spantree.audit.address IS 'address of the client, or of the peer';
COMMENT ON COLUMN spantree.audit.user_agent IS 'what the client calls itself';
COMMENT ON COLUMN spantree.audit.service IS 'the service that was asked';
COMMENT ON COLUMN spantree.audit.route IS 'the route as the service''s framework names it';
COMMENT ON COLUMN spantree.audit.duration_ms IS 'milliseconds until it was answered';
COMMENT ON COLUMN spantree.audit.hidden IS 'whether it is a health check, probe or scrape';
COMMENT ON COLUMN spantree.audit.caller_id IS 'the user that the request itself names: audit.user, user.id, enduser.id';
COMMENT ON COLUMN spantree.audit.started_ns IS 'when it came in, UTC nanoseconds since 1970; filter by it to use the index';
COMMENT ON COLUMN spantree.audit.span_number IS 'the span id as a number: after started_ns and execution_id the order of the index';
