-- Tenants and tokens: a few rows, read as a whole.

-- name: look_settings
-- For the session that looks at them.
SELECT set_config('statement_timeout', '5s', false)

-- name: tokens
-- Every token that may still be good, with its tenant's limits, and whether there has ever been one.
SELECT
    token.digest, token.token_id, token.tenant_id, tenant.name, token.scope,
    (extract(epoch FROM token.expires_at) * 1000000000)::bigint,
    tenant.spans_per_s_max, tenant.spool_bytes_max
FROM spantree.token AS token
JOIN spantree.tenant AS tenant ON tenant.tenant_id = token.tenant_id AND tenant.dropped_at IS NULL
WHERE token.revoked_at IS NULL
    AND (token.expires_at IS NULL OR token.expires_at > now())
ORDER BY token.token_id
LIMIT %(most)s

-- name: any_token
-- Whether authentication was ever asked for: tokens that were revoked or are out of date count.
SELECT EXISTS (SELECT FROM spantree.token)

-- name: tenant_numbers
SELECT name, tenant_id FROM spantree.tenant WHERE dropped_at IS NULL ORDER BY tenant_id LIMIT %(most)s

-- name: note_use
UPDATE spantree.token SET last_used_at = now() WHERE token_id = ANY (%(token_ids)s)

-- name: add_tenant
-- The next number: one that was dropped is not given out again. Waits for whoever adds one at the same time.
WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock(1936744816))
INSERT INTO spantree.tenant (tenant_id, name, spans_per_s_max, spool_bytes_max)
SELECT (SELECT max(tenant_id) + 1 FROM spantree.tenant), %(name)s, %(spans_per_s_max)s, %(spool_bytes_max)s
FROM locked
RETURNING tenant_id

-- name: tenants
SELECT
    tenant.tenant_id, tenant.name, tenant.spans_per_s_max, tenant.spool_bytes_max, tenant.created_at,
    count(token.token_id) FILTER (WHERE token.revoked_at IS NULL AND (token.expires_at IS NULL OR token.expires_at > now()))
FROM spantree.tenant AS tenant
LEFT JOIN spantree.token AS token ON token.tenant_id = tenant.tenant_id
WHERE tenant.dropped_at IS NULL
GROUP BY tenant.tenant_id
ORDER BY tenant.tenant_id

-- name: tenant_of_name
-- Served by tenant_name_idx.
SELECT tenant_id FROM spantree.tenant WHERE name = %(name)s AND dropped_at IS NULL

-- name: rename_tenant
UPDATE spantree.tenant SET name = %(new_name)s WHERE name = %(name)s AND dropped_at IS NULL RETURNING tenant_id

-- name: limit_tenant
UPDATE spantree.tenant
SET
    spans_per_s_max = %(spans_per_s_max)s,
    spool_bytes_max = %(spool_bytes_max)s
WHERE name = %(name)s
    AND dropped_at IS NULL
RETURNING tenant_id

-- name: drop_tenant
-- Its rows stay until retention takes them; nobody can read or add any.
UPDATE spantree.tenant SET dropped_at = now() WHERE name = %(name)s AND dropped_at IS NULL AND tenant_id <> 0 RETURNING tenant_id

-- name: make_role
SELECT spantree.make_tenant_role(%(name)s)

-- name: add_token
INSERT INTO spantree.token (token_id, tenant_id, scope, digest, note, expires_at)
VALUES (%(token_id)s, %(tenant_id)s, %(scope)s, %(digest)s, %(note)s, %(expires_at)s)

-- name: list_tokens
SELECT
    token.token_id, tenant.name, token.scope, token.note, token.created_at, token.expires_at, token.revoked_at,
    token.last_used_at
FROM spantree.token AS token
JOIN spantree.tenant AS tenant ON tenant.tenant_id = token.tenant_id
ORDER BY token.created_at, token.token_id

-- name: revoke_token
UPDATE spantree.token
SET revoked_at = coalesce(revoked_at, now())
WHERE token_id = %(token_id)s
RETURNING token_id, tenant_id
