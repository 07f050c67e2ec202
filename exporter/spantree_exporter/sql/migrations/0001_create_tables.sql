-- The tables of spantree. Rules they follow, so that the same schema distributes on Citus by trace_id: no foreign keys
-- between partitioned tables, no triggers, no sequences in keys, no DEFAULT partition, and the distribution and the
-- partition column in every unique key. timestamptz from nanoseconds is not immutable: views compute it.
-- Partitions are made by spantree.ensure_partitions (sql/idempotent), ahead of time and on demand.

CREATE TABLE spantree.span (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    parent_span_id bigint,
    kind integer NOT NULL,
    status_code integer NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    flags bigint NOT NULL,
    received_ns bigint NOT NULL,
    name text NOT NULL,
    status_message text,
    trace_state text,
    resource_id bigint NOT NULL,
    scope jsonb,
    attributes jsonb NOT NULL,
    events jsonb,
    links jsonb,
    dropped_attributes_count bigint,
    dropped_events_count bigint,
    dropped_links_count bigint,
    facts jsonb,
    anomalies text[],
    raw bytea,
    CONSTRAINT span_pkey PRIMARY KEY (tenant_id, trace_id, span_id, fingerprint, day)
) PARTITION BY RANGE (day);

COMMENT ON TABLE spantree.span IS 'every span as it was sent; append-only; the truth that execution, node and edge are computed from';
COMMENT ON CONSTRAINT span_pkey ON spantree.span IS 'recognises a re-sent span by its content; serves reads of one trace and of one span';
COMMENT ON COLUMN spantree.span.tenant_id IS 'whose span it is; 0 where there is one tenant';
COMMENT ON COLUMN spantree.span.day IS 'UTC day of start_ns; 1970-01-01 where that is before 2015 or after 2099';
COMMENT ON COLUMN spantree.span.trace_id IS 'the 16 bytes of the trace id';
COMMENT ON COLUMN spantree.span.span_id IS 'the 8 bytes of the span id as a signed big-endian integer; views show 16 hex digits';
COMMENT ON COLUMN spantree.span.fingerprint IS '64-bit hash of the content: a re-sent span has the same, two different spans that share an id have not';
COMMENT ON COLUMN spantree.span.parent_span_id IS 'span id of the parent; null for a root';
COMMENT ON COLUMN spantree.span.kind IS 'SpanKind of OTLP as sent: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer';
COMMENT ON COLUMN spantree.span.status_code IS 'StatusCode of OTLP as sent: 0 unset, 1 ok, 2 error';
COMMENT ON COLUMN spantree.span.start_ns IS 'start, UTC nanoseconds since 1970, by the sender''s clock';
COMMENT ON COLUMN spantree.span.end_ns IS 'end, UTC nanoseconds since 1970, by the sender''s clock';
COMMENT ON COLUMN spantree.span.flags IS 'trace flags as sent; bits 8 and 9 tell whether the parent is remote';
COMMENT ON COLUMN spantree.span.received_ns IS 'when the collector first took the span in, UTC nanoseconds since 1970, by the collector''s clock';
COMMENT ON COLUMN spantree.span.name IS 'the span''s name';
COMMENT ON COLUMN spantree.span.status_message IS 'message of the status; null when empty';
COMMENT ON COLUMN spantree.span.trace_state IS 'W3C tracestate; null when empty';
COMMENT ON COLUMN spantree.span.resource_id IS 'resource.id of what sent it';
COMMENT ON COLUMN spantree.span.scope IS 'instrumentation scope: name, version, attributes, schema_url; null when none was named';
COMMENT ON COLUMN spantree.span.attributes IS 'attributes; bytes are {"$b": base64}, doubles that jsonb would change {"$f": text}';
COMMENT ON COLUMN spantree.span.events IS 'events in order: time_ns, name, attributes, dropped_attributes_count; null when none';
COMMENT ON COLUMN spantree.span.links IS 'links in order: trace_id and span_id in hex, attributes, trace_state, flags; null when none';
COMMENT ON COLUMN spantree.span.dropped_attributes_count IS 'attributes that the sender dropped; null when none';
COMMENT ON COLUMN spantree.span.dropped_events_count IS 'events that the sender dropped; null when none';
COMMENT ON COLUMN spantree.span.dropped_links_count IS 'links that the sender dropped; null when none';
COMMENT ON COLUMN spantree.span.facts IS 'what the span says about its run and step in the neutral vocabulary; null when nothing; recomputed by `spantree rebuild`';
COMMENT ON COLUMN spantree.span.anomalies IS 'what is wrong with the span or was lost in storing it; null when nothing';
COMMENT ON COLUMN spantree.span.raw IS 'the exact bytes of the span, only where the columns lose something of it';

