"""Plain web services: what is hidden, what is folded, what a 404 and a database file look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.errors import ConfigError
from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.rules import facts_reader
from spantree_exporter.span import (
    KIND_CLIENT,
    KIND_INTERNAL,
    KIND_SERVER,
    STATUS_ERROR,
    STATUS_OK,
    STATUS_UNSET,
    Attributes,
    Event,
)


class TestHidden:
    @pytest.mark.parametrize(
        "attributes",
        [
            {"url.path": "/healthz"},
            {"http.target": "/health?full=1"},
            {"http.route": "/health/", "url.path": "/health/"},
            {"url.path": "/health/live"},
            {"url.path": "/metrics"},
            {"url.path": "/api/v1/readyz"},
            {"url.path": "/actuator/health/liveness"},
            {"url.path": "/", "user_agent.original": "kube-probe/1.31"},
            {"url.path": "/x", "http.user_agent": "Prometheus/2.53.0"},
            {"rpc.system": "grpc", "rpc.service": "grpc.health.v1.Health", "rpc.method": "Check"},
        ],
    )
    def test_checks_probes_and_scrapes(self, attributes: Attributes) -> None:
        sent = span("GET", {"http.request.method": "GET", **attributes}, kind=KIND_SERVER)
        assert read_facts(sent).get("hidden") is True

    @pytest.mark.parametrize(
        "attributes",
        [
            {"url.path": "/healthy-recipes"},
            {"url.path": "/orders/live"},
            {"url.path": "/orders/ping"},
            {"url.path": "/"},
            {"rpc.system": "grpc", "rpc.service": "shop.Health"},
            {"url.path": "/healthz", "http.response.status_code": 503},
        ],
    )
    def test_nothing_else_and_none_that_fails(self, attributes: Attributes) -> None:
        assert "hidden" not in read_facts(span("GET", {"http.request.method": "GET", **attributes}, kind=KIND_SERVER))

    def test_only_what_a_service_answered(self) -> None:
        sent: Attributes = {"url.path": "/healthz"}
        assert "hidden" not in read_facts(span("GET", sent, kind=KIND_CLIENT))
        assert "hidden" not in read_facts(span("GET", sent, kind=KIND_SERVER, status=STATUS_ERROR))

    def test_a_teams_own_list_stands_in_its_rules(self, tmp_path: Path) -> None:
        rules = tmp_path / "rules.toml"
        rules.write_text('[hidden]\npaths = ["/internal/*", "/up"]\n')
        read = facts_reader(rules)
        hidden = {path: "hidden" in read(span("GET", {"url.path": path}, kind=KIND_SERVER)) for path in (
            "/internal/x", "/up", "/healthz", "/upper",
        )}  # fmt: skip
        assert hidden == {"/internal/x": True, "/up": True, "/healthz": False, "/upper": False}
        rules.write_text("[hidden]\npaths = []\n")
        assert "hidden" not in facts_reader(rules)(span("GET", {"url.path": "/healthz"}, kind=KIND_SERVER))

    def test_a_list_that_is_none_is_named(self, tmp_path: Path) -> None:
        rules = tmp_path / "rules.toml"
        rules.write_text('[hidden]\npaths = "healthz"\npath = 1\n')
        with pytest.raises(ConfigError) as caught:
            facts_reader(rules)
        assert caught.value.faults == [
            "path in [hidden] is no field; wanted paths",
            'paths in [hidden] is \'healthz\'; wanted a list of paths, ["/healthz", "/internal/*"]',
        ]


@pytest.mark.parametrize(
    "attributes",
    [
        {"express.type": "middleware", "express.name": "jsonParser"},
        {"express.type": "router", "express.name": "/"},
        {"koa.type": "middleware"},
        {"fastify.type": "middleware"},
        {"connect.type": "middleware"},
        {"router.type": "middleware", "router.name": "patched"},
        {"router.type": "request_handler", "router.name": "<anonymous>"},
    ],
)
def test_a_web_frameworks_middleware_is_no_step_unless_it_failed(attributes: Attributes) -> None:
    assert read_facts(span("middleware - jsonParser", attributes)) == {"fold": "parent"}
    assert "fold" not in read_facts(span("middleware - auth", attributes, status=STATUS_ERROR))


def test_a_connection_of_node_is_part_of_what_needed_it_unless_it_failed() -> None:
    scope = "@opentelemetry/instrumentation-net"
    assert read_facts(span("tcp.connect", {"server.port": 6379}, scope=scope)) == {"kind": "rpc", "fold": "parent"}
    assert read_facts(span("tcp.connect", {}, scope=scope, parent=None)) == {"kind": "rpc", "hidden": True}
    assert "fold" not in read_facts(span("tcp.connect", {}, scope=scope, status=STATUS_ERROR))


@pytest.mark.parametrize(
    ("code", "named", "status"),
    [("23", "TimeoutError", None), ("20", "AbortError", "cancelled"), ("9", "NotSupportedError", None)],
)
def test_an_exception_of_javascript_that_is_told_by_its_code_is_of_the_class_in_its_stack(
    code: str, named: str, status: str | None
) -> None:
    """`fetch` with AbortSignal.timeout(): a DOMException, of which the SDK sends the code."""
    stack = f"{named}: The operation was aborted\n    at new DOMException (node:internal/per_context:53:5)"
    event = Event(1_500, "exception", {"exception.type": code, "exception.message": "x", "exception.stacktrace": stack})
    facts = read_facts(span("GET", {"http.request.method": "GET"}, status=STATUS_ERROR, events=[event]))
    assert (facts["error_type"], facts.get("status")) == (named, status)


def test_what_a_servlet_answers_is_no_step() -> None:
    scope = "io.opentelemetry.servlet-5.0"
    assert read_facts(span("ResponseFacade.sendError", {}, scope=scope)) == {"fold": "parent"}
    assert read_facts(span("OrderServlet.price", {}, scope=scope)) == {}


def test_a_frameworks_handler_is_a_step() -> None:
    assert "fold" not in read_facts(span("request handler - /orders", {"express.type": "request_handler"}))


@pytest.mark.parametrize("code", [404, 409])
def test_a_server_tells_the_code_of_a_refusal_that_is_no_error_of_its_span(code: int) -> None:
    facts = read_facts(
        span("GET /x", {"http.request.method": "GET", "http.response.status_code": code}, kind=KIND_SERVER)
    )
    assert facts["status_reason"] == f"HTTP {code}"


@pytest.mark.parametrize(
    ("kind", "status", "code", "failed"),
    [
        (KIND_SERVER, STATUS_UNSET, 500, True),
        (KIND_SERVER, STATUS_UNSET, "503", True),
        (KIND_CLIENT, STATUS_UNSET, 502, True),
        (KIND_CLIENT, STATUS_UNSET, 404, False),
        (KIND_SERVER, STATUS_UNSET, 499, False),
        (KIND_SERVER, STATUS_OK, 500, False),
        (KIND_INTERNAL, STATUS_UNSET, 500, False),
    ],
)
def test_a_5xx_without_a_status_failed(kind: int, status: int, code: int | str, failed: bool) -> None:
    """opentelemetry-cpp-contrib#269 (nginx), elastic/elasticsearch#151593: they leave the status unset."""
    facts = read_facts(span("x", {"http.method": "GET", "http.status_code": code}, kind=kind, status=status))
    assert (facts.get("weak_status"), facts.get("error_message")) == (
        ("failed", f"HTTP {code}") if failed else (None, None)
    )


