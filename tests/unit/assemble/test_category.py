"""What kind of failure an error is, and which errors are the same one."""

from __future__ import annotations

import pytest
from tests.unit.assemble.traces import TRACE, span

from spantree_exporter.assemble import assemble
from spantree_exporter.assemble.category import category_of, category_of_failure, fingerprint_of
from spantree_exporter.facts import Facts


@pytest.mark.parametrize(
    ("error_type", "message", "category"),
    [
        ("asyncio.exceptions.CancelledError", "", "cancelled"),
        (None, "Awaited workflow order-5 was cancelled", "cancelled"),
        ("TimeoutError", "search backend timed out", "timeout"),
        ("celery.exceptions.SoftTimeLimitExceeded", None, "timeout"),
        ("openai.RateLimitError", "Error code: 429", "resource"),
        ("RuntimeError", "Error code: 413 - Rate limit exceeded for llama", "resource"),
        ("openai.AuthenticationError", "Incorrect API key provided", "authentication"),
        ("PermissionError", "[Errno 13]", "permission"),
        ("httpx.HTTPStatusError", "Client error '403 Forbidden' for url 'http://x'", "permission"),
        ("psycopg.errors.UndefinedTable", 'relation "t" does not exist', "query"),
        ("sqlalchemy.exc.IntegrityError", "UNIQUE constraint failed: orders.id", "query"),
        ("sqlite3.OperationalError", "no such table: orders", "query"),
        ("sqlite3.OperationalError", 'near "SELEC": syntax error', "query"),
        ("sqlalchemy.exc.OperationalError", "(sqlite3.OperationalError) no such column: a", "query"),
        ("pymysql.err.OperationalError", "(1054, \"Unknown column 'a' in 'field list'\")", "query"),
        ("sqlite3.OperationalError", "database is locked", "resource"),
        ("psycopg.OperationalError", "connection failed: FATAL: sorry, too many clients already", "resource"),
        ("psycopg.OperationalError", "the connection is closed", "network"),
        ("ConnectionError", "upstream reset (attempt 1)", "network"),
        ("httpx.HTTPStatusError", "Server error '503 Service Unavailable'", "network"),
        ("psycopg.errors.SerializationFailure", "could not serialize access", "resource"),
        ("psycopg.errors.DeadlockDetected", "deadlock detected", "resource"),
        ("org.springframework.dao.DuplicateKeyException", "orders", "query"),
        ("io.github.resilience4j.circuitbreaker.CallNotPermittedException", "'es' is OPEN", "network"),
        ("ssl.SSLCertVerificationError", "certificate verify failed", "network"),
        ("pydantic_ai.exceptions.UnexpectedModelBehavior", "exceeded max retries", "llm"),
        ("pydantic_core.ValidationError", "1 validation error", "validation"),
        ("ValueError", "empty outline", "validation"),
        ("TypeError", "search() got an unexpected keyword argument 'filter_metadata'", "code"),
        ("AttributeError", "'NoneType' object has no attribute 'id'", "code"),
        ("CardStolen", "card stolen", "unknown"),
        ("rate_limit_error", None, "resource"),
        ("authentication_error", None, "authentication"),
        ("invalid_request_error", None, "validation"),
        ("overloaded_error", None, "llm"),
        ("content_filter", None, "llm"),
        ("ERR_BAD_REQUEST", "Request failed with status code 404", "validation"),
        ("ERR_BAD_RESPONSE", "Request failed with status code 500", "network"),
        ("UND_ERR_SOCKET", "other side closed", "network"),
        ("CERT_HAS_EXPIRED", "certificate has expired", "network"),
        ("javax.net.ssl.SSLHandshakeException", "PKIX path building failed", "network"),
        ("*errors.errorString", "unexpected EOF", "network"),
        ("ER_DUP_ENTRY", "Duplicate entry '7' for key 'PRIMARY'", "query"),
        ("java.util.concurrent.RejectedExecutionException", "Task rejected", "resource"),
        ("org.springframework.dao.OptimisticLockingFailureException", "orders", "resource"),
        ("-32602", "Invalid params", "validation"),
        ("runtime.boundsError", "index out of range [3] with length 2", "code"),
        ("TypeError", "fetch failed", "network"),
        ("TypeError", "Failed to fetch (api.shop.example)", "network"),
        ("TypeError", "NetworkError when attempting to fetch resource.", "network"),
        ("TypeError", "Load failed", "network"),
        ("TypeError", "cannot fetch of undefined", "code"),
        ("23505", "23505", "query"),
        ("42501", "permission denied for table orders", "permission"),
        ("40P01", "deadlock detected", "resource"),
        ("57P01", "terminating connection due to administrator command", "network"),
        ("28P01", "no such user", "authentication"),
        ("ERROR", "23505", "unknown"),
        ("psycopg.errors.QueryCanceled", "canceling statement due to statement timeout", "timeout"),
        (
            "Microsoft.Data.SqlClient.SqlException",
            "Transaction (Process ID 5) was deadlocked on lock resources with another process.",
            "resource",
        ),
        ("Error", "Deadlock found when trying to get lock; try restarting transaction", "resource"),
        ("*pq.Error", "pq: could not serialize access due to concurrent update", "resource"),
        (None, None, "unknown"),
    ],
)
def test_the_category_of_an_error(error_type: str | None, message: str | None, category: str) -> None:
    assert category_of(error_type, message) == category


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 12345 not found", "order 98 not found"),
        ("no file /var/lib/a/b.txt", "no file /tmp/x/y/z.log"),
        ("id 773ef188e7c3a632dab1b33d487a895d gone", "id 0f3ef188e7c3a632dab1b33d487a8aaa gone"),
        ("object at 0x7fe3d159e0d0", "object at 0x7fe3d159fe10"),
        ("GET http://a/b?x=1 failed", "GET https://zz:80/c failed"),
        ("user bob@example.com denied", "user al.ice@example.org denied"),
        ("host 10.0.0.1:5432 refused", "host 192.168.1.20:80 refused"),
        ("550e8400-e29b-41d4-a716-446655440000 is gone", "11111111-e29b-41d4-a716-446655440abc is gone"),
        ("C:\\Users\\bob\\x.py line 3", "C:\\tmp\\y.py line 44"),
        ("took 3.5s for 12 rows", "took 10.25s for 1 rows"),
        ("boom\nTraceback 1", "boom\nanother traceback"),
    ],
)
def test_ids_numbers_paths_and_addresses_do_not_change_the_fingerprint(one: str, other: str) -> None:
    assert fingerprint_of("ValueError", one) == fingerprint_of("ValueError", other)


