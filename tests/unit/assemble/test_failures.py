"""Which failures make an execution partial or failed, and which step is the cause."""

from __future__ import annotations

import pytest
from tests.unit.assemble.traces import TRACE, span, step

from spantree_exporter.assemble import assemble
from spantree_exporter.assemble.run_status import unhandled_failures
from spantree_exporter.assemble.step import Step
from spantree_exporter.facts import Facts
from spantree_exporter.rows import SpanFacts
from spantree_exporter.span import KIND_CLIENT, KIND_CONSUMER, KIND_SERVER

MS = 1_000_000
REQUEST: Facts = {"kind": "http_server", "entry": "POST /ask"}
AGENT: Facts = {"kind": "agent", "boundary": "candidate"}
BAD: Facts = {"error_type": "OSError", "error_message": "disk full"}


def outcome(*spans: SpanFacts) -> tuple[str, str | None]:
    """(status, first failed) of the execution."""
    execution = assemble(spans, TRACE).execution
    return execution.status, execution.first_failed_name


def request(*below: SpanFacts, around: Facts = REQUEST) -> tuple[str, str | None]:
    """The outcome of a request that was answered 200, with `below` in it."""
    return outcome(span(1, None, (0, 1000), "POST /ask", kind=KIND_SERVER, facts=around), *below)


@pytest.mark.parametrize(
    ("around", "failed", "expected"),
    [
        pytest.param(REQUEST, {}, "partial", id="a function in a request"),
        pytest.param(REQUEST, {"kind": "step", "step": True}, "partial", id="a step in a request"),
        pytest.param(REQUEST, AGENT, "failed", id="the run itself"),
        pytest.param(REQUEST, {"kind": "db"}, "partial", id="a query in a request"),
        pytest.param(
            REQUEST, {"kind": "http_client", "error_message": "HTTP 503"}, "partial", id="a call in a request"
        ),
        pytest.param(REQUEST, {"kind": "http_client", "error_message": "HTTP 404"}, "completed", id="a miss"),
        pytest.param(REQUEST, {"kind": "rpc", "error_type": "NOT_FOUND"}, "completed", id="a miss by gRPC"),
        pytest.param(
            REQUEST, {"kind": "db", "error_message": "UNIQUE constraint failed: t.id"}, "completed", id="already there"
        ),
        pytest.param(
            REQUEST,
            {"kind": "db", "error_type": "*errors.errorString", "error_message": "sql: no rows in result set"},
            "completed",
            id="no rows",
        ),
        pytest.param(
            REQUEST, {"kind": "db", "error_message": "sql: no rows in result set of vat"}, "partial", id="another text"
        ),
        pytest.param(
            REQUEST,
            {
                "kind": "rpc",
                "error_type": "botocore.exceptions.ClientError",
                "error_message": "An error occurred (ConditionalCheckFailedException) when calling the PutItem "
                "operation: The conditional request failed",
            },
            "completed",
            id="a condition of DynamoDB's that did not hold",
        ),
        pytest.param(
            REQUEST,
            {"kind": "rpc", "error_message": "operation error S3: GetObject, api error NoSuchKey: gone"},
            "completed",
            id="what is not there, by AWS' SDK for Go",
        ),
        pytest.param(
            REQUEST,
            {"kind": "rpc", "error_type": "software.amazon.awssdk.services.dynamodb.ConditionalCheckFailedException"},
            "completed",
            id="what is not so, by AWS' SDK for Java",
        ),
        pytest.param(
            REQUEST,
            {"kind": "rpc", "error_type": "azure.core.exceptions.ResourceExistsError"},
            "completed",
            id="what is there already, by Azure's",
        ),
        pytest.param(REQUEST, {"kind": "http_server", "error_type": "NotFound"}, "partial", id="a server's own"),
        pytest.param(REQUEST, {"declared_handled": True}, "completed", id="declared to be handled"),
        pytest.param(AGENT, {"kind": "tool"}, "completed", id="a tool, told to the agent"),
        pytest.param(AGENT, {"kind": "llm"}, "completed", id="a model, in an agent"),
        pytest.param(AGENT, {"kind": "step", "step": True}, "partial", id="a step in an agent"),
        pytest.param(AGENT, {"kind": "turn", "breaks_run": True}, "failed", id="what breaks the run"),
        pytest.param({"kind": "tool"}, {"kind": "agent"}, "completed", id="an agent in a tool that ended well"),
    ],
)
def test_a_failure_counts_unless_somebody_who_could_handle_it_did(around: Facts, failed: Facts, expected: str) -> None:
    assert request(span(2, 1, (10, 20), "bad", failed=True, facts={**BAD, **failed}), around=around)[0] == expected


