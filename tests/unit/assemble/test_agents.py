"""What agents' spans mean together: models asked again, handoffs, failures told to a model, timeouts."""

from __future__ import annotations

from tests.unit.assemble.traces import TRACE, edges_by_name, span

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import Facts
from spantree_exporter.rows import Assembled, SpanFacts

AGENT: Facts = {"boundary": "candidate", "kind": "agent"}


def model(span_id: int, parent: int, at: tuple[int, int]) -> SpanFacts:
    """A call of a model."""
    return span(span_id, parent, at, "model", facts={"kind": "llm"})


def test_a_tool_tried_again_follows_the_answer_that_asked_for_it() -> None:
    assembled = assemble(
        [
            span(1, None, (0, 100), "clerk", facts=AGENT),
            model(2, 1, (10, 20)),
            span(3, 1, (25, 30), "find", failed=True, facts={"kind": "tool", "input": "order 7"}),
            model(4, 1, (40, 50)),
            span(5, 1, (55, 60), "find", facts={"kind": "tool", "input": "order 7"}),
            model(6, 1, (70, 80)),
        ],
        TRACE,
    )
    assert [(n.name, n.status, n.attempt) for n in assembled.nodes if n.name == "find"] == [
        ("find", "retried", 1),
        ("find", "completed", 2),
    ]
    assert edges_by_name(assembled) == [
        ("find", "find", "retry", None, "inferred"),
        ("find", "model", "sequential", None, "inferred"),
        ("find", "model", "sequential", None, "inferred"),
        ("model", "find", "sequential", None, "inferred"),
        ("model", "find", "sequential", None, "inferred"),
    ]


def test_a_tool_that_failed_was_told_to_the_model_that_a_chain_asked_after_it() -> None:
    def status(after: int) -> str:
        spans = [
            span(1, None, (0, 100), "ReAct", facts={"boundary": "candidate", "kind": "chain"}),
            span(2, 1, (20, 30), "find", failed=True, facts={"kind": "tool"}),
            span(3, 1, (after, after + 10), "Predict", facts={"kind": "chain"}),
            span(4, 3, (after, after + 9), "ChatAdapter", facts={"kind": "chain"}),
            model(5, 4, (after + 1, after + 8)),
        ]
        return assemble(spans, TRACE).execution.status

    assert (status(after=40), status(after=5)) == ("completed", "partial")


def handed(facts: Facts) -> Assembled:
    """Two agents, the first of which hands over by a step that says `facts`."""
    return assemble(
        [
            span(1, None, (0, 100), "relay", facts={"boundary": "run", "kind": "workflow"}),
            span(2, 1, (10, 30), "first", facts=AGENT),
            span(3, 2, (20, 25), "hand over", facts={"kind": "handoff", **facts}),
            span(4, 1, (35, 60), "second", facts=AGENT),
        ],
        TRACE,
    )


def test_a_handoff_leads_to_the_agent_it_names_or_to_the_next() -> None:
    told = [("first", "second", "handoff", None, "declared")]
    assert edges_by_name(handed({"handoff_from": "first", "handoff_to": "second"})) == told
    assert edges_by_name(handed({"handoff_from": "first"})) == told


def test_an_agent_that_failed_breaks_its_run_unless_a_tool_stands_around_it() -> None:
    def status(around: Facts) -> str:
        spans = [
            span(1, None, (0, 100), "run", facts={"boundary": "run", "kind": "workflow"}),
            span(2, 1, (10, 90), "around", facts=around),
            span(3, 2, (20, 80), "inner", failed=True, facts={"kind": "agent", "breaks_run": True}),
        ]
        return assemble(spans, TRACE).execution.status

    assert status({"kind": "agent"}) == "failed"
    assert status({"kind": "tool"}) == "completed"


def test_only_the_step_that_a_timeout_hit_timed_out() -> None:
    timeout: Facts = {"error_type": "builtins.TimeoutError", "error_message": "too slow"}
    assembled = assemble(
        [
            span(1, None, (0, 100), "run", failed=True, facts={"boundary": "run", "kind": "workflow", **timeout}),
            span(2, 1, (10, 90), "fetch", failed=True, facts={"kind": "step", "step": True, **timeout}),
        ],
        TRACE,
    )
    assert [(node.name, node.status) for node in assembled.nodes] == [("run", "failed"), ("fetch", "timed_out")]
    assert (assembled.execution.status, assembled.execution.first_failed_name) == ("failed", "fetch")


