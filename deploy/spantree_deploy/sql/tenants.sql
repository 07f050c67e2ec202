-- name: tenant
-- The number of a name; of one that was dropped, too: its rows stay. Of a table of few rows.
SELECT tenant_id
FROM spantree.tenant
WHERE name = %(name)s
ORDER BY dropped_at DESC NULLS FIRST
LIMIT 1