@pytest.mark.parametrize(
    ("code", "error_type", "message", "expected"),
    [
        ("404", "fastapi.exceptions.HTTPException", "404: Item not found", "completed"),
        ("404", "starlette.exceptions.HTTPException", None, "completed"),
        ("404", "werkzeug.exceptions.NotFound", "404 Not Found: no such item", "completed"),
        ("404", "NotFoundException", "Item not found", "completed"),
        ("403", "org.springframework.security.access.AccessDeniedException", "Access Denied", "completed"),
        ("422", "fastapi.exceptions.RequestValidationError", "[]", "completed"),
        ("400", "NotFoundException", "Item not found", "partial"),
        ("404", "KeyError", "'id'", "partial"),
        ("404", "ValueError", "4040 is too much", "partial"),
        (None, "fastapi.exceptions.HTTPException", "404: Item not found", "partial"),
    ],
)
def test_a_refusal_that_the_server_answered_with_is_no_failure_of_the_request(
    code: str | None, error_type: str, message: str | None, expected: str
) -> None:
    """pydantic/logfire#1628, DataDog/dd-trace-js#629: the handler raises what the client is told."""
    around: Facts = {**REQUEST, "status_reason": f"HTTP {code}"} if code else REQUEST
    told: Facts = {"error_type": error_type, **({"error_message": message} if message else {})}
    failed = (
        span(2, 1, (10, 20), "handler", failed=True, facts=told),
        span(3, 2, (12, 19), "load", failed=True, facts=told),
        span(4, 1, (30, 40), "look elsewhere"),
    )
    assert request(*failed, around=around)[0] == expected


@pytest.mark.parametrize(
    ("reason", "facts", "expected"),
    [
        ("HTTP 404", {}, "completed"),
        ("HTTP 409", {}, "completed"),
        (None, {}, "partial"),
        ("HTTP 404", {"kind": "agent"}, "partial"),
        ("HTTP 404", {"kind": "step", "step": True}, "partial"),
    ],
)
def test_what_the_handler_raised_is_the_refusal_that_the_server_answered_with_at_once(
    reason: str | None, facts: Facts, expected: str
) -> None:
    """DataDog/dd-trace-java#7141: a filter or an advice makes a 4xx of an exception of one's own."""
    around: Facts = {**REQUEST, "status_reason": reason} if reason else REQUEST
    told: Facts = {"error_type": "shop.OutOfStock", "error_message": "none left", **facts}
    failed = span(2, 1, (10, 20), "OrderController.order", failed=True, facts=told)
    assert request(failed, around=around)[0] == expected
    deeper = span(2, 3, (10, 20), "load", failed=True, facts=told)
    assert request(span(3, 1, (5, 30), "handler that lived with it"), deeper, around=around)[0] == "partial"


def test_what_nobody_waited_for_is_no_answer_of_the_server() -> None:
    around: Facts = {**REQUEST, "status_reason": "HTTP 404"}
    told: Facts = {"kind": "task", "step": True, "error_type": "HTTPException", "error_message": "404: gone"}
    assert request(span(2, 1, (10, 20), "send mail", kind=KIND_CONSUMER, failed=True, facts=told), around=around) == (
        "failed",
        "send mail",
    )


def test_a_failure_beside_the_step_that_is_taken_for_the_run_is_told() -> None:
    first = span(2, 1, (10, 400), "planner", facts=AGENT)
    assert request(first, span(3, 1, (410, 900), "writer", failed=True, facts={**AGENT, **BAD})) == (
        "partial",
        "writer",
    )
    assert request(first, step(3, 1, (410, 900), "save", failed=True, facts=BAD)) == ("partial", "save")


