"""Facts that PostgreSQL cannot hold are cut or dropped in one place, and say so."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import Facts, FactsReader, read_facts
from spantree_exporter.facts.reading import Convention
from spantree_exporter.span import Attributes, Span


def read_by(put: dict[str, object]) -> dict[str, object]:
    """What a convention that puts `put` is stored as."""

    def read(span: Span, facts: Facts) -> None:
        facts.update(put)  # type: ignore[typeddict-item]

    facts = FactsReader((Convention("hostile", read, keys=("x",)),))(span("work", {"x": 1}))
    orjson.dumps(facts)
    return dict(facts)


@pytest.mark.parametrize(
    ("put", "stored"),
    [
        ({"run_id": "a\x00b"}, {"run_id": "a\u2400b", "anomalies": ["run_id_nul"]}),
        ({"user_id": "a\ud800"}, {"user_id": "a\ufffd", "anomalies": ["user_id_utf8"]}),
        ({"attempt": 5_000_000_000}, {"anomalies": ["attempt_out_of_range"]}),
        ({"attempt": 10**22}, {"anomalies": ["attempt_out_of_range"]}),
        ({"max_attempts": 2**63 - 1}, {"max_attempts": 10**9, "anomalies": ["max_attempts_out_of_range"]}),
        ({"input_tokens": -1}, {"anomalies": ["input_tokens_out_of_range"]}),
        ({"cost_usd": float("inf")}, {"anomalies": ["cost_usd_out_of_range"]}),
        ({"name": "x" * 5000}, {"name": "x" * 512, "anomalies": ["name_cut"]}),
        ({"link_types": {"0" * 16: "evil"}}, {"anomalies": ["link_types_unknown"]}),
        ({"attempt": 3, "name": "a b"}, {"attempt": 3, "name": "a b"}),
    ],
)
def test_what_does_not_fit_is_cut_or_dropped_with_an_anomaly(put: dict[str, object], stored: dict[str, object]) -> None:
    assert read_by(put) == stored


@pytest.mark.parametrize("key", ["run_id", "conversation_id", "user_id", "task_key", "resumes"])
def test_ids_that_are_cut_fit_an_index_and_stay_different(key: str) -> None:
    one, other = read_by({key: "é" * 5000 + "1"})[key], read_by({key: "é" * 5000 + "2"})[key]
    assert isinstance(one, str)
    assert (len(one.encode()) <= 1500, one != other, one == read_by({key: "é" * 5000 + "1"})[key]) == (True, True, True)


def test_facts_are_bounded_as_a_whole() -> None:
    facts = read_by({"routes": ["r" * 500] * 5000, "graph": {"nodes": ["n" * 500] * 900, "edges": []}, "name": "n"})
    assert len(orjson.dumps(facts)) < 70_000
    assert facts["name"] == "n"
    assert "facts_too_large" in facts["anomalies"]  # type: ignore[operator]


def test_a_session_in_metadata_with_a_nul_is_stored() -> None:
    sent: Attributes = {"metadata": '{"session_id":"a\\u0000b"}'}
    assert read_facts(span("work", sent)) == {"conversation_id": "a\u2400b", "anomalies": ["conversation_id_nul"]}


@pytest.mark.parametrize(
    "sent",
    [
        span("n", {"metadata": '{"langgraph_node":"n"}', "output.value": "["}, events=[raised("P", "Command(" * 300_000)]),  # noqa: E501
        span("n", {"metadata": "[" * 1_000_000}),
        span("run", {}, scope="opentelemetry.instrumentation.openai_agents", status=2, message="{" * 4_000_000),
        span("n", {"langsmith.span.kind": "chain"}, events=[raised("Exception", "E(" + "('" * 500_000)]),
        span("n", {"step.id": "n", "attempt": "9" * 100_000}),
        span("n", {"step.id": "n", "attempt": "²"}),
    ],
)  # fmt: skip
def test_hostile_texts_are_read_by_work_that_grows_with_their_length(sent: Span) -> None:
    read_facts(sent)


def test_the_cache_of_combinations_of_attributes_is_bounded() -> None:
    keys = [f"k{number}" for number in range(13)]
    reader = FactsReader(tuple(Convention(key, lambda _span, _facts: None, keys=(key,)) for key in keys))
    for number in range(2**13):
        reader(span("n", {key: 1 for place, key in enumerate(keys) if number >> place & 1}))
    assert len(reader._by_mask) <= 4096


def test_what_the_sdk_left_out_of_a_span_is_told() -> None:
    work = span("work")
    assert read_facts(replace(work, dropped_events_count=2, dropped_links_count=900)) == {
        "anomalies": ["events_dropped", "links_dropped"]
    }
    assert read_facts(replace(work, dropped_attributes_count=1)) == {"anomalies": ["attributes_dropped"]}
