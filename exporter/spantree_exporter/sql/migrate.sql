-- name: settings
-- An index of a large table takes what it takes. Locks have a limit of their own (short_locks.sql).
SELECT set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false)

-- name: schema_exists
-- Tells whether the schema is there, so that an owner without CREATE on the database can migrate.
SELECT to_regnamespace('spantree') IS NOT NULL

-- name: create_schema
CREATE SCHEMA spantree

-- name: comment_schema
COMMENT ON SCHEMA spantree IS 'spantree: spans, and the executions, nodes and edges that are computed from them'

-- name: create_migration
CREATE TABLE IF NOT EXISTS spantree.migration (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT migration_pkey PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS spantree.definition (
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT definition_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE spantree.migration IS 'numbered migrations that were applied';
COMMENT ON COLUMN spantree.migration.version IS 'number of the file';
COMMENT ON COLUMN spantree.migration.name IS 'name of the file';
COMMENT ON COLUMN spantree.migration.sha256 IS 'hash of the file when it was applied';
COMMENT ON COLUMN spantree.migration.applied_at IS 'when it was applied';
COMMENT ON TABLE spantree.definition IS 'files of views and functions, applied again whenever they change';
COMMENT ON COLUMN spantree.definition.name IS 'name of the file';
COMMENT ON COLUMN spantree.definition.sha256 IS 'hash of the file when it was last applied';
COMMENT ON COLUMN spantree.definition.applied_at IS 'when it was last applied'

-- name: migration_exists
SELECT to_regclass('spantree.migration') IS NOT NULL

-- name: has_roles_without_rights
-- Roles that were made after the schema, or a schema that was restored from where there were none.
SELECT EXISTS (
    SELECT
    FROM pg_roles
    WHERE rolname IN ('spantree_writer', 'spantree_reader')
        AND NOT has_schema_privilege(oid, 'spantree', 'USAGE')
)

-- name: grant_roles
SELECT spantree.grant_roles()

-- name: try_lock
-- Polled, never waited for: a waiting lock holds a snapshot, which CREATE INDEX CONCURRENTLY waits for in turn.
SELECT pg_try_advisory_lock(1936744814, 0)

-- name: unlock
SELECT pg_advisory_unlock(1936744814, 0)

-- name: applied_migrations
SELECT version, name, sha256
FROM spantree.migration
ORDER BY version

-- name: latest_version
SELECT coalesce(max(version), 0)
FROM spantree.migration

-- name: missing_versions
SELECT version
FROM unnest(%(versions)s::integer[]) AS wanted (version)
WHERE version NOT IN (SELECT version FROM spantree.migration)
ORDER BY version

-- name: contracted_by
-- The first of the migrations that a build does not know which takes away what older builds need.
SELECT name
FROM spantree.migration
WHERE version > %(version)s
    AND name ~ '^[0-9]+_contract_'
ORDER BY version
LIMIT 1

-- name: insert_migration
INSERT INTO spantree.migration (version, name, sha256)
VALUES (%(version)s, %(name)s, %(sha256)s)

-- name: applied_definitions
SELECT name, sha256
FROM spantree.definition

-- name: upsert_definition
INSERT INTO spantree.definition (name, sha256)
VALUES (%(name)s, %(sha256)s)
ON CONFLICT ON CONSTRAINT definition_pkey
DO UPDATE SET sha256 = EXCLUDED.sha256, applied_at = now()
