"""Which clients get compressed answers."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from spantree_api.http.compression import Compression


async def _long(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 2_000})


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, gzip ; q=0.5", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0", None),
        ("br, gzip; q=0.000, identity", None),
        ("x-gzipped", None),
        ("identity", None),
        ("", None),
    ],
)
def test_an_answer_is_compressed_for_who_takes_it(accepted: str, encoding: str | None) -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Compression(_long)), base_url="http://h") as client:
            return await client.get("/", headers={"accept-encoding": accepted})

    answer = asyncio.run(ask())
    assert (answer.headers.get("content-encoding"), answer.text) == (encoding, "x" * 2_000)
    # A cache in between keeps both apart.
    assert answer.headers["vary"] == "Accept-Encoding"
