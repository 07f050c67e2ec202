-- What keeps tenants apart in people's own SQL. Owners of the tables, whom the service connects as, and superusers are
-- not subject to policies: writing and the API's reads cost the same as without. plpgsql, because Citus plans no
-- SQL-language functions.

-- Asked by every policy, once a statement. It reads tenant_role, which nobody else may, with the rights of its owner, and
-- so takes the role as an argument: within it current_user is the owner.
CREATE OR REPLACE FUNCTION spantree.tenant_of(member name DEFAULT current_user)
RETURNS integer
LANGUAGE plpgsql
STABLE
PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own integer;
    all_of_it integer[];
    named text := nullif(current_setting('spantree.tenant', true), '');
BEGIN
    -- The API's role reads for whom its transaction names, and nothing where that is nobody. Others may set what they like.
    IF to_regrole('spantree_reader') IS NOT NULL AND pg_has_role(member, to_regrole('spantree_reader'), 'USAGE')
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = member)
    THEN
        RETURN named::integer;
    END IF;
    SELECT max(bound.tenant_id) FILTER (WHERE bound.role_name = member), array_agg(DISTINCT bound.tenant_id)
    INTO own, all_of_it
    FROM spantree.tenant_role AS bound
    JOIN pg_roles AS role ON role.rolname = bound.role_name
    JOIN spantree.tenant AS tenant ON tenant.tenant_id = bound.tenant_id AND tenant.dropped_at IS NULL
    WHERE pg_has_role(member, role.oid, 'USAGE');
    IF own IS NULL AND cardinality(all_of_it) > 1 THEN
        RAISE EXCEPTION 'the role "%" belongs to % tenants: SET ROLE to that of one of them', member, cardinality(all_of_it)
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN coalesce(own, all_of_it[1]);
END
$$;

COMMENT ON FUNCTION spantree.tenant_of(name) IS 'the tenant whose rows a role may read, by default the current one; null where it is no tenant''s';

CREATE OR REPLACE FUNCTION spantree.is_distributed(relation regclass)
RETURNS boolean
LANGUAGE plpgsql
AS $$
DECLARE
    known boolean := false;
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = $1)' INTO known USING relation;
    END IF;
    RETURN known;
END
$$;

COMMENT ON FUNCTION spantree.is_distributed(regclass) IS 'whether Citus has the table: by shards, or whole on every node; false on plain PostgreSQL';

CREATE OR REPLACE FUNCTION spantree.drop_policies(guarded regclass)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    policy name;
BEGIN
    FOR policy IN SELECT polname FROM pg_policy WHERE polrelid = guarded LOOP
        EXECUTE format('DROP POLICY %I ON %s', policy, guarded);
    END LOOP;
END
$$;

COMMENT ON FUNCTION spantree.drop_policies(regclass) IS 'take the policies of a table away, until guard_table makes them anew: meanwhile only its owner reads it';

-- What EXPLAIN estimates comes from everybody's rows, and moves exactly where a guess passes a value that the statistics
-- hold: with some thousand guesses a frequent text is found letter by letter. Once a tenant has a role for SQL of its own,
-- statistics of texts are not kept, therefore, but for words of ours. (Of other types that have leakproof comparisons:
-- numbers, times, ids.) Not before: without them the planner takes every text for a frequent one, and reads a million
-- executions in order of time to find the one of a run id.
CREATE OR REPLACE FUNCTION spantree.texts_of(guarded regclass)
RETURNS TABLE (column_name name, has_statistics boolean)
LANGUAGE plpgsql
STABLE
AS $$
BEGIN
    RETURN QUERY
    -- NULL from PostgreSQL 17 on, -1 before: the default target.
    SELECT a.attname, coalesce(a.attstattarget, -1) <> 0
    FROM pg_attribute AS a
    WHERE a.attrelid = guarded
        AND a.attnum > 0
        AND NOT a.attisdropped
        AND a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype, 'bytea'::regtype)
        AND a.attname NOT IN ('kind', 'provenance', 'state', 'status', 'subject', 'type')
        AND EXISTS (SELECT FROM spantree.tenant_role WHERE tenant_role.tenant_id IS NOT NULL);
END
$$;

COMMENT ON FUNCTION spantree.texts_of(regclass) IS 'columns of a table that hold what people wrote, and whether ANALYZE reads them, by which a tenant could learn of the others'' rows';

CREATE OR REPLACE FUNCTION spantree.forget_texts(guarded regclass)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    told record;
BEGIN
    FOR told IN SELECT * FROM spantree.texts_of(guarded) LOOP
        IF told.has_statistics THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 0', guarded, told.column_name);
        END IF;
        -- What ANALYZE has found already stays, and only some may take it away.
        IF current_setting('server_version_num')::integer >= 180000 THEN
            EXECUTE
                'SELECT pg_catalog.pg_clear_attribute_stats(''spantree'', c.relname, $2, kept.inherited) '
                'FROM pg_class AS c CROSS JOIN (VALUES (false), (true)) AS kept (inherited) WHERE c.oid = $1'
            USING guarded, told.column_name;
        ELSIF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            DELETE FROM pg_statistic
            WHERE starelid = guarded
                AND staattnum = (SELECT attnum FROM pg_attribute WHERE attrelid = guarded AND attname = told.column_name);
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION spantree.forget_texts(regclass) IS 'keep no statistics of a table''s texts any longer, and drop those that there are where that is allowed';

CREATE OR REPLACE FUNCTION spantree.guard_table(guarded regclass)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    table_name name := (SELECT relname FROM pg_class WHERE oid = guarded);
    -- Evaluated once a statement as a subquery, which policies of tables that Citus has may not hold.
    own_tenant text := CASE WHEN spantree.is_distributed(guarded) THEN '%s' ELSE '(SELECT %s)' END;
    readers text;