CREATE TABLE spantree.resource (
    tenant_id integer NOT NULL,
    id bigint NOT NULL,
    attributes jsonb NOT NULL,
    service_name text NOT NULL,
    schema_url text NOT NULL,
    dropped_attributes_count bigint NOT NULL,
    first_seen_ns bigint NOT NULL,
    CONSTRAINT resource_pkey PRIMARY KEY (tenant_id, id)
);

COMMENT ON TABLE spantree.resource IS 'what sends spans: the attributes of each distinct OTLP resource, once';
COMMENT ON CONSTRAINT resource_pkey ON spantree.resource IS 'serves the join from span';
COMMENT ON COLUMN spantree.resource.tenant_id IS 'whose resource it is';
COMMENT ON COLUMN spantree.resource.id IS '64-bit hash of the content';
COMMENT ON COLUMN spantree.resource.attributes IS 'resource attributes, written as those of spans';
COMMENT ON COLUMN spantree.resource.service_name IS 'service.name; empty when none was sent';
COMMENT ON COLUMN spantree.resource.schema_url IS 'schema URL of the resource; empty when none was sent';
COMMENT ON COLUMN spantree.resource.dropped_attributes_count IS 'attributes that the sender dropped';
COMMENT ON COLUMN spantree.resource.first_seen_ns IS 'when the collector first saw it, UTC nanoseconds since 1970';

CREATE TABLE spantree.execution (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    name text NOT NULL,
    workflow_name text,
    entry text,
    kind text NOT NULL,
    status text NOT NULL,
    started_ns bigint NOT NULL,
    ended_ns bigint,
    last_seen_ns bigint NOT NULL,
    root_span_id bigint,
    service text NOT NULL,
    services text[] NOT NULL,
    run_id text,
    conversation_id text,
    user_id text,
    project text,
    input text,
    output text,
    error_summary text,
    error_category text,
    error_fingerprint text,
    first_failed_span_id bigint,
    first_failed_ordinal integer,
    first_failed_name text,
    first_failed_error_type text,
    first_failed_error_message text,
    total_count integer NOT NULL,
    completed_count integer NOT NULL,
    failed_count integer NOT NULL,
    retried_count integer NOT NULL,
    skipped_count integer NOT NULL,
    waiting_count integer NOT NULL,
    running_count integer NOT NULL,
    cancelled_count integer NOT NULL,
    timed_out_count integer NOT NULL,
    span_count integer NOT NULL,
    input_tokens bigint,
    output_tokens bigint,
    cost_usd double precision,
    skipped_nodes text[] NOT NULL,
    resumes text,
    lost_after_s double precision,
    hidden boolean NOT NULL,
    anomalies text[] NOT NULL,
    CONSTRAINT execution_pkey PRIMARY KEY (tenant_id, trace_id, day),
    CONSTRAINT execution_status_check CHECK (
        status IN ('pending', 'running', 'waiting', 'completed', 'failed', 'skipped', 'cancelled', 'timed_out', 'partial')
    )
) PARTITION BY RANGE (day);

