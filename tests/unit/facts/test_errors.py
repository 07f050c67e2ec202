"""Status and class come from types, never from what a message says."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.assemble.category import category_of
from spantree_exporter.facts import read_facts
from spantree_exporter.span import KIND_CLIENT, STATUS_ERROR, STATUS_OK, STATUS_UNSET, Attributes, Event


def test_a_panic_of_go_that_left_a_span_failed_it() -> None:
    event = raised("runtime.plainError", "assignment to entry in nil map")
    assert read_facts(span("price", events=[event]))["weak_status"] == "failed"
    assert "weak_status" not in read_facts(span("price", events=[event], status=STATUS_OK))
    assert "weak_status" not in read_facts(span("price", events=[raised("*errors.errorString", "busy")]))


@pytest.mark.parametrize(
    ("language", "error_type", "message", "at_ns", "weak_status"),
    [
        ("go", ".string", "no such order", 2_001, "failed"),
        ("go", "*fmt.wrapError", "load: no such order", 2_001, "failed"),
        ("go", "*errors.errorString", "recorded by RecordError", 1_999, None),
        ("go", "*errors.errorString", "net/http: abort Handler", 2_001, None),
        ("nodejs", "Error", "of another clock", 2_001, None),
    ],
)
def test_what_a_program_of_go_panicked_with_is_recorded_after_the_end_of_the_span(
    language: str, error_type: str, message: str, at_ns: int, weak_status: str | None
) -> None:
    left = span("price", events=[raised(error_type, message, at_ns)], at=(1_000, 2_000))
    left.resource.attributes["telemetry.sdk.language"] = language
    assert read_facts(left).get("weak_status") == weak_status


@pytest.mark.parametrize(
    ("error_type", "message", "status", "category"),
    [
        ("asyncio.exceptions.CancelledError", "", "cancelled", "cancelled"),
        ("java.util.concurrent.CancellationException", "x", "cancelled", "cancelled"),
        ("System.OperationCanceledException", "The operation was canceled.", "cancelled", "cancelled"),
        ("org.apache.kafka.common.errors.WakeupException", "", "cancelled", "cancelled"),
        ("AbortError", "This operation was aborted", "cancelled", "cancelled"),
        ("*errors.errorString", "context canceled", "cancelled", "cancelled"),
        ("*errors.errorString", "order was cancelled", None, "unknown"),
        ("*errors.errorString", "the context canceled", None, "unknown"),
        ("*url.Error", 'Get "http://x": context canceled', "cancelled", "cancelled"),
        ("*fmt.wrapError", "load: context canceled", "cancelled", "cancelled"),
        ("*shop.RefundError", "order: context canceled", None, "unknown"),
        ("*smithy.OperationError", "S3: GetObject, canceled, context canceled", "cancelled", "cancelled"),
        ("asyncpg.exceptions.QueryCanceledError", "canceling statement due to user request", "cancelled", "cancelled"),
        ("psycopg.errors.QueryCanceled", "canceling statement due to statement timeout", None, "timeout"),
        ("TimeoutFailure", "activity StartToClose", None, "timeout"),
        ("CancelledFailure", "Workflow cancelled", "cancelled", "cancelled"),
        ("System.Threading.Tasks.TaskCanceledException", "HttpClient.Timeout of 5 seconds elapsing", None, "timeout"),
        ("context.deadlineExceededError", "context deadline exceeded", None, "timeout"),
        ("tokio::time::error::Elapsed", "deadline has elapsed", None, "timeout"),
        ("java.net.SocketTimeoutException", "Read timed out", None, "timeout"),
        ("ETIMEDOUT", "connect", None, "timeout"),
        ("shop.RefundError", "order 77 was cancelled by its customer", None, "unknown"),
        ("GraphInterrupt", "", "waiting", "unknown"),
        ("workflows.errors.WorkflowDone", "", "completed", "unknown"),
        ("workflows.runtime.types.results.WaitingForEvent", "", "waiting", "unknown"),
        ("workflows.errors.WorkflowCancelledByUser", "", "cancelled", "cancelled"),
        ("org.apache.catalina.connector.ClientAbortException", "Broken pipe", "cancelled", "cancelled"),
        ("SystemExit", "0", "completed", "unknown"),
        ("SystemExit", "", "completed", "unknown"),
        ("SystemExit", "1", None, "unknown"),
        ("SystemExit", "cannot read feed", None, "unknown"),
        ("*internal.ContinueAsNewError", "continue as new", "completed", "unknown"),
        ("temporalio.workflow.ContinueAsNewError", "Workflow should continue as new", "completed", "unknown"),
        ("CompleteAsyncError", "", "completed", "unknown"),
        (
            "*errors.errorString",
            "not error: do not autocomplete, using Client.CompleteActivity() to complete",
            "completed",
            "unknown",
        ),
        ("shop.Skipped", "driver: skip fast-path; continue as if unimplemented", None, "unknown"),
        ("*proto.RedisError", "redis: nil", None, "unknown"),
        ("Error", "NEXT_REDIRECT", "completed", "unknown"),
        ("Error", "NEXT_HTTP_ERROR_FALLBACK;404", "completed", "unknown"),
        ("Error", "NEXT_REDIRECTED", None, "unknown"),
        ("airflow.sdk.exceptions.TaskDeferred", "", "waiting", "unknown"),
        ("TimedSuspendExecution", "until noon", "waiting", "unknown"),
        ("WorkflowSuspension", "1 step has not been run yet", "waiting", "unknown"),
    ],
)
def test_the_type_decides_the_status_and_before_the_message_the_category(
    error_type: str, message: str, status: str | None, category: str
) -> None:
    facts = read_facts(span("work", status=STATUS_ERROR, events=[raised(error_type, message)]))
    assert (facts.get("status"), category_of(error_type, message)) == (status, category)


@pytest.mark.parametrize(
    ("message", "error_type"),
    [
        ("Payment: card declined", None),
        ("Order: 77 was refused", None),
        ("ValueError: empty outline", "ValueError"),
        ("psycopg.OperationalError: gone", "psycopg.OperationalError"),
        ("Cancelled: by the customer", None),
    ],
)
def test_a_first_word_is_a_class_only_where_it_is_called_as_one(message: str, error_type: str | None) -> None:
    assert read_facts(span("work", status=STATUS_ERROR, message=message)).get("error_type") == error_type


def test_an_exit_told_by_the_status_alone() -> None:
    """opentelemetry-python#4493, getsentry/sentry-python#4024."""
    assert read_facts(span("main", status=STATUS_ERROR, message="SystemExit: 0"))["status"] == "completed"
    assert "status" not in read_facts(span("main", status=STATUS_ERROR, message="SystemExit: 2"))


