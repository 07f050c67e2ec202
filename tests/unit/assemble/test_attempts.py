"""What is an attempt of what: a declared sign or equal input makes one, a name never does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_INTERNAL, KIND_PRODUCER, KIND_SERVER


def in_a_row(*steps: tuple[bool, Facts], parent: Facts | None = None) -> list[tuple[str, int]]:
    """(status, attempt) of steps of one name that ran one after another; True is one that failed."""
    spans = [span(1, None, (0, 10_000), "run", facts={"boundary": "run", "kind": "workflow", **(parent or {})})]
    for number, (failed, facts) in enumerate(steps):
        at = (100 * number + 10, 100 * number + 90)
        spans.append(span(number + 2, 1, at, "work", failed=failed, facts=facts))
    return [(node.status, node.attempt) for node in assemble(spans, TRACE).nodes[1:]]


FAILED_THEN_DONE = [("failed", 1), ("completed", 1)]
RETRIED = [("retried", 1), ("completed", 2)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param({}, {}, FAILED_THEN_DONE, id="a name alone"),
        pytest.param({"kind": "tool"}, {"kind": "tool"}, FAILED_THEN_DONE, id="a tool, nothing known of its arguments"),
        pytest.param({"input": "a"}, {"input": "b"}, FAILED_THEN_DONE, id="other input"),
        pytest.param({"input": "a"}, {"input": "a"}, RETRIED, id="equal input"),
        pytest.param({"input": "a"}, {}, FAILED_THEN_DONE, id="input known of one"),
        pytest.param({"input_digest": "x", "input": "a"}, {"input_digest": "x", "input": "b"}, RETRIED, id="digest"),
        pytest.param(
            {"input_digest": "x", "input": "a"}, {"input_digest": "y", "input": "a"}, FAILED_THEN_DONE, id="y"
        ),
        pytest.param({"attempt": 1}, {"attempt": 2}, RETRIED, id="numbers"),
        pytest.param({}, {"attempt": 2}, RETRIED, id="a retry count on the second"),
        pytest.param({"attempt": 1}, {"attempt": 1}, FAILED_THEN_DONE, id="attempt 1 each"),
        pytest.param({"attempt": 1, "input": "a"}, {"attempt": 1, "input": "a"}, FAILED_THEN_DONE, id="declared beats"),
        pytest.param({"attempt": 1, "input": "a"}, {"attempt": 2, "input": "b"}, RETRIED, id="declared beats input"),
        pytest.param({"task_id": "t"}, {"task_id": "t"}, RETRIED, id="the engine's id"),
        pytest.param({"task_id": "t"}, {"task_id": "u"}, FAILED_THEN_DONE, id="other ids of the engine"),
        pytest.param({"task_key": "t"}, {"task_key": "t"}, RETRIED, id="a task key"),
        pytest.param(
            {"task_key": "s", "task_scope": "parent"},
            {"task_key": "s", "task_scope": "parent"},
            FAILED_THEN_DONE,
            id="the id of a step in its workflow, which a loop shares",
        ),
        pytest.param(
            {"task_key": "s", "task_scope": "parent", "input": "a"},
            {"task_key": "s", "task_scope": "parent", "input": "a"},
            RETRIED,
            id="the same with equal input",
        ),
        pytest.param({"status": "retried"}, {}, RETRIED, id="the engine's state"),
        pytest.param({"retry_expected": True, "input": "a"}, {"input": "b"}, RETRIED, id="it asked to be tried again"),
        pytest.param({"max_attempts": 3}, {}, RETRIED, id="a policy"),
        pytest.param({"retry_policy": True}, {}, RETRIED, id="a policy, without a number"),
        pytest.param({"max_attempts": 3, "input": "a"}, {"input": "b"}, FAILED_THEN_DONE, id="a policy, other input"),
        pytest.param(
            {"max_attempts": 3, "attempt": 3}, {"max_attempts": 3}, [("failed", 3), ("completed", 1)], id="exhausted"
        ),
        pytest.param({}, {"link_types": {f"{2:016x}": "retry"}}, RETRIED, id="a link"),
        pytest.param(
            {"kind": "http_server", "input": "a"}, {"kind": "http_server", "input": "a"}, FAILED_THEN_DONE, id="r"
        ),
    ],
)
def test_a_sign_makes_an_attempt(first: Facts, second: Facts, expected: list[tuple[str, int]]) -> None:
    assert in_a_row((True, first), (False, second)) == expected


@pytest.mark.parametrize(
    ("seconds_at", "client", "expected"),
    [
        ((110, 190), KIND_CLIENT, ("completed", RETRIED)),
        ((50, 190), KIND_CLIENT, ("partial", FAILED_THEN_DONE)),
        ((110, 190), KIND_INTERNAL, ("partial", FAILED_THEN_DONE)),
    ],
)
def test_servers_that_answer_one_call_in_turn_are_attempts(
    seconds_at: tuple[int, int], client: int, expected: tuple[str, list[tuple[str, int]]]
) -> None:
    """Below `requests` with urllib3's `Retry`, and gRPC with a retry policy: one span of the client for all of them."""
    server: Facts = {"kind": "http_server", "entry": "GET /busy"}
    spans = [
        span(1, None, (0, 300), "GET /ask", kind=KIND_SERVER, facts={"kind": "http_server", "entry": "GET /ask"}),
        span(2, 1, (10, 290), "GET /busy", kind=client, facts={"kind": "http_client"}),
        span(3, 2, (20, 100), "GET /busy", kind=KIND_SERVER, failed=True, facts=server),
        span(4, 2, seconds_at, "GET /busy", kind=KIND_SERVER, facts=server),
    ]
    told = assemble(spans, TRACE)
    assert (told.execution.status, [(node.status, node.attempt) for node in told.nodes[2:]]) == expected