COMMENT ON TABLE spantree.execution IS 'one run of something: one row a trace, computed from its spans; `lost` is decided by the view executions';
COMMENT ON CONSTRAINT execution_pkey ON spantree.execution IS 'serves the read of one execution';
COMMENT ON COLUMN spantree.execution.tenant_id IS 'whose execution it is';
COMMENT ON COLUMN spantree.execution.day IS 'UTC day of started_ns; 1970-01-01 where that is before 2015 or after 2099';
COMMENT ON COLUMN spantree.execution.trace_id IS 'the trace, and the id of the execution';
COMMENT ON COLUMN spantree.execution.name IS 'name for a list';
COMMENT ON COLUMN spantree.execution.workflow_name IS 'the workflow, DAG, agent or graph that ran';
COMMENT ON COLUMN spantree.execution.entry IS 'how it was called, for example POST /chat';
COMMENT ON COLUMN spantree.execution.kind IS 'what it is: workflow, agent, request, task and the like';
COMMENT ON COLUMN spantree.execution.status IS 'status as the spans tell it';
COMMENT ON COLUMN spantree.execution.started_ns IS 'start, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.execution.ended_ns IS 'end, UTC nanoseconds since 1970; null while it runs';
COMMENT ON COLUMN spantree.execution.last_seen_ns IS 'when the collector took in its newest span, UTC nanoseconds since 1970, by the collector''s clock';
COMMENT ON COLUMN spantree.execution.root_span_id IS 'span id of the root; null while it is not known';
COMMENT ON COLUMN spantree.execution.service IS 'service of the root';
COMMENT ON COLUMN spantree.execution.services IS 'all services that took part';
COMMENT ON COLUMN spantree.execution.run_id IS 'declared id of the run; executions that share it are one run (view runs)';
COMMENT ON COLUMN spantree.execution.conversation_id IS 'conversation, session or thread it is a turn of';
COMMENT ON COLUMN spantree.execution.user_id IS 'for whom it ran';
COMMENT ON COLUMN spantree.execution.project IS 'project it belongs to';
COMMENT ON COLUMN spantree.execution.input IS 'preview of what it was given';
COMMENT ON COLUMN spantree.execution.output IS 'preview of what it gave';
COMMENT ON COLUMN spantree.execution.error_summary IS 'why it failed, in one line';
COMMENT ON COLUMN spantree.execution.error_category IS 'category of the first failure';
COMMENT ON COLUMN spantree.execution.error_fingerprint IS 'equal for failures of the same cause';
COMMENT ON COLUMN spantree.execution.first_failed_span_id IS 'node.span_id of the node that failed first';
COMMENT ON COLUMN spantree.execution.first_failed_ordinal IS 'node.ordinal of the node that failed first';
COMMENT ON COLUMN spantree.execution.first_failed_name IS 'name of the node that failed first';
COMMENT ON COLUMN spantree.execution.first_failed_error_type IS 'error type of the node that failed first';
COMMENT ON COLUMN spantree.execution.first_failed_error_message IS 'error message of the node that failed first';
COMMENT ON COLUMN spantree.execution.total_count IS 'nodes in all';
COMMENT ON COLUMN spantree.execution.completed_count IS 'nodes that completed';
COMMENT ON COLUMN spantree.execution.failed_count IS 'nodes that failed for good';
COMMENT ON COLUMN spantree.execution.retried_count IS 'failed attempts that a later attempt followed';
COMMENT ON COLUMN spantree.execution.skipped_count IS 'nodes that were skipped';
COMMENT ON COLUMN spantree.execution.waiting_count IS 'nodes that wait';
COMMENT ON COLUMN spantree.execution.running_count IS 'nodes that run';
COMMENT ON COLUMN spantree.execution.cancelled_count IS 'nodes that were cancelled';
COMMENT ON COLUMN spantree.execution.timed_out_count IS 'nodes that timed out';
COMMENT ON COLUMN spantree.execution.span_count IS 'spans of the trace that the row was computed from';
COMMENT ON COLUMN spantree.execution.input_tokens IS 'tokens given to models';
COMMENT ON COLUMN spantree.execution.output_tokens IS 'tokens taken from models';
COMMENT ON COLUMN spantree.execution.cost_usd IS 'cost in US dollars';
COMMENT ON COLUMN spantree.execution.skipped_nodes IS 'names of nodes that are declared but did not run';
COMMENT ON COLUMN spantree.execution.resumes IS 'run id, checkpoint or conversation that it took up again';
COMMENT ON COLUMN spantree.execution.lost_after_s IS 'seconds without a sign of life after which it counts as lost; null for 3600';
COMMENT ON COLUMN spantree.execution.hidden IS 'a request of no workflow: not listed unless asked for';
COMMENT ON COLUMN spantree.execution.anomalies IS 'what is wrong with its spans or their order';

