"""Pages ask the API within its own process, whatever the form of its answers, some questions at a time."""

from __future__ import annotations

import asyncio

import httpx
from fastapi import FastAPI, Request, Response

from spantree_api.http.responses import json_parts
from spantree_api.pages.in_process import NotAnswered, ask, ask_together


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


def test_a_page_asks_its_questions_together_and_three_at_a_time() -> None:
    app = FastAPI()
    begun: list[int] = []
    now = most = 0

    @app.get("/api/v1/slow/{number}")
    async def slow(number: int) -> Response:
        nonlocal now, most
        begun.append(number)
        now += 1
        most = max(most, now)
        for _ in range(20):
            await asyncio.sleep(0)
        now -= 1
        return json_parts([str(number).encode()]) if number < 8 else Response(b'{"error":{}}', 422)

    @app.get("/page/{asked}")
    async def page(request: Request, asked: int) -> list[int]:
        try:
            return await ask_together(request, *((f"/slow/{number}", None) for number in range(asked)))
        except NotAnswered as refusal:
            return [refusal.status, now]

    async def get(path: str) -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api") as client:
            answer: list[int] = (await asyncio.wait_for(client.get(path), 60)).json()
            return answer

    assert asyncio.run(get("/page/7")) == [0, 1, 2, 3, 4, 5, 6]
    assert most == 3
    begun.clear()
    now = 0
    refused = asyncio.run(get("/page/20"))
    assert refused[0] == 422
    assert len(begun) < 13, "what comes after a refusal is not asked any more"
