-- Gives back the rights on views that 020_executions.sql had to make anew; in most runs there are none.
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN SELECT * FROM pg_temp.view_rights LOOP
        EXECUTE format(
            'GRANT %s ON spantree.%I TO %s%s', given.privilege, given.name,
            CASE WHEN given.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(given.grantee)) END,
            CASE WHEN given.grantable THEN ' WITH GRANT OPTION' ELSE '' END
        );
    END LOOP;
END
$$;
