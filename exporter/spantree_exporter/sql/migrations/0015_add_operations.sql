-- What spans can be searched by: the services that send them, and their names. A set, never a count, so that writing it
-- costs a look into a writer's memory for nearly every span.

CREATE TABLE spantree.operation (
    tenant_id integer NOT NULL,
    service text NOT NULL,
    name text NOT NULL,
    kind integer NOT NULL,
    last_day date NOT NULL,
    CONSTRAINT operation_pkey PRIMARY KEY (tenant_id, service, name, kind)
);

COMMENT ON TABLE spantree.operation IS 'the names and kinds of the spans of each service, as search forms offer them; a bounded number a service';
COMMENT ON CONSTRAINT operation_pkey ON spantree.operation IS 'recognises one that is there; serves lists of services, and of the operations of one';
COMMENT ON COLUMN spantree.operation.tenant_id IS 'whose spans they are';
COMMENT ON COLUMN spantree.operation.service IS 'service.name of the resource; longer ones than 255 characters are left out';
COMMENT ON COLUMN spantree.operation.name IS 'name of the span; longer ones than 255 characters are left out';
COMMENT ON COLUMN spantree.operation.kind IS 'SpanKind of OTLP: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer';
COMMENT ON COLUMN spantree.operation.last_day IS 'UTC day on which a collector last wrote one, or wrote the first after it had started';

INSERT INTO spantree.operation (tenant_id, service, name, kind, last_day)
SELECT tenant_id, service, name, kind, last_day
FROM (
    SELECT
        named.tenant_id, resource.service_name AS service, named.name, named.kind, max(named.last_day) AS last_day,
        row_number() OVER (
            PARTITION BY named.tenant_id, resource.service_name ORDER BY max(named.last_day) DESC, named.name, named.kind
        ) AS place
    FROM (
        SELECT tenant_id, resource_id, name, kind, max(day) AS last_day
        FROM spantree.span
        WHERE facts ->> 'fold' IS DISTINCT FROM 'pending'
        GROUP BY tenant_id, resource_id, name, kind
    ) AS named
    JOIN spantree.resource ON resource.tenant_id = named.tenant_id AND resource.id = named.resource_id
    WHERE resource.service_name <> ''
        AND length(resource.service_name) <= 255
        AND length(named.name) <= 255
    GROUP BY named.tenant_id, resource.service_name, named.name, named.kind
) AS ranked
WHERE place <= 5000;