def test_a_step_that_says_it_timed_out_and_no_more_is_a_timeout() -> None:
    assembled = assemble(
        [
            span(1, None, (0, 100), "run", facts={"boundary": "run", "kind": "workflow"}),
            span(2, 1, (10, 90), "fetch", facts={"kind": "step", "step": True, "status": "timed_out"}),
        ],
        TRACE,
    )
    execution = assembled.execution
    assert (execution.status, execution.error_summary) == ("partial", "fetch: timed out")
    assert (execution.error_category, assembled.nodes[1].error_category) == ("timeout", "timeout")


def test_the_cause_is_found_past_steps_that_did_not_notice() -> None:
    offline: Facts = {"error_type": "ValueError", "error_message": "offline"}
    assembled = assemble(
        [
            span(1, None, (0, 100), "run", failed=True, facts={"boundary": "run", "kind": "workflow", **offline}),
            span(2, 1, (10, 90), "clerk", failed=True, facts={"kind": "agent", **offline}),
            span(3, 2, (20, 80), "call", facts={"kind": "llm"}),
            span(4, 3, (30, 70), "lookup", failed=True, facts={"kind": "tool", **offline}),
            span(5, 3, (71, 75), "other", failed=True, facts={"kind": "tool", "error_message": "dealt with"}),
        ],
        TRACE,
    )
    assert (assembled.execution.first_failed_name, assembled.execution.error_summary) == (
        "lookup",
        "lookup: ValueError: offline",
    )


def test_a_handoff_may_lead_to_an_agent_within_the_one_that_handed_over() -> None:
    assembled = assemble(
        [
            span(1, None, (0, 100), "front", facts=AGENT),
            span(2, 1, (10, 20), "transfer", facts={"kind": "handoff", "handoff_from": "", "handoff_to": "billing"}),
            span(3, 1, (30, 90), "billing", facts={"kind": "agent"}),
        ],
        TRACE,
    )
    assert ("front", "billing", "handoff", None, "declared") in edges_by_name(assembled)


LLM: Facts = {"kind": "llm", "input_tokens": 100, "output_tokens": 10}


def test_a_call_that_began_after_the_one_around_it_had_ended_is_beside_it() -> None:
    """langfuse/langfuse#9411: Traceloop's instrumentation of LangChain left each call in the context of the next."""
    assembled = assemble(
        [
            span(1, None, (0, 100), "answer", facts=AGENT),
            span(2, 1, (10, 20), "first", facts=LLM),
            span(3, 2, (30, 40), "second", facts=LLM, failed=True),
            span(4, 3, (50, 60), "third", facts=LLM),
            # What a call asked for, or what it was told for, may come after it; so may what another service does.
            span(5, 4, (70, 80), "tool", facts={"kind": "tool"}),
            span(6, 4, (70, 80), "judge", facts={"kind": "evaluator"}),
            span(7, 4, (70, 80), "elsewhere", facts=LLM, service="stock"),
            span(8, 4, (60, 80), "at once", facts={"kind": "chain"}),
        ],
        TRACE,
    )
    assert [(n.name, n.depth, n.anomalies) for n in assembled.nodes] == [
        ("answer", 0, []),
        ("first", 1, []),
        ("second", 1, ["parent_inferred"]),
        ("third", 1, ["parent_inferred"]),
        ("at once", 2, []),
        ("tool", 2, []),
        ("judge", 2, []),
        ("elsewhere", 2, []),
    ]
    assert (assembled.execution.input_tokens, assembled.execution.output_tokens) == (300, 30)


def test_calls_of_no_run_that_were_left_in_each_other_are_roots() -> None:
    assembled = assemble(
        [
            span(1, None, (0, 10), "first", facts=LLM),
            span(2, 1, (20, 30), "second", facts=LLM, failed=True),
            span(3, 2, (40, 60), "third", facts=LLM),
        ],
        TRACE,
    )
    run = assembled.execution
    assert (run.name, run.status, run.input_tokens) == ("third", "partial", 300)
    assert [(n.name, n.depth) for n in assembled.nodes] == [("first", 0), ("second", 0), ("third", 0)]


