"""Values as trees and conversations: whatever somebody's JSON is, it is told, or told to be plain text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.pages.json_view import Entry, Message, folded, json_text, messages

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "tool_calls", "function", "arguments", "messages", "message", "type", "text"]
            ),
            part | st.sampled_from(["user", "assistant", "tool"]),
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


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([{"role": "User", "content": "hi"}], [Message("user", "hi")]),
        ({"messages": [{"type": "human", "content": None}]}, [Message("human", "")]),
        (
            {"choices": [{"message": {"role": "assistant", "content": [{"text": "a"}, "b"]}}]},
            [Message("assistant", "a\nb")],
        ),
        ({"role": "user", "parts": [{"content": "x"}]}, [Message("user", "x")]),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "pay", "arguments": {"cents": 5}}}]}],
            [Message("assistant", "", ['pay({"cents":5})'])],
        ),
        ([{"role": "assistant", "content": "none", "tool_calls": 5}], [Message("assistant", "none")]),
        ([{"role": "assistant", "tool_calls": [{"name": "pay", "args": "5"}]}], [Message("assistant", "", ["pay(5)"])]),
        ([{"role": "user", "content": {"a": 1}}], [Message("user", '{\n  "a": 1\n}')]),
    ],
)  # fmt: skip
def test_conversations_are_read_as_clients_write_them(value: Any, told: list[Message]) -> None:
    assert messages(value) == messages(json.dumps(value)) == told


@pytest.mark.parametrize("value", [[], {}, [{"role": "boss"}], [{"role": 1}], [1], [{"role": "user"}] * 201])
def test_what_is_no_conversation_is_none(value: Any) -> None:
    assert messages(value) is None


@given(JSON)
def test_no_json_makes_a_page_fail(value: Any) -> None:
    text = json.dumps(value)
    assert folded(text) is None or isinstance(folded(text), Entry)
    told = messages(text)
    assert told is None or all(isinstance(one.text, str) for one in told)


def test_deep_contents_of_messages_are_told_as_they_are() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    for message in (
        {"role": "user", "content": deep},
        {"role": "assistant", "tool_calls": [{"name": "f", "args": deep}]},
    ):
        assert messages(json.dumps([message])) is None
    assert json_text(deep) == "nested too deeply to be shown here: the raw spans have it"
