"""The shop's front door: takes orders, approvals and questions. `python -m spantree_deploy.demo.orders`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import create_engine

from spantree_deploy.demo import serving, telemetry
from spantree_deploy.demo.assistant import Assistant
from spantree_deploy.demo.fulfilment import Fulfilment, OrderFailedError, OrderRefusedError, Outcome
from spantree_deploy.demo.order_store import Order, OrderStore
from spantree_deploy.demo.stand_ins import PretendCardProcessor, PretendModel

TRACE_HEADER: Final = "x-trace-id"
"""Response header with the id of the trace, which is the execution's id in spantree."""
PRICES_CENTS: Final = {"tea": 600, "cup": 900, "teapot": 3_500, "samovar": 60_000}


class NewOrder(BaseModel):
    """What a customer sends."""

    customer: str
    items: dict[str, int] = Field(description="how many of each: tea, cup, teapot, samovar")
    card: str = "4000-0001"
    express: bool = False
    gift: bool = False
    model_overloaded: bool = Field(default=False, description="let the pretended model refuse to write the note")


class Approval(BaseModel):
    """A person's yes."""

    by: str


class Question(BaseModel):
    """One turn of a conversation with the shop's assistant."""

    conversation_id: str
    customer: str
    order_id: str


def create_app(store: OrderStore, warehouse: httpx.AsyncClient) -> FastAPI:
    """The service over tables that are set up; `warehouse` is closed with it."""
    model = PretendModel()
    fulfilment = Fulfilment(store, warehouse, PretendCardProcessor(), model)
    assistant = Assistant(store, model)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with warehouse:
            yield

    app = FastAPI(title="spantree demo: orders", lifespan=lifespan)

    @app.exception_handler(OrderFailedError)
    async def failed(_: Request, error: OrderFailedError) -> JSONResponse:
        refused = isinstance(error.__cause__, OrderRefusedError)
        return JSONResponse(
            {"order_id": error.order_id, "error": str(error.__cause__)},
            status_code=422 if refused else 502,
            headers={TRACE_HEADER: error.trace_id},
        )

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/orders")
    async def place(new: NewOrder) -> JSONResponse:
        unknown = sorted(set(new.items) - set(PRICES_CENTS))
        if unknown:
            raise HTTPException(422, f"the shop does not sell {', '.join(unknown)}; it sells {', '.join(PRICES_CENTS)}")
        total_cents = sum(PRICES_CENTS[sku] * count for sku, count in new.items.items())
        order = Order(id=f"order-{uuid.uuid4().hex[:8]}", total_cents=total_cents, **new.model_dump())
        return _answer(await fulfilment.start(order))

    @app.post("/orders/{order_id}/approval")
    async def approve(order_id: str, approval: Approval) -> JSONResponse:
        waiting = await asyncio.to_thread(store.take_waiting, order_id)
        if waiting is None:
            raise HTTPException(409, f"order {order_id} does not wait for approval")
        return _answer(await fulfilment.resume(waiting, approval.by))

    @app.post("/assistant")
    async def ask(question: Question) -> JSONResponse:
        answer = await assistant.answer(question.conversation_id, question.customer, question.order_id)
        return JSONResponse({"answer": answer.text}, headers={TRACE_HEADER: answer.trace_id})

    return app


def _answer(outcome: Outcome) -> JSONResponse:
    return JSONResponse(
        {"order_id": outcome.order_id, "state": outcome.state, "note": outcome.note},
        status_code=202 if outcome.state == "waiting" else 200,
        headers={TRACE_HEADER: outcome.trace_id},
    )


def main() -> None:
    """Serve until told to stop."""
    parser = serving.options("spantree_deploy.demo.orders", "The shop of the spantree demo.")
    parser.add_argument("--inventory-url", required=True, help="where the inventory service listens")
    given = parser.parse_args()
    listener = serving.listen(given.host, given.port)
    engine = create_engine(serving.engine_url(given.database_url))
    store = OrderStore(engine)
    store.set_up()
    telemetry.configure("orders")
    app = create_app(store, httpx.AsyncClient(base_url=given.inventory_url, timeout=10))
    telemetry.instrument(app, engine)
    serving.serve(app, listener)


if __name__ == "__main__":
    main()
