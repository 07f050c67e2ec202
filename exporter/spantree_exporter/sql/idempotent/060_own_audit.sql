-- The own audit: written and dropped by functions alone, changed by nobody.

CREATE OR REPLACE FUNCTION spantree.refuse_change()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the own audit is only ever appended to', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
            HINT = 'old months go as a whole: SPANTREE_AUDIT_DAYS, spantree.drop_own_audit(days)';
END
$$;

COMMENT ON FUNCTION spantree.refuse_change() IS 'trigger that refuses UPDATE, DELETE and TRUNCATE';

CREATE OR REPLACE TRIGGER append_only
    BEFORE UPDATE OR DELETE ON spantree.own_audit_event
    FOR EACH ROW EXECUTE FUNCTION spantree.refuse_change();
CREATE OR REPLACE TRIGGER append_only_truncate
    BEFORE TRUNCATE ON spantree.own_audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION spantree.refuse_change();

CREATE OR REPLACE FUNCTION spantree.ensure_own_audit(month date)
RETURNS void
LANGUAGE plpgsql
SET client_min_messages = warning
AS $$
DECLARE
    first_day date := date_trunc('month', month)::date;
    partition text := 'own_audit_event_' || to_char(first_day, 'YYYYMM');
BEGIN
    -- One maker at a time. 'span' in hex.
    PERFORM pg_advisory_xact_lock(1936744814, 3);
    IF to_regclass(format('spantree.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE spantree.%I (LIKE spantree.own_audit_event INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE spantree.%I ENABLE ROW LEVEL SECURITY', partition);
    PERFORM spantree.forget_texts(format('spantree.%I', partition)::regclass);
    -- Triggers for rows come with the parent's, this one does not.
    EXECUTE format(
        'CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON spantree.%I FOR EACH STATEMENT EXECUTE FUNCTION spantree.refuse_change()',
        partition
    );
    EXECUTE format(
        'ALTER TABLE spantree.own_audit_event ATTACH PARTITION spantree.%I FOR VALUES FROM (%L) TO (%L)',
        partition, first_day::timestamp AT TIME ZONE 'UTC', (first_day + interval '1 month') AT TIME ZONE 'UTC'
    );
END
$$;

COMMENT ON FUNCTION spantree.ensure_own_audit(date) IS 'make the own audit''s partition of a month where it is missing';

-- With the rights of its owner: who writes needs no right on the table, and has none to read or change it.
CREATE OR REPLACE FUNCTION spantree.write_own_audit(events jsonb)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    month date;
    written integer;
BEGIN
    -- A clock that is far off makes no partition of some other century.
    FOR month IN
        SELECT DISTINCT date_trunc('month', least(greatest(at, now() - interval '31 days'), now() + interval '1 day'))::date
        FROM jsonb_to_recordset(events) AS event (at timestamptz)
        ORDER BY 1
    LOOP
        IF to_regclass('spantree.own_audit_event_' || to_char(month, 'YYYYMM')) IS NULL THEN
            PERFORM spantree.ensure_own_audit(month);
        END IF;
    END LOOP;
    INSERT INTO spantree.own_audit_event (
        tenant_id, at, id, actor_kind, actor, scope, channel, action, object_type, object_id, method, route, status,
        times, address, details
    )
    SELECT
        coalesce(tenant_id, 0), least(greatest(at, now() - interval '31 days'), now() + interval '1 day'), id,
        left(actor_kind, 20), left(actor, 200), left(scope, 20), left(channel, 20), left(action, 40),
        left(object_type, 40), left(object_id, 200), left(method, 10), left(route, 200), status,
        greatest(coalesce(times, 1), 1), left(address, 100),
        CASE WHEN length(details::text) <= 4000 THEN details ELSE '{"cut": true}' END
    FROM jsonb_to_recordset(events) AS event (
        tenant_id integer, at timestamptz, id uuid, actor_kind text, actor text, scope text, channel text, action text,
        object_type text, object_id text, method text, route text, status integer, times integer, address text, details jsonb
    )
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    RETURN written;
END
$$;

COMMENT ON FUNCTION spantree.write_own_audit(jsonb) IS 'append events to the own audit, given as an array of objects named like its columns; those that are there are left alone';

-- With its owner's rights: the collector's role owns no table. The last month is nobody's to drop.
CREATE OR REPLACE FUNCTION spantree.drop_own_audit(keep_days integer)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    partition regclass;
    dropped integer := 0;
BEGIN
    IF keep_days < 30 THEN
        RAISE EXCEPTION 'the own audit is kept for % days: wanted 30 or more', keep_days
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR partition IN
        SELECT inhrelid::regclass
        FROM pg_inherits
        JOIN pg_class AS c ON c.oid = inhrelid
        WHERE inhparent = 'spantree.own_audit_event'::regclass
            AND to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= (now() AT TIME ZONE 'UTC')::date - keep_days
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %s', partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

COMMENT ON FUNCTION spantree.drop_own_audit(integer) IS 'drop the months of the own audit of which every day is older than is kept; answers how many';

REVOKE EXECUTE ON FUNCTION spantree.ensure_own_audit(date), spantree.write_own_audit(jsonb), spantree.drop_own_audit(integer) FROM PUBLIC;

CREATE OR REPLACE VIEW spantree.own_audit WITH (security_invoker = true) AS
SELECT
    tenant_id, at, actor_kind, actor, scope, channel, action, object_type, object_id, method, route, status, times,
    address, details, id
FROM spantree.own_audit_event;

COMMENT ON VIEW spantree.own_audit IS 'who asked what of spantree itself, and changed what; ORDER BY at DESC';

DO $$
DECLARE
    told record;
BEGIN
    FOR told IN
        SELECT a.attname, col_description(a.attrelid, a.attnum) AS description
        FROM pg_attribute AS a
        WHERE a.attrelid = 'spantree.own_audit_event'::regclass AND a.attnum > 0 AND NOT a.attisdropped
    LOOP
        EXECUTE format('COMMENT ON COLUMN spantree.own_audit.%I IS %L', told.attname, told.description);
    END LOOP;
END
$$;