@pytest.mark.parametrize(
    ("attributes", "status", "told"),
    [
        ({"error": True}, STATUS_UNSET, ("failed", None, None)),
        ({"error": "true", "error.message": "gone"}, STATUS_UNSET, ("failed", None, "gone")),
        (
            {"otel.status_code": "ERROR", "otel.status_description": "gone", "error.type": "IOError"},
            STATUS_UNSET,
            ("failed", "IOError", "gone"),
        ),
        ({"error": True, "error.message": "gone"}, STATUS_OK, (None, None, None)),
        ({"error": False, "error.message": "none"}, STATUS_UNSET, (None, None, None)),
        ({"error": "of the second kind"}, STATUS_UNSET, (None, None, None)),
        ({"error.message": "gone"}, STATUS_ERROR, (None, None, "gone")),
    ],
)
def test_a_failure_told_by_attributes(
    attributes: Attributes, status: int, told: tuple[str | None, str | None, str | None]
) -> None:
    facts = read_facts(span("work", attributes, status=status))
    assert (facts.get("weak_status"), facts.get("error_type"), facts.get("error_message")) == told


def test_an_error_that_opentracing_logged_is_told_unless_there_is_an_exception() -> None:
    logged = Event(1_400, "error", {"error.kind": "SQLException", "message": "deadlock", "stack": "at ..."})
    facts = read_facts(span("work", {"error": True}, events=[logged]))
    assert (facts["error_type"], facts["error_message"]) == ("SQLException", "deadlock")
    facts = read_facts(span("work", status=STATUS_ERROR, events=[raised("KeyError", "'id'"), logged]))
    assert (facts["error_type"], facts["error_message"]) == ("KeyError", "'id'")
    assert "error_message" not in read_facts(span("work", events=[logged]))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("context canceled", ("cancelled", None)),
        ("load: context canceled", ("cancelled", None)),
        ("rpc error: code = Canceled desc = context canceled", ("cancelled", None)),
        ("context deadline exceeded", (None, "timeout")),
        ('Get "http://x": context deadline exceeded', (None, "timeout")),
        ("order 77 was canceled", (None, None)),
        ("the context canceled", (None, None)),
    ],
)
def test_gos_values_are_known_where_no_type_is_told(message: str, told: tuple[str | None, str | None]) -> None:
    """A span on which only the status was set, with the error's text, as most code in Go does."""
    facts = read_facts(span("work", status=STATUS_ERROR, message=message))
    assert (facts.get("status"), facts.get("exception_type_class")) == told