def test_requests_of_one_call_of_a_model_are_attempts() -> None:
    """The client of OpenAI sends again what was answered by 500; a POST has no input that could be equal."""
    posts: list[Facts] = [{"kind": "http_client", "input_digest": digest} for digest in "ab"]
    spans = [
        span(1, None, (0, 300), "completion", facts={"kind": "llm"}),
        span(2, 1, (10, 50), "POST /v1/chat/completions", kind=KIND_CLIENT, failed=True, facts=posts[0]),
        span(3, 1, (90, 200), "POST /v1/chat/completions", kind=KIND_CLIENT, facts=posts[1]),
    ]
    assert [(node.status, node.attempt) for node in assemble(spans, TRACE).nodes[1:]] == RETRIED


def test_a_policy_around_steps_makes_them_attempts() -> None:
    assert in_a_row((True, {}), (False, {}), parent={"retry_policy": True}) == RETRIED


def test_what_did_not_fail_is_not_tried_again() -> None:
    assert in_a_row((False, {"input": "a"}), (False, {"input": "a"})) == [("completed", 1), ("completed", 1)]


def test_each_item_of_a_loop_has_attempts_of_its_own() -> None:
    items: list[tuple[bool, Facts]] = [
        (False, {"task_key": "s", "task_scope": "parent", "attempt": 1}),
        (True, {"task_key": "s", "task_scope": "parent", "attempt": 1}),
        (False, {"task_key": "s", "task_scope": "parent", "attempt": 2}),
        (True, {"task_key": "s", "task_scope": "parent", "attempt": 1}),
        (False, {"task_key": "s", "task_scope": "parent", "attempt": 1}),
    ]
    assert in_a_row(*items) == [("completed", 1), ("retried", 1), ("completed", 2), ("failed", 1), ("completed", 1)]


def test_a_message_delivered_again_is_tried_again_and_one_of_a_batch_is_not() -> None:
    def deliveries(*ids: str | None) -> list[tuple[str, int]]:
        spans = [span(1, None, (0, 5), "send", kind=KIND_PRODUCER, facts={"fold": "producer", "kind": "message"})]
        for number, message in enumerate(ids):
            facts: Facts = {"kind": "task", "step": True}
            if message is not None:
                facts["task_key"] = message
            at = (100 * number + 10, 100 * number + 90)
            spans.append(span(number + 2, 1, at, "process", failed=number == 0, kind=KIND_CONSUMER, facts=facts))
        return [(node.status, node.attempt) for node in assemble(spans, TRACE).nodes]

    assert deliveries(None, None) == RETRIED
    assert deliveries("m", "m") == RETRIED
    assert deliveries("m", "n") == FAILED_THEN_DONE