def test_a_call_whose_end_is_unknown_holds_what_is_below_it() -> None:
    now = 1_700_000_000_000_000_000
    facts: Facts = {"kind": "agent"}
    assembled = assemble(
        [
            span(1, None, (now, now + 100), "answer", facts=facts),
            span(2, 1, (now + 10, 5_000), "outer", facts=LLM),
            span(3, 2, (now + 20, now + 30), "inner", facts=LLM),
        ],
        TRACE,
    )
    assert [(n.name, n.depth) for n in assembled.nodes] == [("answer", 0), ("outer", 1), ("inner", 2)]


def streamed(used: tuple[int, int], at: tuple[int, int] = (10, 90)) -> Assembled:
    """A request with an agent's stream and, beside it, the calls and the tool that it made."""
    given, made = used
    return assemble(
        [
            span(1, None, (0, 100), "POST /chat", facts={"kind": "http_server"}),
            span(2, 1, at, "clerk", facts={"kind": "agent", "input_tokens": given, "output_tokens": made}),
            span(3, 1, (20, 30), "chat", facts=LLM),
            span(4, 1, (40, 50), "weather", facts={"kind": "tool"}),
            span(5, 1, (60, 70), "chat", facts=LLM),
            span(6, 1, (60, 70), "SELECT", facts={"kind": "db"}),
            span(7, 1, (92, 95), "chat", facts=LLM),
            span(8, 1, (60, 70), "chat", facts=LLM, service="stock"),
        ],
        TRACE,
    )


def test_calls_beside_the_agent_that_sums_them_up_are_its_own() -> None:
    """microsoft/agent-framework#5089: a stream's agent was not attached to the context; its tokens counted twice."""
    assembled = streamed((200, 20))
    assert [(n.name, n.depth, n.anomalies) for n in assembled.nodes] == [
        ("POST /chat", 0, []),
        ("clerk", 1, []),
        ("chat", 2, ["parent_inferred"]),
        ("weather", 2, ["parent_inferred"]),
        ("chat", 2, ["parent_inferred"]),
        ("SELECT", 1, []),
        ("chat", 1, []),
        ("chat", 1, []),
    ]
    assert (assembled.execution.input_tokens, assembled.execution.output_tokens) == (400, 40)
    for other in (streamed((200, 21)), streamed((200, 20), (25, 90))):
        assert [n.depth for n in other.nodes] == [0, *[1] * 7]


def test_steps_of_an_agent_that_escaped_to_the_one_that_called_it_are_its_own() -> None:
    """vercel/ai#11720: of an agent that a tool runs only the first step is below it."""

    def asked(span_id: int, parent: int, at: tuple[int, int], used: int) -> SpanFacts:
        return span(span_id, parent, at, "doStream", facts={"kind": "llm", "input_tokens": used, "output_tokens": used})

    def assembled(second: int) -> Assembled:
        return assemble(
            [
                span(1, None, (0, 1000), "main", facts={**AGENT, "input_tokens": 100, "output_tokens": 100}),
                asked(2, 1, (10, 100), 60),
                asked(3, 1, (110, 900), 40),
                span(4, 3, (120, 890), "ask", facts={"kind": "tool"}),
                span(5, 4, (130, 880), "sub", facts={**AGENT, "input_tokens": 300, "output_tokens": 300}),
                asked(6, 5, (140, 200), 100),
                asked(7, 1, (210, 400), second),
                span(8, 1, (410, 420), "search", facts={"kind": "tool"}),
                asked(9, 1, (430, 800), 50),
            ],
            TRACE,
        )

    told = assembled(150)
    assert [(n.span_id, n.depth) for n in told.nodes] == [
        (1, 0), (2, 1), (3, 1), (4, 2), (5, 3), (6, 4), (7, 4), (8, 4), (9, 4),
    ]  # fmt: skip
    assert (told.execution.input_tokens, told.execution.output_tokens) == (400, 400)
    assert [n.depth for n in assembled(151).nodes] == [0, 1, 1, 2, 3, 4, 1, 1, 1]


