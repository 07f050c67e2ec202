"""Which class an error is of."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from spantree_exporter.polling import ErrorClass, class_of


class ApiError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("no")
        self.response = SimpleNamespace(status_code=status)


class ConnectTimeout(Exception):
    pass


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "TIMEOUT"),
        (ConnectTimeout("x"), "TIMEOUT"),
        (ApiError(504), "TIMEOUT"),
        (ApiError(401), "AUTHENTICATION"),
        (ApiError(403), "PERMISSION"),
        (PermissionError("mine"), "PERMISSION"),
        (ApiError(429), "API"),
        (ApiError(500), "API"),
        (ApiError(507), "RESOURCE"),
        (MemoryError(), "RESOURCE"),
        (ConnectionResetError(), "NETWORK"),
        (socket.gaierror(-2, "Name or service not known"), "NETWORK"),
        (OSError(113, "No route to host"), "NETWORK"),
        (ValueError("boom"), "UNKNOWN"),
        (Unreadable(), "UNKNOWN"),
        ("the query took part of a table that was not found", "QUERY"),
        ('relation "sales" does not exist', "QUERY"),
        ("Error: quota exceeded", "RESOURCE"),
        ("invalid credentials", "AUTHENTICATION"),
        ("Access denied for user", "PERMISSION"),
        ("HTTP 502 from upstream", "API"),
        ("connection refused", "NETWORK"),
        ("job ran into a deadline exceeded", "TIMEOUT"),
        ("?", "UNKNOWN"),
        ("a" * 5000 + "timeout", "UNKNOWN"),
    ],
    ids=repr,
)
def test_an_errors_class(error: BaseException | str, expected: ErrorClass) -> None:
    assert class_of(error) == expected
