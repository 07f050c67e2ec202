-- Rules that say what is worth a message, and the messages: an outbox that any API process delivers from.

CREATE TABLE spantree.alert_rule (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    enabled boolean NOT NULL,
    definition jsonb NOT NULL,
    secret text NOT NULL,
    source text NOT NULL,
    silenced_until timestamptz,
    from_position bigint NOT NULL,
    active_since timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT alert_rule_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT alert_rule_source_check CHECK (source IN ('api', 'file'))
);

COMMENT ON TABLE spantree.alert_rule IS 'rules of alerts: what is worth a message, and where it goes';
COMMENT ON CONSTRAINT alert_rule_pkey ON spantree.alert_rule IS 'serves one rule, and all of a tenant';
COMMENT ON COLUMN spantree.alert_rule.tenant_id IS 'whose rule it is';
COMMENT ON COLUMN spantree.alert_rule.id IS 'tells rules apart; of one of a file it follows from its name';
COMMENT ON COLUMN spantree.alert_rule.name IS 'what people call it';
COMMENT ON COLUMN spantree.alert_rule.enabled IS 'whether it is looked at';
COMMENT ON COLUMN spantree.alert_rule.definition IS 'kind, filter, limits, webhook: the body of POST /alerts/rules';
COMMENT ON COLUMN spantree.alert_rule.secret IS 'what its messages are signed with';
COMMENT ON COLUMN spantree.alert_rule.source IS 'api or file: who may change it';
COMMENT ON COLUMN spantree.alert_rule.silenced_until IS 'until then it makes messages that are not sent; null where it is not silenced';
COMMENT ON COLUMN spantree.alert_rule.from_position IS 'change.position that it looks at changes from';
COMMENT ON COLUMN spantree.alert_rule.active_since IS 'when it was made or switched on: nothing from before makes a message';
COMMENT ON COLUMN spantree.alert_rule.created_at IS 'when it was made';
COMMENT ON COLUMN spantree.alert_rule.updated_at IS 'when it was changed last';

CREATE TABLE spantree.alert_firing (
    tenant_id integer NOT NULL,
    rule_id uuid NOT NULL,
    subject text NOT NULL,
    since timestamptz NOT NULL,
    CONSTRAINT alert_firing_pkey PRIMARY KEY (tenant_id, rule_id, subject)
);

COMMENT ON TABLE spantree.alert_firing IS 'what is beyond the limit of a rule over a window of time, and was told so: told again once it has been below';
COMMENT ON CONSTRAINT alert_firing_pkey ON spantree.alert_firing IS 'serves the look at one rule';
COMMENT ON COLUMN spantree.alert_firing.tenant_id IS 'whose rule it is';
COMMENT ON COLUMN spantree.alert_firing.rule_id IS 'alert_rule.id';
COMMENT ON COLUMN spantree.alert_firing.subject IS 'the workflow; empty where all is looked at as one';
COMMENT ON COLUMN spantree.alert_firing.since IS 'when it was seen beyond the limit first';

CREATE TABLE spantree.alert_state (
    tenant_id integer NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT alert_state_pkey PRIMARY KEY (tenant_id)
) WITH (fillfactor = 50);

COMMENT ON TABLE spantree.alert_state IS 'how far the rules have looked at changes';
COMMENT ON CONSTRAINT alert_state_pkey ON spantree.alert_state IS 'serves going on from there';
COMMENT ON COLUMN spantree.alert_state.tenant_id IS 'whose changes they are';
COMMENT ON COLUMN spantree.alert_state.position IS 'change.position of the last one that was looked at';

CREATE TABLE spantree.alert_delivery (
    tenant_id integer NOT NULL,
    id uuid NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    answer_status integer,
    error text,
    CONSTRAINT alert_delivery_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT alert_delivery_state_check CHECK (state IN ('pending', 'delivered', 'failed', 'silenced', 'dropped'))
);

COMMENT ON TABLE spantree.alert_delivery IS 'messages of alerts, to be delivered and delivered; kept for 30 days';
COMMENT ON CONSTRAINT alert_delivery_pkey ON spantree.alert_delivery IS 'one message an event: its id follows from the rule and what it is about';
COMMENT ON COLUMN spantree.alert_delivery.tenant_id IS 'whose message it is';
COMMENT ON COLUMN spantree.alert_delivery.id IS 'event_id and Idempotency-Key of the message';
COMMENT ON COLUMN spantree.alert_delivery.rule_id IS 'alert_rule.id, of a rule that may be gone';
COMMENT ON COLUMN spantree.alert_delivery.rule_name IS 'name of the rule at that time';
COMMENT ON COLUMN spantree.alert_delivery.kind IS 'kind of the rule';
COMMENT ON COLUMN spantree.alert_delivery.subject IS 'what it is about: an execution, a group of failures, a workflow';
COMMENT ON COLUMN spantree.alert_delivery.body IS 'the JSON that is sent, the same at each attempt';
COMMENT ON COLUMN spantree.alert_delivery.state IS 'pending; delivered; failed: given up after a day; silenced; dropped: its rule is gone';
COMMENT ON COLUMN spantree.alert_delivery.attempts IS 'how often it was sent, or tried to be';
COMMENT ON COLUMN spantree.alert_delivery.due_at IS 'when it is tried next; while it is being sent, when another process takes over';
COMMENT ON COLUMN spantree.alert_delivery.created_at IS 'when the rule was met';
COMMENT ON COLUMN spantree.alert_delivery.delivered_at IS 'when the receiver answered 2xx; null where it has not';
COMMENT ON COLUMN spantree.alert_delivery.answer_status IS 'HTTP status of the last answer; null where there was none';
COMMENT ON COLUMN spantree.alert_delivery.error IS 'why the last attempt failed; null where it did not';

CREATE INDEX alert_delivery_due_idx ON spantree.alert_delivery (tenant_id, due_at) WHERE state = 'pending';
COMMENT ON INDEX spantree.alert_delivery_due_idx IS 'serves taking what is due';
CREATE INDEX alert_delivery_created_idx ON spantree.alert_delivery (tenant_id, created_at, id);
COMMENT ON INDEX spantree.alert_delivery_created_idx IS 'serves the history, newest first, and dropping what is old';
