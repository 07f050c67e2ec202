-- The roles that spantree itself connects as, where it is not the tables' owner: spantree_writer writes for all tenants
-- (the collector), spantree_reader reads for the tenant that its transaction names, spantree.tenant (the API).

CREATE OR REPLACE FUNCTION spantree.alert_tenants()
RETURNS SETOF integer
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT rule.tenant_id
    FROM spantree.alert_rule AS rule
    WHERE NOT EXISTS (
        SELECT FROM spantree.tenant AS dropped WHERE dropped.tenant_id = rule.tenant_id AND dropped.dropped_at IS NOT NULL
    )
    ORDER BY 1;
END
$$;

COMMENT ON FUNCTION spantree.alert_tenants() IS 'the tenants that have rules of alerts and were not dropped, for the process that looks after all of them';

CREATE OR REPLACE FUNCTION spantree.put_policy(guarded text, policy_name text, rule text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = guarded::regclass AND polname = policy_name) THEN
        EXECUTE format('CREATE POLICY %I ON %s %s', policy_name, guarded, rule);
    END IF;
END
$$;

COMMENT ON FUNCTION spantree.put_policy(text, text, text) IS 'make a policy of a table where there is none of the name';

CREATE OR REPLACE FUNCTION spantree.grant_roles()
RETURNS void
LANGUAGE plpgsql
SET lock_timeout = '5s'
AS $$
DECLARE
    relation record;
    written text;
    own_rows text := 'tenant_id = (SELECT spantree.tenant_of(current_user))';
BEGIN
    IF to_regrole('spantree_writer') IS NOT NULL THEN
        PERFORM spantree.admit_role('spantree_writer');
        REVOKE ALL ON spantree.own_audit_event, spantree.own_audit FROM spantree_writer;
        FOR relation IN
            SELECT c.relname
            FROM pg_class AS c
            WHERE c.relnamespace = 'spantree'::regnamespace
                AND c.relkind IN ('r', 'p')
                AND NOT c.relispartition
                AND c.relname NOT LIKE 'alert!_%' ESCAPE '!'
                AND c.relname NOT IN ('tenant', 'token', 'tenant_role', 'own_audit_event', 'migration', 'definition')
        LOOP
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON spantree.%I TO spantree_writer', relation.relname);
        END LOOP;
        -- Spans of a day that has no partition, and months of the own audit that nobody keeps any longer.
        GRANT EXECUTE ON FUNCTION spantree.ensure_partitions(date[]), spantree.write_own_audit(jsonb),
            spantree.drop_own_audit(integer) TO spantree_writer;
        GRANT SELECT ON spantree.migration, spantree.definition, spantree.token TO spantree_writer;
        GRANT UPDATE (last_used_at) ON spantree.token TO spantree_writer;
        PERFORM spantree.put_policy('spantree.token', 'writer', 'TO spantree_writer USING (true)');
    END IF;
    IF to_regrole('spantree_reader') IS NOT NULL THEN
        PERFORM spantree.grant_reading('spantree_reader');
        FOREACH written IN ARRAY ARRAY[
            'alert_rule', 'alert_firing', 'alert_state', 'alert_delivery', 'analysis', 'change', 'change_counter',
            'failure_group', 'failure_group_change', 'threshold'
        ] LOOP
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON spantree.%I TO spantree_reader', written);
            PERFORM spantree.put_policy(
                format('spantree.%I', written), 'reader',
                format('TO spantree_reader USING (%1$s) WITH CHECK (%1$s)', own_rows)
            );
        END LOOP;
        GRANT EXECUTE ON FUNCTION spantree.write_own_audit(jsonb), spantree.alert_tenants() TO spantree_reader;
        -- Whom a token names is asked before anybody is known.
        GRANT SELECT ON spantree.migration, spantree.definition, spantree.token, spantree.tenant, spantree.retention_day TO spantree_reader;
        GRANT UPDATE (last_used_at) ON spantree.token TO spantree_reader;
        PERFORM spantree.put_policy('spantree.token', 'reader', 'TO spantree_reader USING (true)');
        PERFORM spantree.put_policy('spantree.tenant', 'reader', 'FOR SELECT TO spantree_reader USING (true)');
    END IF;
END
$$;

COMMENT ON FUNCTION spantree.grant_roles() IS 'give spantree_writer and spantree_reader, as far as they are there, what collector and API need and no more; bears repetition';

CREATE OR REPLACE FUNCTION spantree.make_roles()
RETURNS SETOF text
LANGUAGE plpgsql
AS $$
DECLARE
    wanted record;
BEGIN
    -- COPY into a table with policies is refused to all but its owner and roles with BYPASSRLS. The writer sees and writes
    -- the rows of all tenants by its policies as well.
    FOR wanted IN
        SELECT * FROM (VALUES ('spantree_writer', 'NOLOGIN BYPASSRLS'), ('spantree_reader', 'NOLOGIN')) AS roles (name, how)
    LOOP
        CONTINUE WHEN to_regrole(wanted.name) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.how);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'the role "%" cannot make roles: let one that can run CREATE ROLE % %, then repeat this',
                current_user, wanted.name, wanted.how
                USING ERRCODE = 'insufficient_privilege';
        END;
        RETURN NEXT wanted.name;
    END LOOP;
    PERFORM spantree.grant_roles();
END
$$;

COMMENT ON FUNCTION spantree.make_roles() IS 'make the roles spantree_writer and spantree_reader where they are missing, and give them what they need; answers those it made';

REVOKE EXECUTE ON FUNCTION
    spantree.alert_tenants(), spantree.put_policy(text, text, text), spantree.grant_roles(), spantree.make_roles()
    FROM PUBLIC;
