"""spantree's own attributes: each counts on whatever span it is, without any other."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.facts import Facts, FactsReader, read_facts
from spantree_exporter.facts.custom import Rules
from spantree_exporter.span import Attributes
from spantree_exporter.stored import stored_key


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"spantree.node.status": "skipped"}, {"status": "skipped"}),
        ({"spantree.node.status_reason": "the customer wants none"}, {"status_reason": "the customer wants none"}),
        ({"spantree.execution.status": "waiting"}, {"run_status": "waiting"}),
        ({"spantree.execution.status_reason": "became true"}, {"status_reason": "became true"}),
        ({"spantree.retry.max_attempts": 3}, {"max_attempts": 3}),
        ({"spantree.retry.expected": True}, {"retry_expected": True}),
        ({"spantree.decision": "express"}, {"decision": "express"}),
        ({"spantree.edge.from": "choose"}, {"condition_from": "choose"}),
        ({"spantree.edge.condition": "express"}, {"condition": "express"}),
        ({"spantree.iteration": 2}, {"iteration": 2}),
    ],
)
def test_an_attribute_is_read_without_others(attributes: Attributes, told: Facts) -> None:
    assert read_facts(span("step", attributes)) == told


def test_rules_of_one_s_own_find_attributes_whatever_their_names_begin_with() -> None:
    rules = Rules.from_document({"attributes": {"run_id": ["$job"], "node_name": ["job.$step"]}})
    sent = span("x", {stored_key("$job"): "j-1", stored_key("job.$step"): "pack"})
    told = FactsReader((rules.convention(),))(sent)
    assert (told["run_id"], told["name"]) == ("j-1", "pack")
