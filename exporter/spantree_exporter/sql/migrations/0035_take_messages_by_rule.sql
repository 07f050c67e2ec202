-- Messages of alerts are taken rule by rule: one with thousands, or whose receiver never answers, holds up no other.

CREATE INDEX alert_delivery_rule_idx ON spantree.alert_delivery (tenant_id, rule_id, due_at) WHERE state = 'pending';
COMMENT ON INDEX spantree.alert_delivery_rule_idx IS 'serves taking what is due of each rule, and counting what waits of one';
DROP INDEX spantree.alert_delivery_due_idx;
