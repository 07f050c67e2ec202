-- A view's column that is a table's column as it is has the table's comment.
DO $$
DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT DISTINCT ON (v.relname, va.attname)
            v.relname, va.attname, d.description
        FROM pg_class AS v
        JOIN pg_attribute AS va ON va.attrelid = v.oid AND va.attnum > 0
        JOIN pg_class AS t ON t.relnamespace = v.relnamespace
        JOIN pg_attribute AS ta ON ta.attrelid = t.oid AND ta.attname = va.attname
        JOIN pg_description AS d ON d.objoid = t.oid AND d.objsubid = ta.attnum AND d.classoid = 'pg_class'::regclass
        WHERE v.relnamespace = 'spantree'::regnamespace
            AND v.relkind = 'v'
            AND t.relname IN ('execution', 'node', 'edge', 'span')
            AND col_description(v.oid, va.attnum) IS NULL
        ORDER BY
            v.relname, va.attname,
            CASE
                WHEN v.relname IN ('nodes', 'node_stats', 'retries') THEN array_position('{node,span,execution,edge}', t.relname::text)
                WHEN v.relname = 'edges' THEN array_position('{edge,node,execution,span}', t.relname::text)
                ELSE array_position('{execution,node,edge,span}', t.relname::text)
            END
    LOOP
        EXECUTE format('COMMENT ON COLUMN spantree.%I.%I IS %L', missing.relname, missing.attname, missing.description);
    END LOOP;
END
$$;
