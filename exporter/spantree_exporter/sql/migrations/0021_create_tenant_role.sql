-- Which roles of PostgreSQL read which tenant's rows. Row-level security itself is switched on table by table at the end
-- of migrating (row_security.py): here it would hold the locks of all tables together.

CREATE TABLE spantree.tenant_role (
    role_name name NOT NULL,
    tenant_id integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_role_pkey PRIMARY KEY (role_name)
);
COMMENT ON TABLE spantree.tenant_role IS 'roles of PostgreSQL for people''s own SQL; read by the policies of all tables through spantree.tenant_of';
COMMENT ON COLUMN spantree.tenant_role.role_name IS 'by name, for names outlive a dump and its restoring elsewhere';
COMMENT ON COLUMN spantree.tenant_role.tenant_id IS 'whose rows its members read; NULL: everybody''s, as far as it was granted the tables';
COMMENT ON COLUMN spantree.tenant_role.created_at IS 'when it was admitted';

-- Who was granted tables before there were tenants' roles goes on to see all that is in them.
INSERT INTO spantree.tenant_role (role_name)
SELECT DISTINCT role.rolname
FROM pg_class AS relation
CROSS JOIN LATERAL aclexplode(relation.relacl) AS given
JOIN pg_roles AS role ON role.oid = given.grantee
WHERE relation.relnamespace = 'spantree'::regnamespace
    AND relation.relkind IN ('r', 'p', 'v')
    AND given.grantee <> relation.relowner;
