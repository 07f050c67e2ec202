"""Values as trees and conversations: whatever somebody's JSON is, it is told, or told to be plain text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.pages.json_view import Entry, Message, Part, asked_text, folded, json_text, messages, spoken

KEYS = [
    *("role", "content", "tool_calls", "function", "arguments", "messages", "message", "type", "text", "kwargs"),
    *("parts", "function_call", "toolResult", "output", "response", "config", "contents", "toolCallId", "input"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            part | st.sampled_from(["user", "tool", "tool_call", "tool_result", "thinking", "image", "text"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)  # fmt: skip


def test_json_is_a_tree_with_summaries() -> None:
    assert folded('{"card": {"number": "4000"}, "tries": [1, null]}') == Entry(
        None,
        "object",
        "{card, tries}",
        [
            Entry("card", "object", "{number}", [Entry("number", "text", "4000")]),
            Entry("tries", "list", "[2]", [Entry("0", "literal", "1"), Entry("1", "literal", "null")]),
        ],
    )


@pytest.mark.parametrize("text", ["", "plain", "12", '"text"', "{not json", "[" * 2_000 + "]" * 2_000])
def test_what_is_no_json_object_or_list_is_no_tree(text: str) -> None:
    assert folded(text) is None
    assert messages(text) is None


def test_a_value_that_is_too_large_or_deep_is_no_tree() -> None:
    assert folded(json.dumps(list(range(2_500)))) is None
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    assert folded(deep) is None


def test_long_keys_are_counted_instead_of_named() -> None:
    entry = folded({f"a long name of a key {number}": 1 for number in range(9)})
    assert entry is not None
    assert entry.text == "{9 keys}"


def said(role: str, *texts: str, **parts: str) -> Message:
    """A turn of texts, then of one part of each kind that is named."""
    return Message(role, [*(Part("text", text) for text in texts), *(Part(*part) for part in parts.items())])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([{"role": "User", "content": "hi"}], [said("user", "hi")]),
        ({"messages": [{"type": "human", "content": None}]}, [said("human")]),
        (
            {"choices": [{"message": {"role": "assistant", "content": [{"text": "a"}, "b"]}}]},
            [said("assistant", "a", "b")],
        ),
        ({"role": "user", "parts": [{"content": "x"}]}, [said("user", "x")]),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "pay", "arguments": {"cents": 5}}}]}],
            [said("assistant", call='pay({"cents":5})')],
        ),
        ([{"role": "assistant", "content": "none", "tool_calls": 5}], [said("assistant", "none")]),
        ([{"role": "assistant", "tool_calls": [{"name": "pay", "args": "5"}]}], [said("assistant", call="pay(5)")]),
        ([{"role": "user", "content": {"a": 1}}], [said("user", '{\n  "a": 1\n}')]),
    ],
)  # fmt: skip
def test_conversations_are_read_as_clients_write_them(value: Any, told: list[Message]) -> None:
    assert messages(value) == messages(json.dumps(value)) == told


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        # OpenTelemetry's conventions
        (
            [{"type": "text", "content": "I look."}, {"type": "tool_call", "name": "find", "arguments": {"q": 1}}],
            said("assistant", "I look.", call='find({"q":1})'),
        ),
        ([{"type": "tool_call_response", "id": "1", "response": "14 C"}], said("assistant", result="14 C")),
        ([{"type": "tool_call_response", "id": "1", "result": {"t": 1}}], said("assistant", result='{\n  "t": 1\n}')),
        ([{"type": "reasoning", "content": "hm"}], said("assistant", thought="hm")),
        ([{"type": "blob", "mime_type": "image/png", "content": "iVBOR"}], said("assistant", media="image/png")),
        # OpenAI
        ([{"type": "image_url", "image_url": {"url": "data:"}}], said("assistant", media="image_url")),
        # Anthropic
        (
            [{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "id": "1", "name": "find", "input": {}}],
            said("assistant", thought="hm", call="find({})"),
        ),
        ([{"type": "tool_result", "content": [{"type": "text", "text": "a"}, 1]}], said("assistant", result="a\n1")),
        # the AI SDK
        ([{"type": "tool-call", "toolName": "find", "input": {}}], said("assistant", call="find({})")),
        ([{"type": "tool-result", "output": {"type": "json", "value": "x"}}], said("assistant", result="x")),
        # Gemini and Bedrock
        ([{"function_call": {"name": "find", "args": {}}}], said("assistant", call="find({})")),
        ([{"toolResult": {"content": [{"text": "x"}]}}], said("assistant", result="x")),
        # of nobody
        ([{"type": "new"}, 5], said("assistant", '{\n  "type": "new"\n}', "5")),
    ],
)  # fmt: skip
def test_parts_of_a_message_are_told_apart(parts: list[Any], told: Message) -> None:
    for key in ("parts", "content"):
        assert messages([{"role": "assistant", key: parts}]) == [told]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        # LangChain's batches of constructors
        (
            {"messages": [[{"lc": 1, "id": ["HumanMessage"], "kwargs": {"content": "hi", "type": "human"}}]]},
            [said("human", "hi")],
        ),
        (
            {"generations": [[{"text": "yes", "message": {"lc": 1, "kwargs": {"content": "yes", "type": "ai"}}}]]},
            [said("ai", "yes")],
        ),
        # Gemini's request and answer
        (
            {"config": {"system_instruction": "be brief"}, "contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            [said("system", "be brief"), said("user", "hi")],
        ),
        ({"content": {"role": "model", "parts": [{"text": "yes"}]}, "usage": {}}, [said("model", "yes")]),
        # OpenAI's responses
        (
            [
                {"role": "user", "content": "weather?"},
                {"type": "function_call", "name": "find", "arguments": "{}", "call_id": "1"},
                {"type": "function_call_output", "call_id": "1", "output": "14 C"},
            ],
            [said("user", "weather?"), said("assistant", call="find({})"), said("tool", result="14 C")],
        ),
        # parts alone
        ([{"text": "a"}, {"type": "text", "text": "b"}], [said("", "a", "b")]),
        ([{"toolCallId": "1", "toolName": "find", "input": "{}"}], [said("", call="find({})")]),
    ],
)  # fmt: skip
def test_requests_and_answers_of_clients_are_conversations(value: Any, told: list[Message]) -> None:
    assert messages(value) == messages(json.dumps(value)) == told


@pytest.mark.parametrize("value", [[], {}, [{"role": "boss"}], [{"role": 1}], [1], [{"role": "user"}] * 201])
def test_what_is_no_conversation_is_none(value: Any) -> None:
    assert messages(value) is None


@given(JSON)
def test_no_json_makes_a_page_fail(value: Any) -> None:
    text = json.dumps(value)
    assert folded(text) is None or isinstance(folded(text), Entry)
    told = messages(text)
    assert told is None or all(isinstance(part.text, str) for one in told for part in one.parts)


def test_deep_contents_of_messages_are_told_as_they_are() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    for message in (
        {"role": "user", "content": deep},
        {"role": "assistant", "tool_calls": [{"name": "f", "args": deep}]},
        {"role": "tool", "content": [{"type": "tool_result", "content": deep}]},
    ):
        assert messages(json.dumps([message])) is None
    assert json_text(deep) == "nested too deeply to be shown here: the raw spans have it"


def test_results_within_results_are_no_recursion() -> None:
    inner: Any = "x"
    for _ in range(100):
        inner = [{"type": "tool_result", "content": inner}]
    told = messages([{"role": "tool", "content": inner}])
    assert told is not None
    assert [part.kind for part in told[0].parts] == ["result"]


def test_what_was_said_last_stands_alone() -> None:
    talk = json.dumps(
        [
            {"role": "system", "content": "be short"},
            {"role": "user", "content": "tea?"},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": [{"type": "text", "text": "and"}, {"type": "text", "text": "cups?"}]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]},
        ]
    )
    told = spoken(talk, "user")
    assert told is not None
    assert [turn.role for turn in told] == ["user", "assistant"]
    assert spoken(talk, "tool") is None
    assert spoken("how much?", "user") is None
    assert [asked_text(one) for one in (talk, "how much?", '{"a": 1}')] == [
        "and cups?",
        "how much?",
        '{"a": 1}',
    ]