CREATE INDEX execution_started_idx ON spantree.execution (tenant_id, started_ns, trace_id);
COMMENT ON INDEX spantree.execution_started_idx IS 'serves lists, newest first';
CREATE INDEX execution_failure_idx ON spantree.execution (tenant_id, started_ns)
    WHERE status IN ('failed', 'partial', 'timed_out');
COMMENT ON INDEX spantree.execution_failure_idx IS 'serves the view failures';
CREATE INDEX execution_open_idx ON spantree.execution (tenant_id, last_seen_ns)
    WHERE status IN ('pending', 'running', 'waiting');
COMMENT ON INDEX spantree.execution_open_idx IS 'serves the view stuck_executions and lists of what runs now';
CREATE INDEX execution_workflow_idx ON spantree.execution (tenant_id, workflow_name, started_ns)
    WHERE workflow_name IS NOT NULL;
COMMENT ON INDEX spantree.execution_workflow_idx IS 'serves lists of one workflow';
CREATE INDEX execution_run_idx ON spantree.execution (tenant_id, run_id)
    WHERE run_id IS NOT NULL;
COMMENT ON INDEX spantree.execution_run_idx IS 'serves the view runs asked for one run id';
CREATE INDEX execution_conversation_idx ON spantree.execution (tenant_id, conversation_id, started_ns)
    WHERE conversation_id IS NOT NULL;
COMMENT ON INDEX spantree.execution_conversation_idx IS 'serves the executions of one conversation';
CREATE INDEX execution_user_idx ON spantree.execution (tenant_id, user_id, started_ns)
    WHERE user_id IS NOT NULL;
COMMENT ON INDEX spantree.execution_user_idx IS 'serves lists of one user';
CREATE INDEX execution_error_idx ON spantree.execution (tenant_id, error_fingerprint, started_ns)
    WHERE error_fingerprint IS NOT NULL;
COMMENT ON INDEX spantree.execution_error_idx IS 'serves failures of the same cause';

CREATE TABLE spantree.node (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    ordinal integer NOT NULL,
    fingerprint bigint,
    parent_span_id bigint,
    parent_ordinal integer,
    name text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    status_reason text,
    started_ns bigint NOT NULL,
    ended_ns bigint,
    self_ns bigint,
    sequence integer NOT NULL,
    depth integer NOT NULL,
    attempt integer NOT NULL,
    max_attempts integer,
    retry_expected boolean,
    task_key text,
    iteration integer,
    error_type text,
    error_message text,
    error_category text,
    error_fingerprint text,
    model text,
    input_tokens bigint,
    output_tokens bigint,
    cost_usd double precision,
    input text,
    output text,
    service text NOT NULL,
    workflow_name text,
    run_id text,
    on_critical_path boolean NOT NULL,
    folded_span_ids bigint[] NOT NULL,
    anomalies text[] NOT NULL,
    CONSTRAINT node_pkey PRIMARY KEY (tenant_id, trace_id, span_id, ordinal, day),
    CONSTRAINT node_status_check CHECK (
        status IN ('pending', 'running', 'waiting', 'completed', 'failed', 'retried', 'skipped', 'cancelled', 'timed_out')
    )
) PARTITION BY RANGE (day);

