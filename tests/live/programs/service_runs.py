"""A FastAPI service over SQLAlchemy, called through httpx, all three instrumented officially: `service_runs.py`.

With `new` as argument it sends the stable names of the HTTP and database conventions instead of the old ones.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from ledger import Ledger, publish, start

if "new" in sys.argv:
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http,database"

import httpx
import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import StaticPool

ledger = Ledger()
ledger.settle = ledger.await_ends
provider = start("live-shop", ledger)
tracer = trace.get_tracer("shop")
HTTPXClientInstrumentor().instrument()
engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
SQLAlchemyInstrumentor().instrument(engine=engine)
app = FastAPI()
base_url = ""


@app.post("/orders/{order_id}")
def order(order_id: int) -> dict[str, int]:
    """Insert an order; one that exists is a conflict."""
    with tracer.start_as_current_span("reserve", attributes={"user.id": "u-1", "session.id": "s-1"}):
        try:
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO orders (id) VALUES (:id)"), {"id": order_id})
        except IntegrityError as exc:
            raise HTTPException(409, "exists") from exc
    return {"id": order_id}


@app.get("/broken")
def broken() -> None:
    """Query a table that is not there."""
    with engine.begin() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


@app.get("/refused")
def refused() -> None:
    """Answer 503 because a supplier does."""
    answer = httpx.get(base_url + "/supplier")
    raise HTTPException(503, f"the supplier says {answer.status_code}")


@app.get("/supplier")
def supplier() -> None:
    """A supplier that is down."""
    raise HTTPException(502, "down")


@app.get("/later")
def later(tasks: BackgroundTasks) -> str:
    """Answer at once and fail afterwards."""
    tasks.add_task(mail)
    return "ok"


def mail() -> None:
    """Send a mail that cannot be sent."""
    with tracer.start_as_current_span("mail"):
        raise ConnectionRefusedError("smtp.internal:25")


FastAPIInstrumentor.instrument_app(app)


def call(method: str, path: str) -> None:
    """One request of an uninstrumented client, so that the service's span is the root."""
    try:
        urllib.request.urlopen(urllib.request.Request(base_url + path, method=method), timeout=10).read()
    except urllib.error.HTTPError as error:
        error.read()


def main() -> None:
    """Serve, and call what is served."""
    global base_url
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    base_url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    runs: tuple[tuple[str, str, str, str, list[str], dict[str, Any]], ...] = (
        ("accepted", "completed", "POST", "/orders/1", ["reserve"], {"user_id": "u-1", "conversation_id": "s-1"}),
        ("conflict", "completed", "POST", "/orders/1", [], {"user_id": "u-1"}),
        ("broken", "failed", "GET", "/broken", [], {"error_category": "query"}),
        ("refused", "failed", "GET", "/refused", [], {}),
        ("later", "failed", "GET", "/later", [], {"first_failed": "mail", "error_category": "network"}),
        ("missing", "completed", "GET", "/nowhere", [], {}),
    )
    for name, status, method, path, nodes, told in runs:
        with ledger.run(name, status=status, told=told):
            for node in nodes:
                ledger.note(node)
            call(method, path)
    server.should_exit = True
    thread.join()
    provider.shutdown()
    publish(ledger)


main()
