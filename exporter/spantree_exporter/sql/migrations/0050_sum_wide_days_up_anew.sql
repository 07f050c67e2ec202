-- Days keep the names that had most (spantree_exporter.rollup_names): those that have more are made anew of their hours.

INSERT INTO spantree.rollup_outdated (tenant_id, grain_h, started_at, since)
SELECT DISTINCT tenant_id, grain_h, started_at, '-infinity'::timestamptz
FROM (
    SELECT tenant_id, subject, grain_h, started_at
    FROM spantree.rollup
    WHERE grain_h IN (24, 192)
    GROUP BY tenant_id, subject, grain_h, started_at
    HAVING count(*) > 2000
) AS wide
ON CONFLICT ON CONSTRAINT rollup_outdated_pkey DO NOTHING;

COMMENT ON COLUMN spantree.rollup.workflow_name IS 'workflow; empty where there is none; (other names) where an interval has too many names. Texts of the key are cut to 100 characters';
COMMENT ON COLUMN spantree.rollup.name IS 'name of the node, workflow, service, project, user or model; fingerprint of the error; name of the node that an edge comes from; the service that calls; (other names) for what has no row of its own: of each subject an hour has 2,000 (services, users and calls 4,000), the first that come, and a day those with most';