@pytest.mark.parametrize(
    ("error_type", "message", "told"),
    [
        (
            "io.grpc.StatusRuntimeException",
            "UNAVAILABLE: io exception",
            {"error_type": "UNAVAILABLE", "error_message": "io exception"},
        ),
        (
            "io.grpc.StatusException",
            "NOT_FOUND",
            {"error_type": "NOT_FOUND", "error_message": "not found"},
        ),
        (
            "Grpc.Core.RpcException",
            'Status(StatusCode="ResourceExhausted", Detail="too much")',
            {"error_type": "RESOURCE_EXHAUSTED", "error_message": "too much"},
        ),
        (
            "*status.Error",
            "rpc error: code = FailedPrecondition desc = not yet",
            {"error_type": "FAILED_PRECONDITION", "error_message": "not yet"},
        ),
        (
            "Error",
            "14 UNAVAILABLE: No connection established",
            {"error_type": "UNAVAILABLE", "error_message": "No connection established"},
        ),
        ("Error", "12 ORDERS: late", {"error_type": "Error", "error_message": "12 ORDERS: late"}),
        (
            "grpc._channel._InactiveRpcError",
            "<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.NOT_FOUND\n"
            '\tdetails = "no "such" thing"\n\tdebug_error_string = "NOT_FOUND:no "such" thing"\n>',
            {"error_type": "NOT_FOUND", "error_message": 'no "such" thing'},
        ),
        (
            "AioRpcError",
            "<AioRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n"
            '\tdetails = ""\n\tdebug_error_string = ""\n>',
            {"error_type": "UNAVAILABLE", "error_message": "unavailable"},
        ),
        (
            "grpc._channel._MultiThreadedRendezvous",
            "<_MultiThreadedRendezvous of RPC that terminated with:\n\tstatus = StatusCode.INTERNAL\n"
            '\tdetails = "cut in the mid',
            {"error_type": "INTERNAL", "error_message": "cut in the mid"},
        ),
        ("shop.StockRpcError", "no stock", {"error_type": "shop.StockRpcError", "error_message": "no stock"}),
    ],
)
def test_an_exception_of_grpc_is_told_by_its_code_and_words(
    error_type: str, message: str, told: dict[str, str]
) -> None:
    facts = read_facts(span("work", status=STATUS_ERROR, events=[raised(error_type, message)]))
    assert {key: value for key, value in facts.items() if key in {"error_type", "error_message"}} == told


