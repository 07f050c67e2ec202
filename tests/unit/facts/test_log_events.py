"""Log records as events of their span, and what they say of it."""

from __future__ import annotations

from tests.unit.facts.spans import span

from spantree_exporter.facts import read_facts
from spantree_exporter.facts.log_events import SpanLog, event_of, with_logs
from spantree_exporter.span import STATUS_ERROR, Attributes, Event, JsonValue


def log(name: str = "", body: JsonValue = None, at_ns: int = 10, **attributes: JsonValue) -> SpanLog:
    return SpanLog(at_ns, name, body, {key.replace("__", "."): value for key, value in attributes.items()})


def test_an_event_has_the_records_name_attributes_and_body() -> None:
    assert event_of(log("cart.emptied", {"items": 3, "by": "x"}, by="ann")) == Event(
        10, "cart.emptied", {"by": "ann", "items": 3}
    )
    assert event_of(log("", "it is full", 20)) == Event(20, "log", {"body": "it is full"})
    assert event_of(log("", None, event__name="old.way")).name == "old.way"
    assert event_of(log("", "boom", exception__type="KeyError")).name == "exception"


def test_an_exception_in_a_record_is_the_spans_as_an_event_is() -> None:
    failed = span("charge", {}, status=STATUS_ERROR)
    logs = [log("", "charge failed", exception__type="CardDeclined", exception__message="card declined")]
    facts = read_facts(with_logs(failed, logs))
    assert (facts["error_type"], facts["error_message"]) == ("CardDeclined", "card declined")
    assert "error_handled" not in facts
    assert read_facts(with_logs(span("charge", {}), logs))["error_handled"] is True


def test_of_several_exceptions_the_last_counts_whatever_order_they_came_in() -> None:
    failed = span("charge", {}, status=STATUS_ERROR)
    logs = [log("exception", None, at_ns, exception__type=name) for name, at_ns in (("First", 10), ("Last", 20))]
    assert read_facts(with_logs(failed, logs)) == read_facts(with_logs(failed, logs[::-1]))
    assert read_facts(with_logs(failed, logs))["error_type"] == "Last"


def test_the_content_of_a_call_in_one_record() -> None:
    call = span("chat gpt", {"gen_ai.operation.name": "chat"})
    content: dict[str, JsonValue] = {
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}],
    }
    record = SpanLog(10, "gen_ai.client.inference.operation.details", None, content)
    in_attributes = read_facts(span("chat gpt", {"gen_ai.operation.name": "chat", **content}))
    assert read_facts(with_logs(call, [record])) == in_attributes
    assert in_attributes["input"] != in_attributes["output"]


def test_the_content_of_a_call_in_one_record_for_each_message() -> None:
    call = span("chat gpt", {"gen_ai.operation.name": "chat"})
    logs = [
        log("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}, 30),
        log("gen_ai.system.message", {"content": "be brief"}, 10),
        log("gen_ai.user.message", {"content": "hello"}, 20),
    ]
    facts = read_facts(with_logs(call, logs))
    assert facts["input"] == '[{"role":"system","content":"be brief"},{"role":"user","content":"hello"}]'
    assert facts["output"] == '[{"role":"assistant","content":"hi"}]'


def test_what_the_span_says_itself_comes_first() -> None:
    said: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": "the span's"}
    facts = read_facts(with_logs(span("chat", said), [log("gen_ai.user.message", {"content": "the record's"})]))
    assert facts["input"] == "the span's"
