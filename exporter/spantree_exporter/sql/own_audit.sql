-- The own audit as commands write and read it; the API's reads are its own.

-- name: write
SELECT spantree.write_own_audit(%(events)s::jsonb)

-- name: drop
SELECT spantree.drop_own_audit(%(keep_days)s)

-- name: newest
-- The newest events of all tenants, or of one; served by own_audit_event_pkey for one.
SELECT
    tenant.name AS tenant, event.at, event.actor_kind, event.actor, event.channel, event.action, event.object_type,
    event.object_id, event.method, event.route, event.status, event.times, event.address, event.details
FROM spantree.own_audit AS event
LEFT JOIN spantree.tenant ON tenant.tenant_id = event.tenant_id
WHERE (%(tenant)s::text IS NULL OR event.tenant_id IN (SELECT tenant_id FROM spantree.tenant WHERE name = %(tenant)s))
    AND (%(actor)s::text IS NULL OR event.actor = %(actor)s)
    AND (%(action)s::text IS NULL OR event.action = %(action)s)
    AND (%(object)s::text IS NULL OR %(object)s IN (event.object_type, concat_ws('/', event.object_type, event.object_id)))
    AND (%(since)s::timestamptz IS NULL OR event.at >= %(since)s)
ORDER BY event.at DESC, event.id DESC
LIMIT %(limit)s