def test_a_failure_deep_below_steps_that_ended_well_is_told() -> None:
    below = [step(2, 1, (10, 900), "outer"), span(3, 2, (20, 800), "middle")]
    assert request(*below, span(4, 3, (30, 40), "bad", failed=True, facts=BAD)) == ("partial", "bad")


def test_a_task_that_outlives_its_caller_is_told() -> None:
    assert request(span(2, 1, (900, 5000), "later", failed=True, facts=BAD)) == ("partial", "later")
    assert request(span(2, 1, (1000, 5000), "later", failed=True, facts=BAD)) == ("failed", "later")
    consumer = step(2, 1, (500, 600), "job", failed=True, kind=KIND_CONSUMER, facts=BAD)
    assert request(consumer) == ("failed", "job")


def test_a_failure_that_was_tried_again_does_not_count() -> None:
    again = [span(n, 1, (100 * n, 100 * n + 50), "pay", failed=n == 2, facts={"attempt": n - 1}) for n in (2, 3)]
    assert request(*again, step(4, 2, (210, 220), "inside", failed=True)) == ("completed", None)


def test_of_several_roots_the_one_that_holds_most_names_the_trace_and_every_failure_counts() -> None:
    short, long = span(1, None, (0, 2), "start"), span(2, None, (3, 600), "turn")
    execution = assemble([short, long, span(3, 2, (10, 20), "read")], TRACE).execution
    assert (execution.name, execution.status) == ("turn", "completed")
    assert outcome(short, long, span(3, None, (700, 705), "other", failed=True)) == ("partial", "other")
    assert outcome(short, long, span(3, 1, (1, 2), "inner", failed=True)) == ("partial", "inner")
    assert outcome(short, span(2, None, (3, 600), "turn", failed=True)) == ("failed", "turn")


def cause(parent: Facts, child: Facts, ended_ms: int, *more: SpanFacts) -> str | None:
    """The cause of a step that failed at 470 ms, with a call in it that failed at `ended_ms`."""
    return outcome(
        span(1, None, (0, 500 * MS), "run", failed=True, facts={"boundary": "run", "kind": "workflow", **parent}),
        span(2, 1, (10 * MS, 470 * MS), "step", failed=True, facts={"kind": "step", "step": True, **parent}),
        span(3, 2, (20 * MS, ended_ms * MS), "call", failed=True, kind=KIND_CLIENT, facts={"kind": "rpc", **child}),
        *more,
    )[1]


MISS: Facts = {"error_message": "HTTP 404"}
DIVISION: Facts = {"error_type": "ZeroDivisionError", "error_message": "division by zero"}


@pytest.mark.parametrize(
    ("parent", "child", "ended_ms", "expected"),
    [
        pytest.param(DIVISION, MISS, 60, "step", id="another exception, later"),
        pytest.param(DIVISION, BAD, 460, "call", id="another exception, right after"),
        pytest.param(BAD, BAD, 60, "call", id="the same exception, later"),
        pytest.param(
            {"error_type": "Wrapped", "error_message": "cannot save: disk full"},
            BAD,
            60,
            "call",
            id="one that quotes it",
        ),
        pytest.param({}, BAD, 60, "call", id="none of its own"),
        pytest.param({"error_message": "HTTP 500"}, BAD, 60, "call", id="only the code it was answered with"),
        pytest.param({"error_message": "FAILURE"}, BAD, 60, "call", id="only that it failed"),
        pytest.param(
            {**DIVISION, "caused_by": ["builtins.OSError: disk full"]}, BAD, 60, "call", id="raised from it, later"
        ),
        pytest.param({**DIVISION, "caused_by": ["OSError: disk gone"]}, BAD, 60, "step", id="raised from another"),
        pytest.param(
            {"error_type": "ExceptionGroup", "error_message": "1 sub-exception"}, BAD, 60, "call", id="a group"
        ),
    ],
)
def test_a_step_failed_of_what_failed_in_it_or_by_itself(
    parent: Facts, child: Facts, ended_ms: int, expected: str
) -> None:
    assert cause(parent, child, ended_ms) == expected


