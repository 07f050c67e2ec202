-- Failures of the same cause as something to work on: open, resolved, ignored; who said so and when. How many there are
-- is not here: rollup counts them (subject error).

CREATE TABLE spantree.failure_group (
    tenant_id integer NOT NULL,
    fingerprint text NOT NULL,
    category text NOT NULL,
    hidden boolean NOT NULL,
    first_seen_ns bigint NOT NULL,
    last_seen_ns bigint NOT NULL,
    versions text[] NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'open',
    note text,
    changed_by text,
    changed_at timestamptz,
    reopened_at timestamptz,
    reopened_version text,
    CONSTRAINT failure_group_pkey PRIMARY KEY (tenant_id, fingerprint),
    CONSTRAINT failure_group_state_check CHECK (state IN ('open', 'resolved', 'ignored'))
);

COMMENT ON TABLE spantree.failure_group IS 'failures of the same cause, by fingerprint, and what people make of them; written when figures are folded';
COMMENT ON CONSTRAINT failure_group_pkey ON spantree.failure_group IS 'serves one group, and what folding updates';
COMMENT ON COLUMN spantree.failure_group.tenant_id IS 'whose failures they are';
COMMENT ON COLUMN spantree.failure_group.fingerprint IS 'equal for errors of the same cause: execution.error_fingerprint';
COMMENT ON COLUMN spantree.failure_group.category IS 'category of the error; empty where none is known';
COMMENT ON COLUMN spantree.failure_group.hidden IS 'whether only hidden executions failed of it';
COMMENT ON COLUMN spantree.failure_group.first_seen_ns IS 'earliest start of an execution that failed of it, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.failure_group.last_seen_ns IS 'latest start of an execution that failed of it, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.failure_group.versions IS 'service.version of what failed, in the order they were first seen; the last 20';
COMMENT ON COLUMN spantree.failure_group.state IS 'open, resolved or ignored; a resolved one that comes back is open again';
COMMENT ON COLUMN spantree.failure_group.note IS 'what was said with the last change';
COMMENT ON COLUMN spantree.failure_group.changed_by IS 'who changed it last, by their own word; null for a reopening';
COMMENT ON COLUMN spantree.failure_group.changed_at IS 'when it was changed last; null where nobody did';
COMMENT ON COLUMN spantree.failure_group.reopened_at IS 'start of the execution by which it came back last, after it was resolved';
COMMENT ON COLUMN spantree.failure_group.reopened_version IS 'service.version of that execution';

CREATE INDEX failure_group_seen_idx ON spantree.failure_group (tenant_id, last_seen_ns, fingerprint);
COMMENT ON INDEX spantree.failure_group_seen_idx IS 'serves lists of groups, last seen first';

CREATE TABLE spantree.failure_group_change (
    tenant_id integer NOT NULL,
    fingerprint text NOT NULL,
    changed_at timestamptz NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    state text NOT NULL,
    note text,
    changed_by text,
    version text,
    CONSTRAINT failure_group_change_pkey PRIMARY KEY (tenant_id, fingerprint, changed_at, id),
    CONSTRAINT failure_group_change_state_check CHECK (state IN ('open', 'resolved', 'ignored'))
);

COMMENT ON TABLE spantree.failure_group_change IS 'every change of the state of a group of failures; append-only';
COMMENT ON CONSTRAINT failure_group_change_pkey ON spantree.failure_group_change IS 'serves the history of one group';
COMMENT ON COLUMN spantree.failure_group_change.tenant_id IS 'whose failures they are';
COMMENT ON COLUMN spantree.failure_group_change.fingerprint IS 'the group';
COMMENT ON COLUMN spantree.failure_group_change.changed_at IS 'when';
COMMENT ON COLUMN spantree.failure_group_change.id IS 'tells two changes of one moment apart';
COMMENT ON COLUMN spantree.failure_group_change.state IS 'the state that it changed to';
COMMENT ON COLUMN spantree.failure_group_change.note IS 'what was said with it';
COMMENT ON COLUMN spantree.failure_group_change.changed_by IS 'who, by their own word; null where it came back by itself';
COMMENT ON COLUMN spantree.failure_group_change.version IS 'service.version with which it came back; null for what people changed';

CREATE INDEX rollup_error_idx ON spantree.rollup (tenant_id, name, grain_h, started_at)
    WHERE subject = 'error';
COMMENT ON INDEX spantree.rollup_error_idx IS 'serves the figures of some groups of failures';

-- What is stored already; versions are learned when it is seen again.
INSERT INTO spantree.failure_group (tenant_id, fingerprint, category, hidden, first_seen_ns, last_seen_ns)
SELECT
    rollup.tenant_id, rollup.name, min(rollup.kind), bool_and(rollup.hidden),
    coalesce(min(exact.first_ns), (extract(epoch FROM min(rollup.started_at)) * 1000000000)::bigint),
    max(rollup.last_started_ns)
FROM (
    SELECT tenant_id, name, min(kind) AS kind, bool_and(hidden) AS hidden, min(started_at) AS started_at,
        max(last_started_ns) AS last_started_ns
    FROM spantree.rollup
    WHERE subject = 'error'
        AND grain_h = 1
        AND name <> ''
        AND total > 0
    GROUP BY tenant_id, name
) AS rollup
LEFT JOIN (
    SELECT tenant_id, left(error_fingerprint, 100) AS name, min(started_ns) AS first_ns
    FROM spantree.execution
    WHERE error_fingerprint IS NOT NULL
        AND status IN ('failed', 'partial', 'timed_out')
    GROUP BY 1, 2
) AS exact USING (tenant_id, name)
GROUP BY rollup.tenant_id, rollup.name;