def test_an_exception_that_says_nothing_has_no_message() -> None:
    facts = read_facts(
        span("work", status=STATUS_ERROR, message="OutOfPaper: ", events=[raised("shop.OutOfPaper", "")])
    )
    assert facts == {"error_type": "shop.OutOfPaper"}


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("redis: nil", "completed"),
        ("memcache: cache miss", "completed"),
        ("driver: skip fast-path; continue as if unimplemented", "completed"),
        ("NOSCRIPT No matching script. Please use EVAL.", "completed"),
        ("No matching script. Please use EVAL.", "completed"),
        ("MOVED 3999 127.0.0.1:6381", "completed"),
        ("ASK 3999 127.0.0.1:6381", "completed"),
        ("MOVED to another house", None),
        ("redis: connection pool timeout", None),
        ("load cart: redis: nil", None),
    ],
)
def test_a_client_of_a_database_fails_of_no_answer_that_is_none(message: str, status: str | None) -> None:
    query = span("get", {"db.system": "redis"}, kind=KIND_CLIENT, status=STATUS_ERROR, message=message)
    assert read_facts(query).get("status") == status


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("pq: canceling statement due to user request", "cancelled"),
        ("57014: canceling statement due to user request", "cancelled"),
        ("ERROR: canceling statement due to user request (SQLSTATE 57014)", "cancelled"),
        ("ERROR: canceling statement due to statement timeout (SQLSTATE 57014)", None),
        ("A severe error occurred on the current command.\nOperation cancelled by user.", "cancelled"),
        ("(1317, 'Query execution was interrupted')", "cancelled"),
        ("Query execution was interrupted, maximum statement execution time exceeded", None),
        ("interrupted", "cancelled"),
        ("the disk was interrupted", None),
        ("Code: 394. DB::Exception: Query was cancelled. (QUERY_WAS_CANCELLED)", "cancelled"),
        ("order was canceled", None),
    ],
)
def test_a_query_that_was_cancelled_is_told_by_what_the_database_says(message: str, status: str | None) -> None:
    events = [raised("DbError", message)]
    query = span("SELECT", {"db.system": "x"}, kind=KIND_CLIENT, status=STATUS_ERROR, events=events)
    assert read_facts(query).get("status") == status
    work = span("work", status=STATUS_ERROR, events=events)
    assert "status" not in read_facts(work)


PYTHON_CHAIN = """Traceback (most recent call last):
  File "store.py", line 3, in query
    raise OperationalError("gone")
psycopg.OperationalError: gone
for good

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "load.py", line 9, in load
    raise LoadError("no orders") from error
load.LoadError: no orders

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "run.py", line 2, in run
RuntimeError
"""
JAVA_CHAIN = """shop.LoadException: no orders
\tat shop.Load.run(Load.java:9)
\t... 3 more
Caused by: java.net.ConnectException: Connection refused
\tat shop.Store.query(Store.java:3)
"""
DOTNET_CHAIN = """Shop.LoadException: no orders
 ---> System.Net.Sockets.SocketException (111): Connection refused
   at Shop.Store.Query()
   --- End of inner exception stack trace ---
"""


@pytest.mark.parametrize(
    ("stacktrace", "causes"),
    [
        (PYTHON_CHAIN, ["psycopg.OperationalError: gone\nfor good", "load.LoadError: no orders"]),
        (JAVA_CHAIN, ["java.net.ConnectException: Connection refused"]),
        (
            "  + Exception Group Traceback (most recent call last):\n  | ExceptionGroup: 1 failed (1 sub-exception)\n"
            '    | Traceback (most recent call last):\n    |   File "b.py", line 4, in f\n    | ValueError: bad row\n',
            ["ValueError: bad row"],
        ),
        (DOTNET_CHAIN, ["System.Net.Sockets.SocketException: Connection refused"]),
        ("LoadError: no orders\n    at load (a.js:1:2) {\n  [cause]: Error: gone\n", ["Error: gone"]),
        ('Traceback (most recent call last):\n  File "a.py", line 3, in query\nOSError: gone\n', None),
        ("\n\nDuring handling of the above exception, another exception occurred:\n", None),
    ],
)
def test_a_stack_trace_tells_what_the_exception_was_raised_from(stacktrace: str, causes: list[str] | None) -> None:
    event = raised("LoadError", "no orders")
    event.attributes["exception.stacktrace"] = stacktrace
    assert read_facts(span("load", status=STATUS_ERROR, events=[event])).get("caused_by") == causes