@pytest.mark.parametrize(
    ("cause_text", "expected"),
    [
        ("org.springframework.web.client.HttpServerErrorException$InternalServerError: 500 : [no body]", "call"),
        ("requests.exceptions.HTTPError: 500 Server Error: busy for url: http://shop/", "call"),
        ("HttpClientErrorException: 404 : [no body]", "step"),
        ("java.io.IOException: order 5001 is broken", "step"),
    ],
)
def test_a_call_that_tells_its_code_alone_is_what_an_exception_was_raised_from_that_names_it(
    cause_text: str, expected: str
) -> None:
    """Spring answers 280 ms after its RestTemplate was answered with 500: it logs the stack trace before."""
    answered: Facts = {"kind": "http_client", "error_type": "500", "error_message": "HTTP 500"}
    assert cause({**DIVISION, "caused_by": [cause_text]}, answered, 60) == expected


def test_a_step_that_went_on_after_the_failure_failed_by_itself() -> None:
    went_on = span(4, 2, (461 * MS, 465 * MS), "next")
    assert cause(DIVISION, BAD, 460) == "call"
    assert cause(DIVISION, BAD, 460, went_on) == "step"


def test_the_first_of_several_failed_steps_and_the_last_of_several_calls_is_the_cause() -> None:
    run = span(1, None, (0, 100), "run", failed=True, facts={"kind": "workflow"})
    steps = [step(n, 1, (10 * n, 10 * n + 5), f"s{n}", failed=True) for n in (2, 3)]
    calls = [span(n, 1, (10 * n, 10 * n + 5), f"c{n}", failed=True, facts={"kind": "db"}) for n in (2, 3)]
    assert outcome(run, *steps) == ("failed", "s2")
    assert outcome(run, *calls) == ("failed", "c3")


def test_a_code_of_http_is_told_once() -> None:
    told: Facts = {"kind": "http_client", "error_type": "503", "error_message": "HTTP 503"}
    call = span(1, None, (0, 10), "GET /busy", failed=True, kind=KIND_CLIENT, facts=told)
    assert assemble([call], TRACE).execution.error_summary == "GET /busy: HTTP 503"


def test_a_redis_that_is_older_than_its_client_fails_no_request() -> None:
    message = "ERR unknown subcommand 'SETINFO'. Try CLIENT HELP."
    told: Facts = {"kind": "db", "error_type": "ReplyError", "error_message": message}
    assert request(span(2, 1, (10, 20), "client", failed=True, kind=KIND_CLIENT, facts=told))[0] == "completed"


@pytest.mark.parametrize(("asked_at", "expected"), [((300, 400), "completed"), ((10, 90), "partial")])
def test_a_tool_whose_failure_a_model_was_told_is_handled(asked_at: tuple[int, int], expected: str) -> None:
    """A loop of model and tools that is told as a function: Semantic Kernel's, or one that is written by hand."""
    spans = [
        span(1, None, (0, 500), "AutoFunctionInvocationLoop"),
        span(2, 1, (100, 200), "W-weather", failed=True, facts={"kind": "tool", **BAD}),
        span(3, 1, asked_at, "ChatCompletion", facts={"kind": "llm"}),
    ]
    assert outcome(*spans)[0] == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("409 Client Error: CONFLICT for url: http://shop:8080/stock/4", "GET /stock/{id}"),
        ("Client error '409 Conflict' for url 'http://shop:8080/stock/4'", "GET /stock/{id}"),
        ("409, message='Conflict', url='http://shop:8080/stock/4'", "GET /stock/{id}"),
        ("409 Client Error: CONFLICT for url: http://shop:8080/stock/42", "GET /prices"),
        ("503 Server Error: busy for url: http://shop:8080/prices?day=1", "GET /prices"),
    ],
)
def test_a_client_that_names_the_url_failed_of_the_call_that_asked_for_it(message: str, expected: str) -> None:
    """Several requests at a time, and `raise_for_status` of the first that was refused: the last to fail was told."""
    error: Facts = {"error_type": "HTTPError", "error_message": message}
    stock: Facts = {"kind": "http_client", "error_message": "HTTP 409", "input": "http://shop:8080/stock/4"}
    prices: Facts = {"kind": "http_client", "error_message": "HTTP 503"}
    spans = [
        span(1, None, (0, 100 * MS), "GET /all", kind=KIND_SERVER, failed=True, facts={**REQUEST, **error}),
        span(2, 1, (MS, 60 * MS), "GET /stock/{id}", kind=KIND_CLIENT, failed=True, facts=stock),
        span(3, 1, (MS, 95 * MS), "GET /prices", kind=KIND_CLIENT, failed=True, facts=prices),
    ]
    assert outcome(*spans) == ("failed", expected)