@pytest.mark.parametrize(
    ("code", "status", "said", "exception", "told"),
    [
        (0, STATUS_UNSET, "", ("ZeroDivisionError", "division by zero"), ("ZeroDivisionError", "division by zero")),
        (14, STATUS_ERROR, "StatusCode.UNAVAILABLE:busy", ("Exception", ""), ("UNAVAILABLE", "busy")),
        (
            14,
            STATUS_ERROR,
            "StatusCode.UNAVAILABLE:",
            ("Exception", ""),
            ("UNAVAILABLE", "UNAVAILABLE (14): unavailable"),
        ),
    ],
)
def test_a_handler_of_grpc_in_python_that_raised_or_aborted_failed(
    code: int, status: int, said: str, exception: tuple[str, str], told: tuple[str, str]
) -> None:
    """Its instrumentation sends code 0 of one that raises, and an exception without a word of one that aborts."""
    facts = read_facts(
        span(
            "/shop.Stock/Get",
            {"rpc.system": "grpc", "rpc.grpc.status_code": code},
            kind=KIND_SERVER,
            status=status,
            message=said,
            scope="opentelemetry.instrumentation.grpc",
            events=[raised(*exception)],
        )
    )
    assert (facts["error_type"], facts["error_message"]) == told
    assert status == STATUS_ERROR or facts["weak_status"] == "failed"