COMMENT ON TABLE spantree.node IS 'one step of an execution, computed from the spans of its trace';
COMMENT ON CONSTRAINT node_pkey ON spantree.node IS 'serves the nodes of one execution';
COMMENT ON COLUMN spantree.node.tenant_id IS 'whose node it is';
COMMENT ON COLUMN spantree.node.day IS 'day of the span row it stands for, else UTC day of started_ns';
COMMENT ON COLUMN spantree.node.trace_id IS 'the execution it belongs to';
COMMENT ON COLUMN spantree.node.span_id IS 'span it stands for';
COMMENT ON COLUMN spantree.node.ordinal IS '0, and 1, 2 ... for further nodes that share the span id';
COMMENT ON COLUMN spantree.node.fingerprint IS 'span.fingerprint of the span row it stands for; null while only a live mark or a child told of it';
COMMENT ON COLUMN spantree.node.parent_span_id IS 'span_id of the parent node; null for a root';
COMMENT ON COLUMN spantree.node.parent_ordinal IS 'ordinal of the parent node; null for a root';
COMMENT ON COLUMN spantree.node.name IS 'name of the step';
COMMENT ON COLUMN spantree.node.kind IS 'what it is: node, tool, llm, query, request and the like';
COMMENT ON COLUMN spantree.node.status IS 'status of the step';
COMMENT ON COLUMN spantree.node.status_reason IS 'why it has that status, where the engine says so';
COMMENT ON COLUMN spantree.node.started_ns IS 'start, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.node.ended_ns IS 'end, UTC nanoseconds since 1970; null while it runs';
COMMENT ON COLUMN spantree.node.self_ns IS 'nanoseconds that no child accounts for; null while it runs';
COMMENT ON COLUMN spantree.node.sequence IS '1-based position in the execution: depth first, siblings by start';
COMMENT ON COLUMN spantree.node.depth IS '0 for a root';
COMMENT ON COLUMN spantree.node.attempt IS '1-based attempt of its task';
COMMENT ON COLUMN spantree.node.max_attempts IS 'attempts that the engine allows';
COMMENT ON COLUMN spantree.node.retry_expected IS 'whether a retry policy foresaw the further attempts';
COMMENT ON COLUMN spantree.node.task_key IS 'equal for all attempts of one task';
COMMENT ON COLUMN spantree.node.iteration IS '1-based turn of a loop; null outside of loops';
COMMENT ON COLUMN spantree.node.error_type IS 'type of its error';
COMMENT ON COLUMN spantree.node.error_message IS 'message of its error';
COMMENT ON COLUMN spantree.node.error_category IS 'category of its error';
COMMENT ON COLUMN spantree.node.error_fingerprint IS 'equal for errors of the same cause';
COMMENT ON COLUMN spantree.node.model IS 'model that it called';
COMMENT ON COLUMN spantree.node.input_tokens IS 'tokens given to the model';
COMMENT ON COLUMN spantree.node.output_tokens IS 'tokens taken from the model';
COMMENT ON COLUMN spantree.node.cost_usd IS 'cost in US dollars';
COMMENT ON COLUMN spantree.node.input IS 'preview of what it was given';
COMMENT ON COLUMN spantree.node.output IS 'preview of what it gave';
COMMENT ON COLUMN spantree.node.service IS 'service it ran in';
COMMENT ON COLUMN spantree.node.workflow_name IS 'workflow it is a step of';
COMMENT ON COLUMN spantree.node.run_id IS 'run id, only where the step declares one';
COMMENT ON COLUMN spantree.node.on_critical_path IS 'whether the execution would have ended earlier without it';
COMMENT ON COLUMN spantree.node.folded_span_ids IS 'spans that belong to it and are no nodes of their own';
COMMENT ON COLUMN spantree.node.anomalies IS 'what is wrong with its span';

CREATE INDEX node_error_idx ON spantree.node (tenant_id, error_fingerprint, started_ns)
    WHERE error_fingerprint IS NOT NULL;