def told_by_both(at: tuple[int, int], tokens: int, below: str = "") -> Assembled:
    """A request with a chain that calls a model, and beside the chain what the provider's client tells of a call.

    With a span of the kind `below` in the latter.
    """
    return assemble(
        [
            *([span(5, 4, (at[0] + 1, at[1] - 1), "POST", facts={"kind": below})] if below else []),
            span(1, None, (0, 600), "POST /chat", facts={"kind": "http_server"}),
            span(2, 1, (5, 500), "RunnableSequence", facts={"kind": "chain", "boundary": "candidate"}),
            span(3, 2, (10, 480), "ChatOpenAI", facts={"kind": "llm", "input_tokens": 100, "output_tokens": 20}),
            span(4, 1, at, "ChatCompletion", facts={"kind": "llm", "input_tokens": tokens, "output_tokens": 20}),
        ],
        TRACE,
    )


def test_a_call_that_the_client_tells_beside_the_chain_that_made_it_counts_once() -> None:
    """OpenInference's instrumentations of LangChain and of OpenAI: the former is not attached to the context."""
    same = told_by_both((15, 470), 100)
    assert (same.execution.input_tokens, same.execution.output_tokens) == (100, 20)
    assert [(n.name, n.depth, n.anomalies) for n in same.nodes] == [
        ("POST /chat", 0, []),
        ("RunnableSequence", 1, []),
        ("ChatOpenAI", 2, []),
        ("ChatCompletion", 3, ["parent_inferred"]),
    ]
    with_request = told_by_both((15, 470), 100, "http_client")
    assert (with_request.execution.input_tokens, with_request.execution.output_tokens) == (100, 20)
    assert [(n.name, n.depth) for n in with_request.nodes][-2:] == [("ChatCompletion", 3), ("POST", 4)]
    for other in (
        told_by_both((15, 470), 90),
        told_by_both((5, 470), 100),
        told_by_both((510, 590), 100),
        told_by_both((15, 470), 100, "tool"),
    ):
        assert not any(node.anomalies for node in other.nodes)
        assert other.execution.output_tokens == 40


def answered_later(span_id: int, at_ns: int, made: int, asked: str = "hi") -> SpanFacts:
    """What a call below span 1 was answered, told when its stream had ended."""
    facts: Facts = {"kind": "llm", "fold": "answer", "input": asked, "input_tokens": 10, "output_tokens": made}
    return span(span_id, 1, (at_ns, at_ns), "streamed", facts={**facts, "output": f"{made} words", "model": "gpt-x-1"})


def test_an_answer_that_is_told_later_is_that_of_the_call_beside_it() -> None:
    """Logfire's spans of streaming calls (pydantic/logfire#315, #1280)."""

    def call(span_id: int, at: tuple[int, int], asked: str = "hi") -> SpanFacts:
        return span(span_id, 1, at, "chat", facts={"kind": "llm", "input": asked, "model": "gpt-x"})

    assembled = assemble(
        [
            span(1, None, (0, 1000), "POST /chat", facts={"kind": "http_server"}),
            call(2, (10, 20)),
            call(3, (30, 40), "bye"),
            answered_later(4, 500, 7),
            answered_later(5, 600, 8, "bye"),
            call(6, (610, 620)),
            call(7, (630, 640)),
            answered_later(8, 900, 9),
            # Of a call that has not come it stays, so that nothing that was used is lost.
            answered_later(9, 950, 5, "who?"),
        ],
        TRACE,
    )
    assert [(n.span_id, n.started_ns, n.ended_ns, n.output, n.model, n.output_tokens) for n in assembled.nodes] == [
        (1, 0, 1000, None, None, None),
        (2, 10, 500, "7 words", "gpt-x", 7),
        (3, 30, 600, "8 words", "gpt-x", 8),
        (6, 610, 620, None, "gpt-x", None),
        (7, 630, 900, "9 words", "gpt-x", 9),
        (9, 950, 950, "5 words", "gpt-x-1", 5),
    ]
    assert (assembled.execution.input_tokens, assembled.execution.output_tokens) == (40, 29)
