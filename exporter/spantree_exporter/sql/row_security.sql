-- name: unguarded_tables
-- Tables and partitions with a tenant's rows that roles with SELECT read without row-level security, or whose texts they
-- guess by what EXPLAIN estimates.
SELECT c.oid::regclass::text
FROM pg_class AS c
WHERE c.relnamespace = 'spantree'::regnamespace
    AND c.relkind IN ('r', 'p')
    AND (
        NOT c.relrowsecurity
        OR (
            EXISTS (SELECT FROM spantree.texts_of(c.oid) AS told WHERE told.has_statistics)
            AND NOT spantree.is_distributed(c.oid)
        )
    )
    AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
ORDER BY 1

-- name: guard_table
SELECT spantree.guard_table(%(table)s::regclass)

-- name: holes
-- What lets roles past the policies, each a sentence's end: policies that are not ours, views with their owner's rights,
-- copies of rows, rights beyond reading, functions that lend rights, indexes and statistics that tell of others' texts,
-- members of tenants' roles who are let see more by another role.
WITH tenants_role AS MATERIALIZED (
    SELECT role.oid, role.rolname
    FROM spantree.tenant_role AS bound
    JOIN pg_roles AS role ON role.rolname = bound.role_name
    WHERE bound.tenant_id IS NOT NULL
),
guarded AS MATERIALIZED (
    SELECT c.*
    FROM pg_class AS c
    WHERE c.relnamespace = 'spantree'::regnamespace
        AND c.relkind IN ('r', 'p')
        AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
)
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
SELECT format('%s holds rows that no policy is asked about', c.oid::regclass)
FROM pg_class AS c
WHERE c.relnamespace = 'spantree'::regnamespace
    AND c.relkind IN ('m', 'f')
UNION ALL
-- TRUNCATE and the checks of foreign keys ask no policy, a trigger runs as whoever writes.
SELECT format('%s has the right %s on %s', coalesce(role.rolname, 'PUBLIC'), given.privilege_type, c.oid::regclass)
FROM pg_class AS c
CROSS JOIN aclexplode(c.relacl) AS given
LEFT JOIN tenants_role AS role ON role.oid = given.grantee
WHERE c.relnamespace = 'spantree'::regnamespace
    AND given.privilege_type <> 'SELECT'
    AND (given.grantee = 0 OR role.oid IS NOT NULL)
UNION ALL
SELECT format('%s may make things in the schema spantree', coalesce(role.rolname, 'PUBLIC'))
FROM pg_namespace AS schema
CROSS JOIN aclexplode(schema.nspacl) AS given
LEFT JOIN tenants_role AS role ON role.oid = given.grantee
WHERE schema.nspname = 'spantree'
    AND given.privilege_type = 'CREATE'
    AND (given.grantee = 0 OR role.oid IS NOT NULL)
UNION ALL
SELECT format('the function %s lends its owner''s rights to everybody', f.oid::regprocedure)
FROM pg_proc AS f
CROSS JOIN aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS given
LEFT JOIN tenants_role AS role ON role.oid = given.grantee
WHERE f.pronamespace = 'spantree'::regnamespace
    AND f.prosecdef
    AND f.proname <> 'tenant_of'
    AND (given.grantee = 0 OR role.oid IS NOT NULL)
UNION ALL
SELECT format('the function %s lends its owner''s rights and does not name where it looks for others', f.oid::regprocedure)
FROM pg_proc AS f
WHERE f.pronamespace = 'spantree'::regnamespace
    AND f.prosecdef
    AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (f.proconfig), false)
UNION ALL
-- What is leakproof is given everybody's rows before the policy is asked.
SELECT format('the function %s is marked as leakproof', f.oid::regprocedure)
FROM pg_proc AS f
WHERE f.proleakproof
    -- Above are those that came after initdb.
    AND f.oid >= 16384
UNION ALL
-- EXPLAIN ANALYZE counts the rows that an index finds and the policy takes away: whether there is a text.
SELECT format('the index %s finds %s of every tenant', i.indexrelid::regclass, a.attname)
FROM guarded AS c
JOIN pg_index AS i ON i.indrelid = c.oid
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
WHERE NOT c.relispartition
    AND c.relname NOT IN ('token', 'tenant_role', 'tenant')
    AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'name'::regtype, 'bytea'::regtype)
    AND NOT EXISTS (
        SELECT
        FROM unnest(i.indkey::int2[]) AS key (attnum)
        JOIN pg_attribute AS own ON own.attrelid = c.oid AND own.attnum = key.attnum
        WHERE own.attname = 'tenant_id'
    )
UNION ALL
SELECT format('the statistics of %I.%s from earlier have texts of every tenant', kept.tablename, string_agg(kept.attname, ', ' ORDER BY kept.attname))
FROM pg_stats AS kept
JOIN guarded AS c ON c.relname = kept.tablename
JOIN LATERAL spantree.texts_of(c.oid) AS told ON told.column_name = kept.attname
WHERE kept.schemaname = 'spantree'
    AND NOT told.has_statistics
    AND (kept.most_common_vals IS NOT NULL OR kept.histogram_bounds IS NOT NULL)
    AND EXISTS (SELECT FROM tenants_role)
