"""Logfire's spans, logs and pending spans."""

from __future__ import annotations

from tests.unit.facts.spans import raised, span

from spantree_exporter.facts import read_facts
from spantree_exporter.span import Attributes


def test_a_span_is_named_for_its_message_and_grouped_by_its_template() -> None:
    attributes: Attributes = {
        "logfire.span_type": "span",
        "logfire.msg": "import r-1",
        "logfire.msg_template": "import {run}",
    }
    assert read_facts(span("import {run}", attributes)) == {"name": "import r-1", "grouped_as": "import {run}"}


def test_calls_without_arguments_are_equal() -> None:
    attributes: Attributes = {
        "logfire.span_type": "span",
        "logfire.msg": "fetch",
        "logfire.msg_template": "fetch",
    }
    returned = attributes | {"logfire.json_schema": '{"type":"object","properties":{"return":{}}}'}
    given = attributes | {"logfire.json_schema": '{"type":"object","properties":{"row":{}}}'}
    assert read_facts(span("fetch", attributes)) == read_facts(span("fetch", returned))
    assert read_facts(span("fetch", attributes)) == {"input_digest": "no arguments"}
    assert read_facts(span("fetch", given)) == {}


def test_a_log_is_an_event_of_the_span_around_it() -> None:
    attributes: Attributes = {"logfire.span_type": "log", "logfire.msg": "bad row", "logfire.level_num": 13}
    assert read_facts(span("bad row", attributes, at=(5, 5))) == {"fold": "event", "level": "warning"}
    assert read_facts(span("bad row", attributes, at=(5, 5), parent=None)) == {
        "fold": "event",
        "hidden": True,
        "level": "warning",
    }


def test_what_was_streamed_is_told_of_the_call_that_asked_for_it() -> None:
    """pydantic/logfire#315, #1280: the call's own span ends with the first byte and tells no usage."""
    sent: Attributes = {
        "logfire.span_type": "log",
        "logfire.msg": "streaming response from 'gpt-x' took 0.88s",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34,
        "gen_ai.input.messages": "[1]",
        "gen_ai.output.messages": "[2]",
    }
    name = "streaming response from {request_data[model]!r} took {duration:.2f}s"
    told = read_facts(span(name, sent, at=(5, 5), scope="logfire.openai"))
    assert told == {
        "fold": "answer",
        "kind": "llm",
        "name": "streaming response from 'gpt-x' took 0.88s",
        "grouped_as": name,
        "model": "gpt-x",
        "input_tokens": 12,
        "output_tokens": 34,
        "input": "[1]",
        "output": "[2]",
    }
    assert read_facts(span(name, sent, at=(5, 5), scope="shop"))["fold"] == "event"


def test_a_logged_exception_was_handled() -> None:
    attributes: Attributes = {"logfire.span_type": "log", "logfire.msg": "oops", "logfire.level_num": 17}
    facts = read_facts(span("oops", attributes, events=[raised("ValueError", "bad")]))
    assert (facts["level"], facts["error_type"], facts["error_handled"]) == ("error", "ValueError", True)


def test_a_pending_span_announces_its_parent() -> None:
    attributes: Attributes = {
        "logfire.span_type": "pending_span",
        "logfire.pending_parent_id": "00f067aa0ba902b7",
        "logfire.msg": "load",
    }
    assert read_facts(span("load", attributes, parent=0x1F)) == {
        "fold": "pending",
        "pending_of": "000000000000001f",
        "pending_parent": "00f067aa0ba902b7",
    }
