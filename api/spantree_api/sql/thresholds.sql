-- Thresholds by which views decide what is lost and stuck.

-- name: keep_thresholds
-- as the settings of this API say, where they are not so already; served by threshold_pkey
INSERT INTO spantree.threshold (tenant_id, name, seconds)
SELECT %(tenant_id)s, *
FROM unnest(%(names)s::text[], %(seconds)s::double precision[])
ON CONFLICT ON CONSTRAINT threshold_pkey
DO UPDATE SET seconds = EXCLUDED.seconds
WHERE threshold.seconds IS DISTINCT FROM EXCLUDED.seconds
RETURNING name, 1::bigint AS count
