-- The own audit.

-- name: write_own_audit
-- appends some events; how many were new
SELECT '' AS name, spantree.write_own_audit(%(events)s::text::jsonb) AS count

-- name: own_audit_events
-- events of a tenant, newest first; served by own_audit_event_pkey
SELECT
    at, id, actor_kind, actor, scope, channel, action, object_type, object_id, method, route, status, times, address,
    details
FROM spantree.own_audit
WHERE tenant_id = %(tenant_id)s
    AND at >= %(since)s::timestamptz
    AND at < %(until)s::timestamptz
    AND (at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s)
    AND (%(action)s::text IS NULL OR action = %(action)s)
    AND (%(object)s::text IS NULL OR %(object)s IN (object_type, concat_ws('/', object_type, object_id)))
    AND (%(address)s::text IS NULL OR address = %(address)s)
ORDER BY at DESC, id DESC
LIMIT %(limit)s