def test_a_5xx_without_a_status_tells_its_exception_where_it_has_one() -> None:
    sent: Attributes = {"http.method": "GET", "http.status_code": 500}
    facts = read_facts(span("x", sent, kind=KIND_SERVER, events=[raised("KeyError", "'id'")]))
    assert (facts["weak_status"], facts["error_type"], facts["error_message"]) == ("failed", "KeyError", "'id'")


def test_a_refusal_that_a_client_left_unset_is_told_as_a_reason() -> None:
    told = read_facts(span("GET", {"http.method": "GET", "http.status_code": 410}, kind=KIND_CLIENT))
    assert (told.get("weak_status"), told.get("status_reason")) == (None, "HTTP 410")


@pytest.mark.parametrize("code", [429, 503])
def test_a_model_that_was_not_asked_has_failed_though_its_proxy_leaves_the_status_unset(code: int) -> None:
    asked: Attributes = {"http.method": "POST", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt"}
    told = read_facts(span("POST /*", {**asked, "http.status": code}, kind=KIND_SERVER))
    assert (told["weak_status"], told["error_message"]) == ("failed", f"HTTP {code}")


def test_the_code_beside_an_error_of_a_models_client_is_its_reason() -> None:
    """vercel/ai#20643: an AI_APICallError is a wrong key as well as a quota."""
    call: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt",
        "http.response.status_code": 429,
    }
    refused = [Event(5, "exception", {"exception.type": "AI_APICallError", "exception.message": "no"})]
    told = read_facts(span("chat gpt", call, kind=KIND_CLIENT, status=STATUS_ERROR, events=refused))
    assert (told["error_type"], told["error_message"], told["status_reason"]) == ("AI_APICallError", "no", "HTTP 429")
    asked: Attributes = {"http.request.method": "POST", "http.response.status_code": 429}
    assert "status_reason" not in read_facts(span("POST", asked, kind=KIND_CLIENT, status=STATUS_ERROR, events=refused))


def test_a_request_that_recorded_why_it_had_no_answer_failed_whatever_its_status() -> None:
    sent: Attributes = {"http.request.method": "GET"}
    refused = Event(5, "exception", {"exception.type": "ConnectionException", "exception.message": "refused"})
    told = read_facts(span("http:request", sent, kind=KIND_CLIENT, events=[refused]))
    assert told["weak_status"] == "failed"
    assert "weak_status" not in read_facts(span("http:request", sent, kind=KIND_CLIENT))
    answered: Attributes = {**sent, "http.response.status_code": 200}
    assert "weak_status" not in read_facts(span("http:request", answered, kind=KIND_CLIENT, events=[refused]))


def test_a_success_and_an_error_have_no_such_reason() -> None:
    for code, status in ((200, 0), (302, 0), (500, STATUS_ERROR)):
        sent: Attributes = {"http.request.method": "GET", "http.response.status_code": code}
        assert "status_reason" not in read_facts(span("GET /x", sent, kind=KIND_SERVER, status=status))


@pytest.mark.parametrize(
    ("name", "database", "told"),
    [
        ("SELECT /srv/shop/orders.db", "/srv/shop/orders.db", "SELECT orders.db"),
        ("SELECT C:\\shop\\orders.db", "C:\\shop\\orders.db", "SELECT orders.db"),
        ("SELECT shop", "shop", None),
        ("SELECT orders", "/srv/orders.db", None),
    ],
)
def test_a_database_file_is_told_by_its_name(name: str, database: str, told: str | None) -> None:
    facts = read_facts(span(name, {"db.system": "sqlite", "db.name": database}, kind=KIND_CLIENT))
    assert facts.get("name") == told