def test_another_class_or_another_text_is_another_error() -> None:
    assert fingerprint_of("ValueError", "no such key") != fingerprint_of("KeyError", "no such key")
    assert fingerprint_of("ValueError", "no such key") != fingerprint_of("ValueError", "no such value")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP 404", "HTTP 500"),
        ("exit code 1", "exit code 137"),
        ("exit code -9", "exit code -15"),
        ("Command 'pack' returned non-zero exit status 1.", "Command 'pack' returned non-zero exit status 2."),
        ("Error code: 429", "Error code: 500"),
        ("server answered with status code 503", "server answered with status code 404"),
        ("[Errno 13]", "[Errno 2]"),
    ],
)
def test_codes_tell_errors_apart(one: str, other: str) -> None:
    assert fingerprint_of(None, one) != fingerprint_of(None, other)


def test_a_code_is_no_id() -> None:
    assert fingerprint_of(None, "promo code 123 is unknown") == fingerprint_of(None, "promo code 77 is unknown")
    assert fingerprint_of(None, "HTTP 404 for order 12") == fingerprint_of(None, "HTTP 404 for order 13")
    assert fingerprint_of(None, "error code 20261129") == fingerprint_of(None, "error code 20261130")


def test_what_no_error_tells_the_status_does() -> None:
    assert category_of_failure("timed_out", None, None) == "timeout"
    assert category_of_failure("cancelled", None, "the shop is closed") == "cancelled"
    assert category_of_failure("timed_out", "ConnectionError", "refused") == "network"
    assert category_of_failure("failed", None, None) == "unknown"


@pytest.mark.parametrize(
    ("code", "category"),
    [
        ("ExpiredTokenException", "authentication"),
        ("AccessDeniedException", "permission"),
        ("ThrottlingException", "resource"),
        ("ServiceQuotaExceededException", "resource"),
        ("ValidationException", "validation"),
        ("ServiceUnavailableException", "network"),
        ("ModelTimeoutException", "timeout"),
        ("OddException", "unknown"),
    ],
)
def test_a_code_that_awss_client_quotes_tells_more_than_its_class(code: str, category: str) -> None:
    """traceloop/openllmetry#2076: a token of AWS that had run out."""
    said = f"An error occurred ({code}) when calling the Converse operation: no"
    assert category_of("botocore.exceptions.ClientError", said) == category
    assert category_of("*smithy.OperationError", f"operation error Bedrock: Converse, api error {code}: no") == category


@pytest.mark.parametrize(
    ("error_type", "message", "code", "category"),
    [
        ("AI_APICallError", "the provider said no", 400, "validation"),
        ("AI_APICallError", "the provider said no", 401, "authentication"),
        ("AI_APICallError", "the provider said no", 403, "permission"),
        ("AI_APICallError", None, 429, "resource"),
        ("openai.APIStatusError", "the provider said no", 429, "resource"),
        ("AI_APICallError", "the provider said no", 502, "network"),
        ("ReadTimeout", "the provider said nothing", 502, "timeout"),
    ],
)
def test_a_code_beside_an_error_of_a_providers_client_tells_its_category(
    error_type: str, message: str | None, code: int, category: str
) -> None:
    """vercel/ai#20643: all that is refused has one class."""
    assert category_of_failure("failed", error_type, message, f"HTTP {code}") == category


def test_errors_that_tell_nothing_are_those_of_their_step() -> None:
    def fingerprint(name: str, told: Facts) -> str | None:
        execution = assemble([span(1, None, (0, 9), name, failed=True, facts=told)], TRACE).execution
        assert execution.first_failed_span_id == 1
        return execution.error_fingerprint

    nothing: list[Facts] = [{}, {"error_message": "HTTP 503"}, {"error_type": "503", "error_message": "HTTP 503"}]
    for told in nothing:
        assert fingerprint("GET /users/{id}/mails", told) != fingerprint("GET /shops/{id}/orders", told)
        assert fingerprint("send mail 7", told) == fingerprint("send mail 8", told)
    own: Facts = {"error_type": "ConnectError", "error_message": "refused"}
    assert fingerprint("GET /users", own) == fingerprint("GET /orders", own)
