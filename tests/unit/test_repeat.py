"""A read whose refusal passes is made once more, and nothing else is."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response

from spantree_api.errors import Unavailable
from spantree_api.http.error_answers import install_error_answers
from spantree_api.repeat import RepeatReads


def _asked(method: str, refusals: int, *, passes: bool) -> tuple[int, int]:
    """The status that a client gets, and how often the route was asked, where it refuses so often first."""
    app = FastAPI()
    install_error_answers(app)
    app.add_middleware(RepeatReads)
    attempts = 0

    async def route() -> Response:
        nonlocal attempts
        attempts += 1
        if attempts <= refusals:
            raise Unavailable("replica_conflict", "the standby gave it up", passes=passes)
        return Response("taken")

    app.add_api_route("/", route, methods=["GET", "POST"])

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api") as client:
            return await client.request(method, "/")

    answer: Any = asyncio.run(ask())
    if answer.status_code == 503:
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["error"]["code"] == "replica_conflict"
    return answer.status_code, attempts


@pytest.mark.parametrize(
    ("method", "refusals", "passes", "status", "attempts"),
    [
        ("GET", 0, True, 200, 1),
        ("GET", 1, True, 200, 2),
        ("GET", 2, True, 503, 2),
        ("GET", 1, False, 503, 1),
        ("POST", 1, True, 503, 1),
    ],
)
def test_what_is_repeated(method: str, refusals: int, passes: bool, status: int, attempts: int) -> None:
    assert _asked(method, refusals, passes=passes) == (status, attempts)
