"""Pages ask the API within its own process, whatever the form of its answers."""

from __future__ import annotations

import asyncio

import httpx
from fastapi import FastAPI, Request, Response

from spantree_api.http.responses import json_parts
from spantree_api.pages.in_process import ask


def test_a_large_answer_that_is_sent_in_parts_is_read_whole_by_a_page() -> None:
    app = FastAPI()
    texts = ["x" * 1_000_000] * 3

    @app.get("/api/v1/large")
    async def large() -> Response:
        return json_parts([b'["', b'","'.join(text.encode() for text in texts), b'"]'])

    @app.get("/page")
    async def page(request: Request) -> int:
        return len(await ask(request, "/large"))

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api") as client:
            return await asyncio.wait_for(client.get("/page"), 60)

    assert asyncio.run(get()).json() == 3