@pytest.mark.parametrize(("message", "status"), [("EOF", "completed"), ("unexpected EOF", None)])
def test_the_end_of_a_stream_is_no_failure_of_the_call(message: str, status: str | None) -> None:
    call = span("feed.Feed/Watch", {"rpc.system": "grpc"}, kind=KIND_CLIENT, status=STATUS_ERROR, message=message)
    assert read_facts(call).get("status") == status


@pytest.mark.parametrize(
    ("code", "message", "stacktrace", "told"),
    [
        ("20", "This operation was aborted", "AbortError: This operation was aborted\n    at x", "AbortError"),
        ("23", "The operation timed out", "TimeoutError: The operation timed out\n    at x", "TimeoutError"),
        ("5", "5 NOT_FOUND: no such order", "Error: 5 NOT_FOUND: no such order\n    at x", "NOT_FOUND"),
        ("5", "5 NOT_FOUND: no such order", None, "NOT_FOUND"),
        ("11000", "E11000 duplicate key", "MongoServerError: E11000 duplicate key\n    at x", "MongoServerError"),
        ("23505", "duplicate key value", "error: duplicate key value\n    at x", "23505"),
        ("20", "twenty", "what happened: twenty", "20"),
        ("42", "", "", "42"),
    ],
)
def test_a_code_told_as_the_type_is_told_by_the_class_that_the_stack_trace_names(
    code: str, message: str, stacktrace: str | None, told: str
) -> None:
    event = raised(code, message)
    if stacktrace is not None:
        event.attributes["exception.stacktrace"] = stacktrace
    facts = read_facts(span("GET", status=STATUS_ERROR, message=message, events=[event]))
    assert facts["error_type"] == told


def test_a_sentence_is_no_class() -> None:
    told: Attributes = {"error.type": "This operation was aborted"}
    facts = read_facts(span("GET", told, status=STATUS_ERROR, message="This operation was aborted"))
    assert facts == {"error_message": "This operation was aborted"}


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"level": "ERROR", "error": "io error: refused"}, "io error: refused"),
        ({"level": "ERROR", "target": "shop::cache"}, "cache is stale"),
        ({"level": "WARN", "error": "io error: refused"}, None),
    ],
)
def test_an_error_that_rust_logged_within_a_span_is_why_it_failed(attributes: Attributes, told: str | None) -> None:
    """tokio-rs/tracing-opentelemetry#125: `error!` makes a span one, and puts no description."""
    event = Event(1_500, "cache is stale", attributes)
    assert read_facts(span("refresh", events=[event], status=STATUS_ERROR)).get("error_message") == told
    assert "error_message" not in read_facts(span("refresh", events=[event]))


@pytest.mark.parametrize("shown", ["TimeoutError", "TimeoutError:", "TimeoutError: "])
def test_a_status_that_names_an_exception_without_a_message_is_no_message(shown: str) -> None:
    """aiohttp's client tells a timeout so; the caller's span, left by the same exception, has no message."""
    left = Event(1_500, "exception", {"exception.type": "TimeoutError", "exception.message": ""})
    assert read_facts(span("GET", status=STATUS_ERROR, message=shown, events=[left])) == {"error_type": "TimeoutError"}
