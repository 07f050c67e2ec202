-- What was asked of spantree itself and changed in it. Only ever appended to: old months are dropped whole, by their
-- partition, and a trigger refuses everything else. The triggers are no obstacle on Citus: it stays an ordinary table.

CREATE TABLE spantree.own_audit_event (
    tenant_id integer NOT NULL,
    at timestamptz NOT NULL,
    id uuid NOT NULL,
    actor_kind text NOT NULL,
    actor text NOT NULL,
    scope text,
    channel text NOT NULL,
    action text NOT NULL,
    object_type text,
    object_id text,
    method text,
    route text,
    status integer,
    times integer NOT NULL,
    address text,
    details jsonb NOT NULL,
    CONSTRAINT own_audit_event_pkey PRIMARY KEY (tenant_id, at, id)
) PARTITION BY RANGE (at);

COMMENT ON TABLE spantree.own_audit_event IS 'who asked what of spantree itself, and changed what; a partition a month, never changed';
COMMENT ON CONSTRAINT own_audit_event_pkey ON spantree.own_audit_event IS 'serves GET /audit/own, newest first; makes writing an event again change nothing';
COMMENT ON COLUMN spantree.own_audit_event.tenant_id IS 'whose rows were asked for or changed; 0 also where nobody was let in';
COMMENT ON COLUMN spantree.own_audit_event.at IS 'when it was answered, by the clock of the process that answered';
COMMENT ON COLUMN spantree.own_audit_event.id IS 'tells events of one moment apart';
COMMENT ON COLUMN spantree.own_audit_event.actor_kind IS 'token, person, local: an account of an operating system, anyone: no token was ever made, nobody: not let in, service: spantree itself';
COMMENT ON COLUMN spantree.own_audit_event.actor IS 'the beginning of the token that names it, the person, the account; empty for anyone and nobody';
COMMENT ON COLUMN spantree.own_audit_event.scope IS 'scope of the token or role of the person';
COMMENT ON COLUMN spantree.own_audit_event.channel IS 'http, grpc (Jaeger''s storage API), command or service';
COMMENT ON COLUMN spantree.own_audit_event.action IS 'read, list, export, analyze, login, create, update, delete and the like';
COMMENT ON COLUMN spantree.own_audit_event.object_type IS 'what it was about: execution, failure_group, alert_rule, token, tenant, day ...';
COMMENT ON COLUMN spantree.own_audit_event.object_id IS 'which one: the id, the fingerprint, the name';
COMMENT ON COLUMN spantree.own_audit_event.method IS 'method of HTTP';
COMMENT ON COLUMN spantree.own_audit_event.route IS 'template of the path, the method of gRPC, or the command; never a query';
COMMENT ON COLUMN spantree.own_audit_event.status IS 'status of HTTP that was answered; of a command null';
COMMENT ON COLUMN spantree.own_audit_event.times IS 'how often the same was asked within some seconds, for requests that changed nothing';
COMMENT ON COLUMN spantree.own_audit_event.address IS 'where the request came from';
COMMENT ON COLUMN spantree.own_audit_event.details IS 'what was changed, by names of members; no token and no text that was searched for';

ALTER TABLE spantree.alert_rule ADD COLUMN changed_by text;
COMMENT ON COLUMN spantree.alert_rule.changed_by IS 'who made or changed it last: a token or a person; null where it was no identity''s, or a file';