def test_the_one_that_raised_is_the_cause_and_not_those_that_were_cancelled_for_it() -> None:
    group: Facts = {"error_type": "ExceptionGroup", "error_message": "unhandled errors in a TaskGroup"}
    spans = [
        span(1, None, (0, 520 * MS), "enrich", failed=True, facts={"boundary": "run", "kind": "workflow", **group}),
        step(2, 1, (5 * MS, 300 * MS), "profile", failed=True, facts=BAD),
        step(3, 1, (5 * MS, 290 * MS), "orders", failed=True, facts={"status": "cancelled"}),
    ]
    assert outcome(*spans) == ("failed", "profile")


@pytest.mark.parametrize(
    ("own", "below", "expected"),
    [
        pytest.param({}, {"step": True, "kind": "step"}, "load", id="a step"),
        pytest.param({"error_message": "failure"}, {}, "load", id="a function"),
        pytest.param({}, {"kind": "http_client"}, "nightly", id="a call, which the step between handled"),
        pytest.param(DIVISION, {"step": True, "kind": "step"}, "nightly", id="it tells an error of its own"),
    ],
)
def test_a_run_that_tells_no_error_failed_of_a_step_below_one_that_was_not_marked(
    own: Facts, below: Facts, expected: str
) -> None:
    found = outcome(
        span(1, None, (0, 1000 * MS), "nightly", failed=True, facts={"kind": "workflow", "boundary": "run", **own}),
        span(2, 1, (10 * MS, 900 * MS), "phase"),
        span(3, 2, (20 * MS, 800 * MS), "load", failed=True, facts={**BAD, **below}),
    )
    assert found == ("failed", expected)


def asked(*codes: int, name: str = "POST /charges") -> tuple[str, str | None]:
    """The outcome of a request whose handler made one request after another, answered by `codes`."""
    calls: list[SpanFacts] = []
    for number, code in enumerate(codes):
        facts: Facts = {"kind": "http_client", "input_digest": str(number)}
        if code >= 400:
            facts["error_message"] = f"HTTP {code}"
        at = (100 + 20 * number, 110 + 20 * number)
        calls.append(span(2 + number, 1, at, name, kind=KIND_CLIENT, failed=code >= 400, facts=facts))
    return request(*calls)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((401, 401, 200), "completed"),
        ((407, 200), "completed"),
        ((401,), "partial"),
        ((200, 401), "partial"),
        ((403, 200), "partial"),
    ],
)
def test_a_client_that_was_asked_who_it_is_and_told_it_did_not_fail(codes: tuple[int, ...], expected: str) -> None:
    assert asked(*codes)[0] == expected


class Counted(list[Step]):
    """A list that counts how often it was gone through."""

    times = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.times += 1
        return super().__iter__()


def test_what_a_caller_was_answered_is_looked_up_once_for_all_its_calls() -> None:
    def made(number: int, status: str, kind: str) -> Step:
        return Step(number, None, {}, f"chat {number}", kind, number, number, "shop", number, status=status)

    run = made(0, "completed", "http_server")
    run.children = Counted(made(number, "failed", "llm") for number in range(1, 50))
    for call in list(run.children):
        call.parent = run
    calls = list(run.children)
    run.children.times = 0
    assert unhandled_failures(run, [run, *calls]) == calls
    assert run.children.times == 1
