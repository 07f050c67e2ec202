"""Status and class come from types, never from what a message says."""

from __future__ import annotations

import pytest
from tests.unit.facts.spans import raised, span

from spantree_exporter.assemble.category import category_of
from spantree_exporter.facts import read_facts
from spantree_exporter.span import STATUS_ERROR


@pytest.mark.parametrize(
    ("error_type", "message", "status", "category"),
    [
        ("asyncio.exceptions.CancelledError", "", "cancelled", "cancelled"),
        ("java.util.concurrent.CancellationException", "x", "cancelled", "cancelled"),
        ("System.OperationCanceledException", "The operation was canceled.", "cancelled", "cancelled"),
        ("AbortError", "This operation was aborted", "cancelled", "cancelled"),
        ("*errors.errorString", "context canceled", "cancelled", "cancelled"),
        ("*errors.errorString", "order was cancelled", None, "unknown"),
        ("System.Threading.Tasks.TaskCanceledException", "HttpClient.Timeout of 5 seconds elapsing", None, "timeout"),
        ("context.deadlineExceededError", "context deadline exceeded", None, "timeout"),
        ("tokio::time::error::Elapsed", "deadline has elapsed", None, "timeout"),
        ("java.net.SocketTimeoutException", "Read timed out", None, "timeout"),
        ("ETIMEDOUT", "connect", None, "timeout"),
        ("shop.RefundError", "order 77 was cancelled by its customer", None, "unknown"),
        ("GraphInterrupt", "", "waiting", "unknown"),
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