@pytest.mark.parametrize(
    ("name", "sent", "told"),
    [
        ("GET", {"url.path": "/users/77"}, "GET /users/{id}"),
        ("HTTP GET", {"http.target": "/users/77?x=1"}, "GET /users/{id}"),
        ("/users/77", {"http.url": "http://shop/users/77"}, "GET /users/{id}"),
        ("GET /users/77", {"url.path": "/users/77"}, "GET /users/{id}"),
        ("list users", {"url.path": "/users/77"}, None),
        ("GET /users", {"url.path": "/users"}, None),
        ("GET", {"http.route": "/users/{user}", "url.path": "/users/77"}, "GET /users/{user}"),
    ],
)
def test_a_request_that_no_route_names_is_named_by_its_path(name: str, sent: Attributes, told: str | None) -> None:
    facts = read_facts(span(name, {"http.method": "GET", **sent}, kind=KIND_SERVER))
    assert facts.get("name") == told


@pytest.mark.parametrize(
    ("name", "path", "entry"),
    [
        ("GET /stock/{number}", "/stock/5", "GET /stock/{number}"),
        ("GET /stock/5", "/stock/5", "GET /stock/{id}"),
        ("GET /models/x1y2:predict", "/models/x1y2:predict", "GET /models/{id}"),
        ("GET /stock", "/stock/5", "GET /stock/{id}"),
    ],
)
def test_an_execution_is_named_for_the_route_that_only_the_spans_name_tells(name: str, path: str, entry: str) -> None:
    """Tornado's instrumentation sends no `http.route`."""
    sent: Attributes = {"http.method": "GET", "http.target": path, "tornado.handler": "__main__.Stock"}
    assert read_facts(span(name, sent, kind=KIND_SERVER))["entry"] == entry


def test_what_aiohttps_server_says_of_an_exception_without_a_code_is_no_message() -> None:
    attributes: Attributes = {"http.method": "GET", "http.route": "/wait"}
    status = "Non-integer HTTP status: TimeoutError"
    events = [raised("TimeoutError", "")]
    facts = read_facts(
        span("GET /wait", attributes, kind=KIND_SERVER, status=STATUS_ERROR, message=status, events=events)
    )
    assert (facts["error_type"], facts.get("error_message")) == ("TimeoutError", None)


@pytest.mark.parametrize(
    ("name", "statement", "told"),
    [
        ("--", "-- all that wait\n-- of one queue\nselect * from job", "SELECT"),
        ("/*", "/* route: /orders */ INSERT INTO job VALUES (1)", "INSERT"),
        ("/*shop", "/*shop*//**/\n  UPDATE job SET n = 1", "UPDATE"),
        ("--", "-- nothing else", None),
        ("SELECT", "SELECT 1 -- one", None),
    ],
)
def test_a_statement_that_begins_with_a_comment_is_named_for_its_first_word(
    name: str, statement: str, told: str | None
) -> None:
    """Statements from files, as procrastinate's, and those that a library tags; drivers name them for the comment."""
    facts = read_facts(span(name, {"db.system": "postgresql", "db.statement": statement}, kind=KIND_CLIENT))
    assert facts.get("name") == told


@pytest.mark.parametrize(
    ("scope", "name", "told"),
    [
        ("opentelemetry.instrumentation.sqlalchemy", "SELECT shop", {"by_driver": True, "kind": "db"}),
        ("opentelemetry.instrumentation.sqlalchemy", "connect", {"fold": "parent", "kind": "db"}),
        ("opentelemetry.instrumentation.psycopg", "SELECT", {"kind": "db"}),
    ],
)
def test_a_query_of_a_library_is_one_that_its_driver_may_tell_again(scope: str, name: str, told: Facts) -> None:
    assert read_facts(span(name, {"db.system": "postgresql"}, scope=scope, kind=KIND_CLIENT)) == told


