-- What time decides: the one home of the rules by which an open execution is lost or stuck. Views and the API call these;
-- spantree_api.rendering.effective_status says the first one in Python for rows that are read already, and a test holds
-- both to the same. plpgsql, because Citus plans no SQL-language functions.

CREATE OR REPLACE FUNCTION spantree.threshold_s(tenant integer, what text)
RETURNS double precision
LANGUAGE plpgsql
STABLE
AS $$
BEGIN
    RETURN coalesce(
        (SELECT t.seconds FROM spantree.threshold AS t WHERE t.tenant_id = tenant AND t.name = what),
        (SELECT t.seconds FROM spantree.threshold AS t WHERE t.tenant_id = 0 AND t.name = what),
        CASE what WHEN 'lost' THEN 3600 WHEN 'pending' THEN 3600 WHEN 'running' THEN 7200 WHEN 'waiting' THEN 86400 END
    );
END
$$;

COMMENT ON FUNCTION spantree.threshold_s(integer, text) IS 'seconds after which an execution is lost, or stuck while pending, running or waiting: as the API''s settings say, else as their defaults';

CREATE OR REPLACE FUNCTION spantree.effective_status(
    status text, anomalies text[], last_seen_ns bigint, lost_after_s double precision, now_ns bigint
)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
AS $$
BEGIN
    IF status IN ('pending', 'running') AND now_ns::numeric - last_seen_ns > lost_after_s::numeric * 1000000000 THEN
        RETURN CASE WHEN 'root_missing' = ANY (anomalies) THEN 'completed' ELSE 'lost' END;
    END IF;
    RETURN status;
END
$$;

COMMENT ON FUNCTION spantree.effective_status(text, text[], bigint, double precision, bigint) IS 'the status of an execution at a moment: lost where it runs and was silent for longer than lost_after_s, completed where it only waited for its root, else as stored';

CREATE OR REPLACE FUNCTION spantree.stuck_after_s(
    status text, anomalies text[], started_ns bigint, last_seen_ns bigint, own_lost_after_s double precision,
    lost_after_s double precision, open_after_s double precision, now_ns bigint
)
RETURNS double precision
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
AS $$
DECLARE
    silent_ns numeric := now_ns::numeric - last_seen_ns;
BEGIN
    IF status NOT IN ('pending', 'running', 'waiting') OR 'root_missing' = ANY (anomalies) THEN
        RETURN NULL;
    ELSIF status <> 'waiting' AND silent_ns > coalesce(own_lost_after_s, lost_after_s)::numeric * 1000000000 THEN
        RETURN coalesce(own_lost_after_s, lost_after_s);
    ELSIF status = 'waiting' AND silent_ns > own_lost_after_s::numeric * 1000000000 THEN
        RETURN own_lost_after_s;
    ELSIF now_ns::numeric - started_ns > open_after_s::numeric * 1000000000 THEN
        RETURN open_after_s;
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION spantree.stuck_after_s(text, text[], bigint, bigint, double precision, double precision, double precision, bigint) IS 'the threshold in seconds that an open execution is beyond: of silence (that of the execution, else lost_after_s; of one that waits only its own), or of being open at all (open_after_s); null while it is not stuck';
