"""Conversations: newest turn first, each once, summed up; in pages that end in time."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, insert, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.factories import span
from tests.factories import trace_id as sent_trace_id
from tests.tables import project_all

from spantree_api.reads import conversations as reads
from spantree_api.reads import lists, turn_lists
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes

DAY_NS = 86_400 * S


def turn(number: int, conversation: str | None, ago_s: int, **changes: Any) -> Any:
    started_ns = NOW_NS - ago_s * S
    ended_ns = started_ns + S
    times: dict[str, Any] = {"started_ns": started_ns, "ended_ns": ended_ns, "last_seen_ns": ended_ns}
    return trace(number, conversation_id=conversation, **times, **changes)


def in_pages(api: httpx.Client, limit: int) -> list[str]:
    told: list[str] = []
    cursor = ""
    while True:
        page = ok(api.get(f"/api/v1/conversations?limit={limit}{cursor}"))
        assert len(page["conversations"]) <= limit
        told += [one["conversation_id"] for one in page["conversations"]]
        if page["next_cursor"] is None:
            return told
        assert page["looked_back_to"] is not None
        cursor = f"&cursor={page['next_cursor']}"


def listed(api: httpx.Client, filters: str) -> tuple[list[str], int]:
    """The ids of all executions, and how many pages they are on."""
    told, pages, cursor = list[str](), 0, ""
    while True:
        page = ok(api.get(f"/api/v1/executions?{filters}{cursor}"))
        told += [one["trace_id"] for one in page["executions"]]
        pages += 1
        if page["next_cursor"] is None:
            return told, pages
        cursor = f"&cursor={page['next_cursor']}"


def test_each_is_told_once_by_its_newest_turn(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, Any] = {"input_tokens": 10, "output_tokens": 2, "cost_usd": 0.25}
    insert(
        migrated_url,
        turn(1, "old", 25 * 86_400),
        turn(2, "tea", 3 * 86_400, user_id="ann", input="what is tea?", **used),
        turn(3, "mail", 7_000),
        turn(4, None, 6_000),
        turn(5, "tea", 5_000, user_id="bob", status="failed", input="and coffee?", **used),
        turn(6, "talk", 4_000),
        turn(7, "tea", 3_000, status="waiting"),
        turn(8, "mail", 2_000, status="partial"),
        turn(9, "probe", 1_000, hidden=True),
        turn(10, "older", 40 * 86_400),
        turn(11, "silent", 8_000, status="running", lost_after_s=60.0),
    )
    with api_over(migrated_url) as api:
        page = ok(api.get("/api/v1/conversations"))
        assert [(one["conversation_id"], one["turns"], one["failed_turns"]) for one in page["conversations"]] == [
            ("mail", 2, 1), ("tea", 3, 1), ("talk", 1, 0), ("silent", 1, 0), ("old", 1, 0),
        ]  # fmt: skip
        assert (page["next_cursor"], page["looked_back_to"], page["since"][:10]) == (None, None, "2026-10-21")
        assert page["conversations"][1] == {
            "conversation_id": "tea",
            "user_id": "bob",
            "turns": 3,
            "failed_turns": 1,
            "last_status": "waiting",
            "started_at": "2026-11-17T11:00:00.000000000Z",
            "last_started_at": "2026-11-20T10:10:00.000000000Z",
            "last_started_ns": NOW_NS - 3_000 * S,
            "last_seen_at": "2026-11-20T10:10:01.000000000Z",
            "first_input": "what is tea?",
            "tokens": {"input": 20, "output": 4},
            "cost_usd": 0.5,
        }
        assert page["conversations"][3]["last_status"] == "lost"
        everything = ["mail", "tea", "talk", "silent", "old"]
        assert [in_pages(api, limit) for limit in (1, 2, 200)] == [everything] * 3
        monkeypatch.setattr(reads, "_WALKED", 2)
        assert in_pages(api, 2) == everything
        # Out of time with every look: pages of few or none, and still each once.
        monkeypatch.setattr(reads, "_LOOK_S", 0.0)
        assert in_pages(api, 2) == everything
        monkeypatch.undo()
        wide = ok(api.get("/api/v1/conversations?since=2026-10-01T00:00:00Z"))
        assert [one["conversation_id"] for one in wide["conversations"]] == [*everything, "older"]
        for query in ("since=2026-01-01T00:00:00Z", "cursor=x", "limit=0"):
            assert refused(api.get(f"/api/v1/conversations?{query}"))[:2] == (422, "invalid_parameter"), query
        listed = api.get("/conversations").text
        assert "what is tea?" in listed and 'href="/conversations/tea"' in listed
        assert ok(api.get("/api/v1/conversations/tea/executions"))["executions"][0]["trace_id"] == trace_id(7)


def test_turns_are_listed_by_other_filters_some_at_a_time(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(number: int) -> str:
        return "agent" if number in {2, 3, 8, 11} else "workflow"

    # Some begin at the same moment, and the last ones are days back.
    back_s = [1, 1, 1, 1, 2, 3, 4 * 86_400, 4 * 86_400, 5 * 86_400, 20 * 86_400, 25 * 86_400]
    turns = [turn(number, "talk", back, kind=kind(number)) for number, back in enumerate(back_s, start=1)]
    insert(migrated_url, *turns, turn(12, "other", 2, kind="agent"), turn(13, "talk", 2, kind="agent", hidden=True))
    monkeypatch.setattr(turn_lists, "_TURNS", 2)
    with api_over(migrated_url) as api:
        for look_s in (60.0, -1.0):  # in one go; out of time with every look
            monkeypatch.setattr(lists, "_LOOK_S", look_s)
            for limit in (1, 3, 200):
                found, _ = listed(api, f"conversation_id=talk&kind=agent&limit={limit}")
                assert found == [trace_id(number) for number in (3, 2, 8, 11)]
            found, pages = listed(api, "conversation_id=talk&kind=agent&run_id=none")
            assert (found, pages > 1) == ([], look_s < 0)


def test_there_are_none(migrated_url: str) -> None:
    insert(migrated_url, trace(1, started_ns=T0_NS - DAY_NS))
    with api_over(migrated_url) as api:
        page = ok(api.get("/api/v1/conversations"))
        assert (page["conversations"], page["next_cursor"]) == ([], None)
        assert "No conversation" in api.get("/conversations").text


def test_turns_tell_what_was_said_whole_wherever_it_stands(migrated_url: str) -> None:
    rules = "You are a clerk of a shop. " * 40
    history = [
        {"role": "system", "parts": [{"type": "text", "content": rules}]},
        {"role": "user", "parts": [{"type": "text", "content": "what is there?"}]},
        {"role": "assistant", "parts": [{"type": "text", "content": "Tea and cups."}]},
        {"role": "user", "parts": [{"type": "text", "content": "how much is the tea?"}]},
    ]
    called = [{"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "price", "arguments": {}}]}]
    answered = [{"role": "assistant", "parts": [{"type": "text", "content": "It is 3 euro."}]}]
    asked = {"type": "tool_call_response", "id": "1", "response": "3"}

    def chat(number: int, second: int, given: Any, gave: Any) -> Any:
        sent: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "small-1",
            "gen_ai.conversation.id": "talk",
            "gen_ai.input.messages": json.dumps(given),
            "gen_ai.output.messages": json.dumps(gave),
        }
        return span(number, parent=1, name="chat small-1", start_ns=T0_NS + second * S, attributes=sent, kind=3)

    request: Attributes = {"http.request.method": "POST", "http.route": "/chat", "http.response.status_code": 200}
    letter = "a long letter, " * 60
    own: Attributes = {"spantree.execution.name": "clerk", "session.id": "talk", "input.value": letter}
    store = Store(migrated_url)
    store.write(
        [
            span(1, name="POST /chat", start_ns=T0_NS, duration_ns=9 * S, attributes=request, kind=2),
            chat(2, 1, history, called),
            chat(3, 3, [*history, *called, {"role": "tool", "parts": [asked]}], answered),
            span(9, trace=2, name="clerk", start_ns=T0_NS + 60 * S, attributes=own | {"output.value": "thanks"}),
            span(5, trace=3, name="clerk", start_ns=T0_NS + 90 * S,
                 attributes={"spantree.execution.name": "clerk", "session.id": "talk"}),
        ]
    )  # fmt: skip
    project_all(migrated_url, store)
    store.close()
    with api_over(migrated_url) as api:
        first = ok(api.get("/api/v1/conversations/talk/turns?limit=2"))
        second = ok(api.get(f"/api/v1/conversations/talk/turns?limit=2&cursor={first['next_cursor']}"))
        page = api.get("/conversations/talk").text
        # Of what no step has, the beginning that the execution tells.
        letters = "x" * 500
        insert(migrated_url, turn(7, "told", 60, input="what?", output=letters, total_count=0))
        [told] = ok(api.get("/api/v1/conversations/told/turns"))["turns"]
        assert (told["asked"], told["answered"]) == (
            {"node_id": None, "text": "what?", "complete": True},
            {"node_id": None, "text": letters, "complete": False},
        )
        assert ok(api.get("/api/v1/conversations/none/turns")) == {"turns": [], "next_cursor": None}
    turns = [*first["turns"], *second["turns"]]
    assert [one["execution_id"] for one in turns] == [sent_trace_id(number).hex() for number in (3, 2, 1)]
    assert [(one["asked"], one["answered"]) for one in turns] == [
        (None, None),
        (
            {"node_id": f"{9:016x}", "text": letter, "complete": True},
            {"node_id": f"{9:016x}", "text": "thanks", "complete": True},
        ),
        (
            {"node_id": f"{2:016x}", "text": json.dumps(history), "complete": True},
            {"node_id": f"{3:016x}", "text": json.dumps(answered), "complete": True},
        ),
    ]
    # The page begins with what was asked in this turn; what came before is a link away.
    assert ("how much is the tea?" in page, "It is 3 euro." in page, letter in page) == (True, True, True)
    assert 'tabindex="0">what is there?' not in page
    assert f'<a href="/executions/{sent_trace_id(1).hex()}?node={2:016x}">3 messages before</a>' in page