@pytest.mark.parametrize(
    ("kind", "code", "error_type", "expected"),
    [
        (KIND_SERVER, 302, "aiohttp.web_exceptions.HTTPFound", ("completed", None)),
        (KIND_SERVER, 404, "aiohttp.web_exceptions.HTTPNotFound", ("completed", "HTTP 404")),
        (KIND_SERVER, 404, "builtins.KeyError", (None, None)),
        (KIND_SERVER, 404, "ActiveRecord::RecordNotFound", ("completed", "HTTP 404")),
        (KIND_SERVER, 500, "ActiveRecord::RecordNotFound", (None, None)),
        (KIND_SERVER, 422, "ActionController::InvalidAuthenticityToken", ("completed", "HTTP 422")),
        (KIND_SERVER, 400, "o.s.web.bind.MethodArgumentNotValidException", ("completed", "HTTP 400")),
        (KIND_SERVER, 422, "Illuminate\\Validation\\ValidationException", ("completed", "HTTP 422")),
        (KIND_SERVER, 404, "Ecto.NoResultsError", ("completed", "HTTP 404")),
        (KIND_SERVER, 500, "aiohttp.web_exceptions.HTTPInternalServerError", (None, None)),
        (KIND_SERVER, 200, None, (None, None)),
        (KIND_CLIENT, 301, None, ("completed", None)),
        (KIND_CLIENT, 404, None, (None, None)),
    ],
)
def test_an_answer_that_is_marked_as_an_error_for_what_it_is_is_none(
    kind: int, code: int, error_type: str | None, expected: tuple[str | None, str | None]
) -> None:
    events = [raised(error_type, "x")] if error_type else []
    attributes: Attributes = {"http.method": "GET", "http.status_code": code}
    facts = read_facts(span("GET", attributes, kind=kind, status=STATUS_ERROR, events=events))
    assert (facts.get("status"), facts.get("status_reason")) == expected


@pytest.mark.parametrize(("code", "message"), [(200, None), (301, "HTTP 301"), (500, "HTTP 500")])
def test_a_code_that_tells_no_failure_is_none_of_a_server_that_failed(code: int, message: str | None) -> None:
    attributes: Attributes = {"http.method": "POST", "http.status_code": code}
    assert read_facts(span("POST", attributes, kind=KIND_SERVER, status=STATUS_ERROR)).get("error_message") == message


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("abort", {"status": "cancelled"}),
        ("timeout", {"weak_status": "failed", "error_type": "timeout"}),
        ("error", {"weak_status": "failed", "error_message": "network error: no response"}),
        ("load", {}),
    ],
)
def test_a_browsers_request_without_an_answer_ended_as_its_events_tell(event: str, told: Facts) -> None:
    attributes: Attributes = {"http.method": "GET", "http.status_code": 0}
    facts = read_facts(span("GET", attributes, kind=KIND_CLIENT, events=[Event(1_500, event, {})]))
    assert facts == {"kind": "http_client", **told}


def test_a_function_that_the_platform_invokes_again_is_one_task() -> None:
    invoked: Attributes = {"faas.invocation_id": "req-1", "faas.trigger": "other"}
    told = {"task_key": "invocation req-1", "entry": "resize"}
    assert read_facts(span("resize", invoked, kind=KIND_SERVER)) == told
    assert read_facts(span("resize", {"faas.execution": "req-1"}, kind=KIND_SERVER)) == told
    assert read_facts(span("resize", invoked, kind=KIND_CLIENT)) == {}