GROUP BY kept.tablename
UNION ALL
SELECT format('there are statistics %s of %s, which no policy is asked about', quote_ident(extended.stxname), extended.stxrelid::regclass)
FROM pg_statistic_ext AS extended
JOIN guarded AS c ON c.oid = extended.stxrelid
UNION ALL
SELECT format('the role "%s" reads as a tenant''s and also everybody''s rows', role.rolname)
FROM pg_roles AS role
WHERE NOT role.rolsuper
    AND EXISTS (SELECT FROM tenants_role AS given WHERE pg_has_role(role.oid, given.oid, 'USAGE'))
    AND (
        role.rolbypassrls
        -- Before PostgreSQL 16 it grants itself whatever role it likes.
        OR (role.rolcreaterole AND current_setting('server_version_num')::integer < 160000)
        -- MEMBER: what SET ROLE may take on as well as what is inherited.
        OR EXISTS (
            SELECT
            FROM pg_roles AS other
            WHERE pg_has_role(role.oid, other.oid, 'MEMBER')
                AND (
                    other.rolsuper
                    OR other.rolbypassrls
                    OR other.rolname IN (
                        'spantree_reader', 'spantree_writer', 'pg_read_server_files', 'pg_write_server_files',
                        'pg_execute_server_program', 'pg_read_all_stats', 'pg_monitor'
                    )
                    OR other.oid IN (SELECT c.relowner FROM guarded AS c)
                )
        )
        OR EXISTS (
            SELECT
            FROM spantree.tenant_role AS bound
            JOIN pg_roles AS given ON given.rolname = bound.role_name
            WHERE bound.tenant_id IS NULL
                AND pg_has_role(role.oid, given.oid, 'MEMBER')
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
-- Some roles of tenants, with the tenant, and the API's, which a tenant has to be named to.
(
    SELECT bound.role_name, bound.tenant_id, false AS is_told
    FROM spantree.tenant_role AS bound
    JOIN pg_roles AS role ON role.rolname = bound.role_name
    JOIN spantree.tenant AS tenant ON tenant.tenant_id = bound.tenant_id AND tenant.dropped_at IS NULL
    WHERE pg_has_role(current_user, role.oid, 'MEMBER')
    ORDER BY bound.role_name
    LIMIT 3
)
UNION ALL
SELECT role.rolname, (SELECT min(tenant_id) FROM spantree.tenant), true
FROM pg_roles AS role
WHERE role.rolname = 'spantree_reader'
    AND pg_has_role(current_user, role.oid, 'MEMBER')

-- name: relations_to_try
-- Tables and views that a tenant's role reads, and the newest partitions, which it may not. The API's role may read the
-- names of tenants, for it has to know whom a token is of.
SELECT c.relname
FROM pg_class AS c
WHERE c.relnamespace = 'spantree'::regnamespace
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND c.relname NOT IN ('token', 'tenant_role', 'threshold')
    AND NOT (%(is_told)s AND c.relname = 'tenant')
    AND (NOT c.relispartition OR c.oid IN (
        SELECT max(inhrelid) FROM pg_inherits JOIN pg_class AS parent ON parent.oid = inhparent AND parent.relkind = 'p'
        GROUP BY inhparent
    ))
    AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
ORDER BY 1

-- name: foreign_trace
-- The trace of some other tenant.
SELECT tenant_id, trace_id FROM spantree.trace WHERE tenant_id <> %(tenant_id)s LIMIT 1

-- name: attempt_by_rows
-- What follows is tried as the role; true is a row of another tenant.
SELECT EXISTS (SELECT FROM {relation} WHERE tenant_id <> %(tenant_id)s)

-- name: attempt_by_error
-- An operator that is not leakproof and says by an error what it was given: division by zero is a row of another tenant.
SELECT EXISTS (SELECT FROM {relation} WHERE 1 / (tenant_id = %(tenant_id)s)::integer = 2)

-- name: attempt_by_function
-- By every function that reads a trace, and by the search index, as the other's tenant and as one's own.
SELECT EXISTS (SELECT FROM spantree.execution_tree(%(trace_id)s, %(foreign_id)s))
    OR EXISTS (SELECT FROM spantree.critical_path(%(trace_id)s, %(foreign_id)s))
    OR EXISTS (SELECT FROM spantree.execution WHERE trace_id = %(trace_id)s AND tenant_id = %(foreign_id)s AND search @@ '!nosuchword')

-- name: attempt_by_statistics
SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = 'spantree')
    OR EXISTS (SELECT FROM pg_stats_ext WHERE schemaname = 'spantree')
    OR EXISTS (SELECT FROM pg_stats_ext_exprs WHERE schemaname = 'spantree')

-- name: name_tenant
-- Nobody but the API's role is believed.
SELECT set_config('spantree.tenant', %(tenant_id)s::text, true)

-- name: set_role
SET LOCAL ROLE {role}

-- name: limit_try
SET LOCAL statement_timeout = '2s'