COMMENT ON INDEX spantree.node_error_idx IS 'serves failed nodes of the same cause';
CREATE INDEX node_run_idx ON spantree.node (tenant_id, run_id)
    WHERE run_id IS NOT NULL;
COMMENT ON INDEX spantree.node_run_idx IS 'serves the nodes of one run in traces that are not its own';

CREATE INDEX node_retry_idx ON spantree.node (tenant_id, started_ns)
    WHERE attempt > 1;
COMMENT ON INDEX spantree.node_retry_idx IS 'serves the view retries';

CREATE TABLE spantree.edge (
    tenant_id integer NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    from_span_id bigint NOT NULL,
    from_ordinal integer NOT NULL,
    to_span_id bigint NOT NULL,
    to_ordinal integer NOT NULL,
    type text NOT NULL,
    condition text,
    provenance text NOT NULL,
    from_trace_id uuid,
    CONSTRAINT edge_pkey PRIMARY KEY (tenant_id, trace_id, from_span_id, from_ordinal, to_span_id, to_ordinal, type, day),
    CONSTRAINT edge_type_check CHECK (
        type IN ('sequential', 'conditional', 'parallel', 'join', 'dependency', 'handoff', 'retry', 'resume')
    ),
    CONSTRAINT edge_provenance_check CHECK (provenance IN ('declared', 'link', 'inferred'))
) PARTITION BY RANGE (day);

COMMENT ON TABLE spantree.edge IS 'what led to what in an execution; the edges from parent to child are not stored, the view edges adds them';
COMMENT ON CONSTRAINT edge_pkey ON spantree.edge IS 'serves the edges of one execution';
COMMENT ON COLUMN spantree.edge.tenant_id IS 'whose edge it is';
COMMENT ON COLUMN spantree.edge.day IS 'day of the node it leads to';
COMMENT ON COLUMN spantree.edge.trace_id IS 'the execution it belongs to';
COMMENT ON COLUMN spantree.edge.from_span_id IS 'span_id of the node it comes from';
COMMENT ON COLUMN spantree.edge.from_ordinal IS 'ordinal of the node it comes from';
COMMENT ON COLUMN spantree.edge.to_span_id IS 'span_id of the node it leads to';
COMMENT ON COLUMN spantree.edge.to_ordinal IS 'ordinal of the node it leads to';
COMMENT ON COLUMN spantree.edge.type IS 'how the one led to the other';
COMMENT ON COLUMN spantree.edge.condition IS 'the value that was chosen, for conditional edges';
COMMENT ON COLUMN spantree.edge.provenance IS 'how it is known: declared by the engine, a span link, or inferred from times';
COMMENT ON COLUMN spantree.edge.from_trace_id IS 'trace of the node it comes from, where that is another one';