@pytest.mark.parametrize(
    ("kind", "told", "expected"),
    [
        (KIND_SERVER, {"response_flags": "DC", "error": "true", "http.status_code": "0"}, ("cancelled", None)),
        (KIND_SERVER, {"response_flags": "DC", "error": "true"}, ("cancelled", None)),
        (KIND_SERVER, {"response_flags": "DC", "http.status_code": "200"}, (None, None)),
        (
            KIND_CLIENT,
            {"response_flags": "UF,URX", "http.status_code": "503"},
            (None, "HTTP 503: upstream connection failure, upstream retry limit exceeded (UF,URX)"),
        ),
        (
            KIND_CLIENT,
            {"response_flags": "UT", "http.status_code": "504"},
            ("timed_out", "HTTP 504: upstream request timed out (UT)"),
        ),
        (
            KIND_CLIENT,
            {"response_flags": "-", "error": "true", "error.reason": "connection termination"},
            (None, "connection termination"),
        ),
        (KIND_CLIENT, {"response_flags": "-", "error": "true", "http.status_code": "101"}, ("completed", None)),
        (KIND_SERVER, {"response_flags": "-", "http.status_code": "503"}, (None, "HTTP 503")),
        (KIND_CLIENT, {"response_flags": "??", "error": "true"}, (None, None)),
    ],
)
def test_envoy_tells_by_letters_why_a_request_ended(
    kind: int, told: Attributes, expected: tuple[str | None, str | None]
) -> None:
    facts = read_facts(span("shop:80/*", {"http.method": "GET", **told}, kind=kind))
    assert (facts.get("status"), facts.get("error_message")) == expected


def test_an_exception_told_by_attributes_says_more_than_the_code_it_was_answered_with() -> None:
    told: Attributes = {
        "http.method": "GET",
        "http.status_code": "500",
        "error.type": "LoadError",
        "error.message": "no orders",
        "error.stack": "java.LoadError: no orders\nCaused by: java.net.ConnectException: refused\n",
    }
    facts = read_facts(span("GET", told, kind=KIND_SERVER, status=STATUS_ERROR))
    assert (facts["error_type"], facts["error_message"]) == ("LoadError", "no orders")
    assert facts["caused_by"] == ["java.net.ConnectException: refused"]


def test_grpc_tells_how_many_attempts_there_were_before() -> None:
    attempt: Attributes = {"previous-rpc-attempts": 1, "transparent-retry": False}
    told = {"kind": "rpc", "attempt": 2, "retry_expected": True}
    assert read_facts(span("Attempt.shop.Orders.Get", attempt)) == told
    message = "UNAVAILABLE, connection refused"
    failed = read_facts(span("Attempt.shop.Orders.Get", attempt, status=STATUS_ERROR, message=message))
    assert failed == {**told, "error_type": "UNAVAILABLE", "error_message": message}


def test_files_that_a_page_loads_are_named_for_what_they_are() -> None:
    scope = "@opentelemetry/instrumentation-document-load"
    fetched = span("resourceFetch", {"http.url": "https://shop.example/assets/app.js?v=1"}, scope=scope)
    assert read_facts(fetched) == {
        "kind": "http_client",
        "name": "resourceFetch /assets/app.js",
        "input": "https://shop.example/assets/app.js",
    }
    assert read_facts(span("documentLoad", {"http.url": "https://shop.example/"}, scope=scope)) == {}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"http.request.method": "HEAD", "http.response.status_code": 404, "error.type": "404"}, "completed"),
        ({"http.method": "HEAD", "http.status_code": 403}, None),
        ({"http.method": "GET", "http.status_code": 404}, None),
        ({"rpc.system": "aws-api", "rpc.method": "HeadObject", "http.status_code": 404}, "completed"),
        ({"rpc.system": "aws-api", "rpc.method": "GetObject", "http.status_code": 404}, None),
    ],
)
def test_the_question_whether_something_is_there_is_answered_by_404(sent: Attributes, status: str | None) -> None:
    for events in ([], [raised("NotFound", "UnknownError")]):
        facts = read_facts(span("ask", sent, kind=KIND_CLIENT, status=STATUS_ERROR, events=events))
        assert facts.get("status") == status
        assert facts.get("status_reason") == ("HTTP 404" if status else None)


def test_a_message_that_was_waited_for_in_vain_is_part_of_its_request() -> None:
    scope = "opentelemetry.instrumentation.fastapi"
    for name in ("GET /report http receive", "GET /report http send", "/chat websocket receive"):
        assert read_facts(span(name, scope=scope)) == {"fold": "parent"}
    assert "fold" not in read_facts(span("GET /http receive", scope=scope, kind=KIND_SERVER))
    assert "fold" not in read_facts(span("BackgroundTask send", scope=scope))