def test_attempts_that_overlap_or_ran_in_each_other() -> None:
    def two(second_parent: int, at: tuple[int, int]) -> list[tuple[str, int, int | None]]:
        spans = [
            span(1, None, (0, 100), "run"),
            span(2, 1, (10, 50), "work", failed=True, facts={"task_id": "t"}),
            span(3, second_parent, at, "work", facts={"task_id": "t"}),
        ]
        return [(n.status, n.attempt, n.parent_span_id) for n in assemble(spans, TRACE).nodes[1:]]

    assert two(1, (20, 60)) == [("failed", 1, 1), ("completed", 1, 1)]
    assert two(2, (20, 40)) == [("retried", 1, 1), ("completed", 2, 1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c"])), min_size=2, max_size=12))
def test_a_later_attempt_follows_a_failed_one_of_equal_input(items: list[tuple[bool, str]]) -> None:
    found = in_a_row(*[(failed, Facts(input=text)) for failed, text in items])
    last: dict[str, tuple[bool, int]] = {}
    for (failed, text), (status, attempt) in zip(items, found, strict=True):
        before = last.get(text)
        assert attempt == (before[1] + 1 if before is not None and before[0] else 1)
        assert (status == "completed") is not failed
        last[text] = (failed, attempt)


@pytest.mark.parametrize(("services", "expected"), [(("bill", "ship"), FAILED_THEN_DONE), (("bill", "bill"), RETRIED)])
def test_who_else_works_on_a_message_does_not_try_it_again(
    services: tuple[str, str], expected: list[tuple[str, int]]
) -> None:
    told: Facts = {"kind": "task", "step": True}
    sent = span(1, None, (0, 5), "orders publish", kind=KIND_PRODUCER, facts={"kind": "message"})
    taken = [
        span(
            n + 2,
            1,
            (20 * n + 10, 20 * n + 20),
            "orders process",
            kind=KIND_CONSUMER,
            failed=n == 0,
            service=s,
            facts=told,
        )
        for n, s in enumerate(services)
    ]
    assembled = assemble([sent, *taken], TRACE)
    assert [(n.status, n.attempt) for n in assembled.nodes[1:]] == expected
    assert {n.iteration for n in assembled.nodes} == {None}
    assert {e.type for e in assembled.edges} - {"child"} == ({"retry"} if expected == RETRIED else set())


def test_workers_whose_services_are_named_apart_try_again_what_says_so() -> None:
    told: Facts = {"retry_policy": True, "input": "a"}
    tried = [
        span(n + 2, 1, (20 * n + 10, 20 * n + 20), "work", failed=n == 0, service=f"worker-{n}", facts=told)
        for n in (0, 1)
    ]
    assembled = assemble([span(1, None, (0, 100), "run"), *tried], TRACE)
    assert [(n.status, n.attempt) for n in assembled.nodes[1:]] == RETRIED


def consumed(span_id: int, parent: int, at: tuple[int, int], failed: bool, facts: Facts) -> SpanFacts:
    told: Facts = {"kind": "task", "step": True, **facts}
    return span(span_id, parent, at, f"process {span_id}", failed=failed, kind=KIND_CONSUMER, facts=told)


@pytest.mark.parametrize(
    ("last_failed", "expected"),
    [(False, "completed"), (True, "failed")],
)
def test_a_message_that_was_sent_on_to_be_tried_again_is_a_further_attempt(last_failed: bool, expected: str) -> None:
    """spring-projects/spring-kafka#3816: each topic of retries has consumers and places of its own."""
    again: Facts = {"sent_on": True}
    spans = [
        span(1, None, (0, 5), "send", kind=KIND_PRODUCER, facts={"kind": "message"}),
        consumed(2, 1, (10, 20), True, {"task_key": "orders/g/0:17"}),
        span(3, 2, (21, 22), "send on", kind=KIND_PRODUCER, facts={"kind": "message"}),
        consumed(4, 3, (100, 120), True, {**again, "task_key": "orders-retry-0/g/0:3"}),
        span(5, 4, (121, 122), "send on", kind=KIND_PRODUCER, facts={"kind": "message"}),
        consumed(6, 5, (200, 220), last_failed, {**again, "task_key": "orders-retry-1/g/0:3"}),
    ]
    assembled = assemble(spans, TRACE)
    worked = [(n.span_id, n.parent_span_id, n.status, n.attempt) for n in assembled.nodes if n.kind == "task"]
    assert worked == [(2, 1, "retried", 1), (4, 1, "retried", 2), (6, 1, expected, 3)]
    assert assembled.execution.status == expected
    assert [(e.from_span_id, e.to_span_id) for e in assembled.edges if e.type == "retry"] == [(2, 4), (4, 6)]


def test_what_is_sent_on_without_a_failure_or_to_where_nobody_tries_again_is_no_attempt() -> None:
    def outcomes(failed: bool, facts: Facts) -> list[tuple[str, int]]:
        spans = [
            consumed(2, 1, (10, 20), failed, {}),
            span(3, 2, (21, 22), "send on", kind=KIND_PRODUCER, facts={"kind": "message"}),
            consumed(4, 3, (100, 120), False, facts),
        ]
        return [(n.status, n.attempt) for n in assemble(spans, TRACE).nodes if n.kind == "task"]

    assert outcomes(False, {"sent_on": True}) == [("completed", 1), ("completed", 1)]
    assert outcomes(True, {}) == [("failed", 1), ("completed", 1)]
