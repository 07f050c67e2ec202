-- Views and tables that are new in this build are read by the tenants' roles, too.
DO $$
DECLARE
    reader name;
BEGIN
    FOR reader IN
        SELECT bound.role_name
        FROM spantree.tenant_role AS bound
        JOIN pg_roles AS role ON role.rolname = bound.role_name
        WHERE bound.tenant_id IS NOT NULL
    LOOP
        PERFORM spantree.grant_reading(reader);
    END LOOP;
END
$$;
