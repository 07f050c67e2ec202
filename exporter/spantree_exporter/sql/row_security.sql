-- name: unguarded_tables
-- Tables and partitions with a tenant's rows that roles with SELECT read without row-level security.
SELECT c.oid::regclass::text
FROM pg_class AS c
WHERE c.relnamespace = 'spantree'::regnamespace
    AND c.relkind IN ('r', 'p')
    AND NOT c.relrowsecurity
    AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
ORDER BY 1

-- name: guard_table
SELECT spantree.guard_table(%(table)s::regclass)

-- name: holes
-- What lets roles past the policies, each a sentence's end: policies that are not ours, views with their owner's rights,
-- members of tenants' roles who see everybody's rows by another right.
SELECT format('%s has the policy "%s", which is none of spantree''s', polrelid::regclass, polname)
FROM pg_policy
JOIN pg_class AS c ON c.oid = polrelid AND c.relnamespace = 'spantree'::regnamespace
WHERE polname NOT IN ('tenant', 'all_tenants', 'reader', 'writer')
    AND polpermissive
UNION ALL
SELECT format('the view %s runs with the rights of its owner', c.oid::regclass)
FROM pg_class AS c
WHERE c.relnamespace = 'spantree'::regnamespace
    AND c.relkind = 'v'
    AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)
UNION ALL
SELECT format('the role "%s" reads as a tenant''s and also everybody''s rows', role.rolname)
FROM pg_roles AS role
WHERE NOT role.rolsuper
    AND EXISTS (
        SELECT
        FROM spantree.tenant_role AS bound
        JOIN pg_roles AS given ON given.rolname = bound.role_name
        WHERE bound.tenant_id IS NOT NULL
            AND pg_has_role(role.oid, given.oid, 'USAGE')
    )
    AND (
        role.rolbypassrls
        OR pg_has_role(role.oid, to_regrole('spantree_reader'), 'USAGE')
        OR EXISTS (
            SELECT
            FROM spantree.tenant_role AS bound
            JOIN pg_roles AS given ON given.rolname = bound.role_name
            WHERE bound.tenant_id IS NULL
                AND pg_has_role(role.oid, given.oid, 'USAGE')
        )
    )
ORDER BY 1

-- name: tenant_roles
-- How many roles of tenants there are.
SELECT count(*)
FROM spantree.tenant_role AS bound
JOIN pg_roles AS role ON role.rolname = bound.role_name
WHERE bound.tenant_id IS NOT NULL

-- name: make_roles
SELECT spantree.make_roles()

-- name: roles_to_try
-- Some roles of tenants, with the tenant.
SELECT bound.role_name, bound.tenant_id
FROM spantree.tenant_role AS bound
JOIN pg_roles AS role ON role.rolname = bound.role_name
JOIN spantree.tenant AS tenant ON tenant.tenant_id = bound.tenant_id AND tenant.dropped_at IS NULL
WHERE pg_has_role(current_user, role.oid, 'MEMBER')
ORDER BY bound.role_name
LIMIT 3

-- name: relations_to_try
-- Tables and views that a tenant's role reads, and the newest partitions, which it may not.
SELECT c.relname
FROM pg_class AS c
WHERE c.relnamespace = 'spantree'::regnamespace
    AND c.relkind IN ('r', 'p', 'v')
    AND c.relname NOT IN ('token', 'tenant_role', 'threshold')
    AND (NOT c.relispartition OR c.oid IN (
        SELECT max(inhrelid) FROM pg_inherits JOIN pg_class AS parent ON parent.oid = inhparent AND parent.relkind = 'p'
        GROUP BY inhparent
    ))
    AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
ORDER BY 1

-- name: foreign_trace
-- The trace of some other tenant.
SELECT tenant_id, trace_id FROM spantree.trace WHERE tenant_id <> %(tenant_id)s LIMIT 1

-- name: foreign_row
SELECT EXISTS (SELECT FROM {relation} WHERE tenant_id <> %(tenant_id)s)

-- name: foreign_tree
-- By every function that reads a trace, and by the search index, as the other's tenant and as one's own.
SELECT EXISTS (SELECT FROM spantree.execution_tree(%(trace_id)s, %(foreign_id)s))
    OR EXISTS (SELECT FROM spantree.critical_path(%(trace_id)s, %(foreign_id)s))
    OR EXISTS (SELECT FROM spantree.execution WHERE trace_id = %(trace_id)s AND tenant_id = %(foreign_id)s AND search @@ '!nosuchword')

-- name: set_role
SET LOCAL ROLE {role}

-- name: limit_try
SET LOCAL statement_timeout = '2s'
