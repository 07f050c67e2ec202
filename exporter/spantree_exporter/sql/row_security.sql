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
WHERE polname NOT IN ('tenant', 'all_tenants')
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
