-- Whose rows are whose, and who may send and read. Both tables are small: every process keeps them in memory and looks
-- again every other second (token_watch.py). No key of the large tables refers to them.

CREATE TABLE spantree.tenant (
    tenant_id integer NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    spans_per_s_max integer CHECK (spans_per_s_max > 0),
    spool_bytes_max bigint CHECK (spool_bytes_max > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    dropped_at timestamptz,
    CONSTRAINT tenant_pkey PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE spantree.tenant IS 'who shares this installation; tenant 0 is there from the start';
COMMENT ON COLUMN spantree.tenant.tenant_id IS 'what every other table carries; never given out again';
COMMENT ON COLUMN spantree.tenant.name IS 'what people call it; unique among those that are not dropped';
COMMENT ON COLUMN spantree.tenant.spans_per_s_max IS 'spans a second that one collector takes of it; NULL: any number';
COMMENT ON COLUMN spantree.tenant.spool_bytes_max IS 'bytes that may wait for PostgreSQL in one collector; NULL: as many as there is room for';
COMMENT ON COLUMN spantree.tenant.created_at IS 'when it was added';
COMMENT ON COLUMN spantree.tenant.dropped_at IS 'when it was dropped: its tokens are refused from then on';

CREATE UNIQUE INDEX tenant_name_idx ON spantree.tenant (name) WHERE dropped_at IS NULL;
COMMENT ON INDEX spantree.tenant_name_idx IS 'serves tokens.sql: the tenant of a name';

INSERT INTO spantree.tenant (tenant_id, name) VALUES (0, 'default');

CREATE TABLE spantree.token (
    token_id text NOT NULL,
    tenant_id integer NOT NULL,
    scope text NOT NULL CHECK (scope IN ('ingest', 'read', 'admin')),
    digest bytea NOT NULL,
    note text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT token_pkey PRIMARY KEY (token_id)
);
COMMENT ON TABLE spantree.token IS 'what senders and readers show; the token itself is not kept';
COMMENT ON COLUMN spantree.token.token_id IS 'what people call it; the beginning of the token';
COMMENT ON COLUMN spantree.token.tenant_id IS 'whose spans it sends or reads';
COMMENT ON COLUMN spantree.token.scope IS 'ingest: send; read: ask; admin: both, and change what can be changed';
COMMENT ON COLUMN spantree.token.digest IS 'SHA-256 of the token, which is 256 random bits';
COMMENT ON COLUMN spantree.token.note IS 'what it is for';
COMMENT ON COLUMN spantree.token.created_at IS 'when it was made';
COMMENT ON COLUMN spantree.token.expires_at IS 'refused from then on';
COMMENT ON COLUMN spantree.token.revoked_at IS 'refused from then on';
COMMENT ON COLUMN spantree.token.last_used_at IS 'about when it was last used, a minute more or less';