BEGIN
    own_tenant := format(own_tenant, 'spantree.tenant_of(current_user)');
    -- A partition has no policy: rows are read through its parent, whose policies hold for them, or not at all.
    IF NOT (SELECT relispartition FROM pg_class WHERE oid = guarded) THEN
        IF table_name NOT IN ('token', 'tenant_role')
            AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = guarded AND polname = 'tenant')
        THEN
            -- Tenant 0's thresholds hold where a tenant has none of its own (threshold_s).
            EXECUTE format(
                'CREATE POLICY tenant ON %s FOR SELECT USING (tenant_id = %s%s)',
                guarded, own_tenant, CASE WHEN table_name = 'threshold' THEN ' OR tenant_id = 0' ELSE '' END
            );
        END IF;
        SELECT string_agg(quote_ident(role.rolname), ', ' ORDER BY role.rolname)
        INTO readers
        FROM spantree.tenant_role AS bound
        JOIN pg_roles AS role ON role.rolname = bound.role_name
        WHERE bound.tenant_id IS NULL;
        IF readers IS NOT NULL THEN
            IF EXISTS (SELECT FROM pg_policy WHERE polrelid = guarded AND polname = 'all_tenants') THEN
                EXECUTE format('ALTER POLICY all_tenants ON %s TO %s', guarded, readers);
            ELSE
                EXECUTE format('CREATE POLICY all_tenants ON %s TO %s USING (true) WITH CHECK (true)', guarded, readers);
            END IF;
        END IF;
    END IF;
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', guarded);
    -- A table that Citus has takes no such command; its shards have the targets that it had when it was distributed.
    IF NOT spantree.is_distributed(guarded) THEN
        PERFORM spantree.forget_texts(guarded);
    END IF;
END
$$;

COMMENT ON FUNCTION spantree.guard_table(regclass) IS 'switch row-level security of a table on, give it its policies where it is no partition, and, once a tenant has a role for SQL, keep no statistics of its texts; bears repetition';

CREATE OR REPLACE FUNCTION spantree.grant_reading(reader name)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    relation record;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA spantree TO %I', reader);
    FOR relation IN
        SELECT c.oid::regclass AS name,
            -- What messages of alerts are signed with is nobody's to read.
            CASE WHEN c.relname = 'alert_rule' THEN (
                SELECT format('(%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
                FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'secret'
            ) ELSE '' END AS columns
        FROM pg_class AS c
        WHERE c.relnamespace = 'spantree'::regnamespace
            AND c.relkind IN ('r', 'p', 'v')
            AND NOT c.relispartition
            AND c.relname NOT IN ('token', 'tenant_role')
            AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnum > 0)
        ORDER BY c.relname
    LOOP
        EXECUTE format('GRANT SELECT %s ON %s TO %I', relation.columns, relation.name, reader);
    END LOOP;
END
$$;

COMMENT ON FUNCTION spantree.grant_reading(name) IS 'let a role SELECT from the tables with tenants and from the views, but from no partition, no token and no secret';

CREATE OR REPLACE FUNCTION spantree.admit_role(reader name, tenant integer DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET lock_timeout = '5s'
AS $$
DECLARE
    guarded regclass;
BEGIN
    INSERT INTO spantree.tenant_role (role_name, tenant_id)
    VALUES (reader, tenant)
    ON CONFLICT ON CONSTRAINT tenant_role_pkey
    DO UPDATE SET tenant_id = EXCLUDED.tenant_id;
    PERFORM spantree.grant_reading(reader);
    IF tenant IS NULL THEN
        FOR guarded IN
            SELECT polrelid FROM pg_policy WHERE polname = 'tenant' AND polrelid IN (
                SELECT oid FROM pg_class WHERE relnamespace = 'spantree'::regnamespace
            )
            ORDER BY polrelid
        LOOP
            PERFORM spantree.guard_table(guarded);
        END LOOP;
    END IF;
END
$$;

COMMENT ON FUNCTION spantree.admit_role(name, integer) IS 'let a role read one tenant''s rows, or, without a tenant, everybody''s; grants what it needs';

CREATE OR REPLACE FUNCTION spantree.make_tenant_role(asked text)
RETURNS name
LANGUAGE plpgsql
AS $$
DECLARE
    number integer := (SELECT tenant_id FROM spantree.tenant WHERE name = asked AND dropped_at IS NULL);
    candidate name := (SELECT min(bound.role_name) FROM spantree.tenant_role AS bound WHERE bound.tenant_id = number);
BEGIN
    IF number IS NULL THEN
        RETURN NULL;
    END IF;
    IF candidate IS NULL THEN
        candidate := left('spantree_tenant_' || asked, 63);
        -- Too long a name, or one that a tenant had which is called otherwise now: no name of a tenant begins with _.
        IF length('spantree_tenant_' || asked) > 63
            OR EXISTS (SELECT FROM spantree.tenant_role AS bound WHERE bound.role_name = candidate)
        THEN
            candidate := 'spantree_tenant__' || number;
        END IF;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = candidate) THEN
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', candidate);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'the role "%" cannot make roles: let one that can run CREATE ROLE "%" NOLOGIN, then repeat this',
                current_user, candidate
                USING ERRCODE = 'insufficient_privilege';
        END;
    END IF;
    PERFORM spantree.admit_role(candidate, number);
    RETURN candidate;
END
$$;

COMMENT ON FUNCTION spantree.make_tenant_role(text) IS 'the role whose members read the rows of the tenant of a name, made where it is missing; null where there is no such tenant';