CREATE TABLE spantree.pending_projection (
    tenant_id integer NOT NULL,
    trace_id uuid NOT NULL,
    first_pending_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    batches integer NOT NULL,
    spans bigint NOT NULL,
    projected_spans bigint NOT NULL DEFAULT 0,
    root_ended boolean NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    error text,
    CONSTRAINT pending_projection_pkey PRIMARY KEY (tenant_id, trace_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

COMMENT ON TABLE spantree.pending_projection IS 'traces whose spans are stored and whose execution, node and edge rows are still to be computed';
COMMENT ON CONSTRAINT pending_projection_pkey ON spantree.pending_projection IS 'where writers of the same trace meet';
COMMENT ON COLUMN spantree.pending_projection.tenant_id IS 'whose trace it is';
COMMENT ON COLUMN spantree.pending_projection.trace_id IS 'the trace';
COMMENT ON COLUMN spantree.pending_projection.first_pending_at IS 'when the oldest batch came that no projection has seen';
COMMENT ON COLUMN spantree.pending_projection.due_at IS 'when it is to be projected';
COMMENT ON COLUMN spantree.pending_projection.batches IS 'batches that no projection has seen; a change while projecting keeps the row';
COMMENT ON COLUMN spantree.pending_projection.spans IS 'spans in those batches';
COMMENT ON COLUMN spantree.pending_projection.projected_spans IS 'spans that the last projection was computed from, where they are many';
COMMENT ON COLUMN spantree.pending_projection.root_ended IS 'whether an ended root was among them';
COMMENT ON COLUMN spantree.pending_projection.failures IS 'projections of it that failed since the last that did not';
COMMENT ON COLUMN spantree.pending_projection.error IS 'why the last one failed; null when none did';

CREATE INDEX pending_projection_due_idx ON spantree.pending_projection (tenant_id, due_at);
COMMENT ON INDEX spantree.pending_projection_due_idx IS 'serves the projector: what is due';

CREATE TABLE spantree.dead_letter (
    tenant_id integer NOT NULL,
    digest bytea NOT NULL,
    received_ns bigint NOT NULL,
    dead_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    encoding text NOT NULL,
    raw bytea NOT NULL,
    CONSTRAINT dead_letter_pkey PRIMARY KEY (tenant_id, digest)
);

COMMENT ON TABLE spantree.dead_letter IS 'spans that were accepted and can never become a row, with their bytes and the reason';
COMMENT ON CONSTRAINT dead_letter_pkey ON spantree.dead_letter IS 'makes writing a dead letter again change nothing';
COMMENT ON COLUMN spantree.dead_letter.tenant_id IS 'whose span it is';
COMMENT ON COLUMN spantree.dead_letter.digest IS 'SHA-256 of encoding and raw';
COMMENT ON COLUMN spantree.dead_letter.received_ns IS 'when the collector took it in, UTC nanoseconds since 1970';
COMMENT ON COLUMN spantree.dead_letter.dead_at IS 'when it was given up';
COMMENT ON COLUMN spantree.dead_letter.reason IS 'why, as a sentence';
COMMENT ON COLUMN spantree.dead_letter.encoding IS 'protobuf or json';
COMMENT ON COLUMN spantree.dead_letter.raw IS 'the bytes as they came';

CREATE TABLE spantree.rebuild_position (
    tenant_id integer NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    day date NOT NULL,
    trace_id uuid NOT NULL,
    span_id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rebuild_position_pkey PRIMARY KEY (tenant_id, first_day, last_day)
);

COMMENT ON TABLE spantree.rebuild_position IS 'how far `spantree rebuild` over some days has come; its row goes when it is through';
COMMENT ON COLUMN spantree.rebuild_position.tenant_id IS 'whose spans are read again';
COMMENT ON COLUMN spantree.rebuild_position.first_day IS 'first day that was asked for';
COMMENT ON COLUMN spantree.rebuild_position.last_day IS 'last day that was asked for';
COMMENT ON COLUMN spantree.rebuild_position.day IS 'day of the last span that is done';
COMMENT ON COLUMN spantree.rebuild_position.trace_id IS 'trace of the last span that is done';
COMMENT ON COLUMN spantree.rebuild_position.span_id IS 'the last span that is done';
COMMENT ON COLUMN spantree.rebuild_position.fingerprint IS 'fingerprint of the last span that is done';
COMMENT ON COLUMN spantree.rebuild_position.updated_at IS 'when it got there';

-- lz4 halves the cost of TOAST; a build without it says feature_not_supported and keeps pglz.
DO $$
DECLARE
    wide record;
BEGIN
    FOR wide IN
        SELECT *
        FROM (VALUES ('span', 'attributes'), ('span', 'events'), ('span', 'links'), ('span', 'raw'),
                     ('resource', 'attributes'), ('dead_letter', 'raw')) AS columns (tablename, columnname)
    LOOP
        EXECUTE format('ALTER TABLE spantree.%I ALTER COLUMN %I SET COMPRESSION lz4', wide.tablename, wide.columnname);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this PostgreSQL is built without lz4: large values are compressed by pglz';
END
$$;
