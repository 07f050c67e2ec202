"""Celery over its in-memory broker, with a worker in a thread: chains, groups, chords, retries, failures."""

from __future__ import annotations

from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker
from ledger import Ledger, publish, start
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor

ledger = Ledger()
note = ledger.note
provider = start("live-celery", ledger)
CeleryInstrumentor().instrument()
tracer = trace.get_tracer("shop")
app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.task_default_queue = "live"
app.conf.broker_transport_options = {"polling_interval": 0.01}


@app.task(name="shop.add")
def add(a: int, b: int) -> int:
    """Add."""
    note("shop.add")
    return a + b


@app.task(name="shop.total")
def total(numbers: list[int]) -> int:
    """Sum."""
    note("shop.total")
    return sum(numbers)


@app.task(name="shop.broken")
def broken() -> None:
    """Fail."""
    note("shop.broken", "failed", "ZeroDivisionError")
    _ = 1 / 0


@app.task(bind=True, name="shop.flaky", max_retries=3)
def flaky(self: object, failures: int) -> str:
    """Fail some times, then succeed."""
    tried = self.request.retries + 1  # type: ignore[attr-defined]
    if tried <= failures:
        last = tried > 3
        note("shop.flaky", "failed" if last else "retried", attempt=tried)
        raise self.retry(exc=ConnectionError("gateway down"), countdown=0.01)  # type: ignore[attr-defined]
    note("shop.flaky", attempt=tried)
    return "ok"


@app.task(name="shop.parent")
def parent() -> None:
    """Send another task."""
    note("shop.parent")
    add.delay(1, 1)


def waited(result: object) -> None:
    """Wait for a result; a failure is part of the run."""
    result.get(timeout=20, propagate=False, interval=0.02)  # type: ignore[attr-defined]


def main() -> None:
    """Start the worker, send tasks, wait for each."""
    # perform_ping_check would need a task of its own to be registered.
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="CRITICAL"):
        with ledger.run("chain") as run, tracer.start_as_current_span("order"):
            run.edges = [("shop.add", "shop.total", "join", None)]
            waited(chain(group(add.s(1, 2), add.s(3, 4)), total.s())())
        with ledger.run("chord") as run, tracer.start_as_current_span("settle"):
            run.edges = [("shop.add", "shop.total", "join", None)]
            waited(chord([add.s(1, 2), add.s(3, 4), add.s(5, 6)])(total.s()))
        with ledger.run("alone"):
            waited(add.delay(1, 2))
        with ledger.run("broken", status="failed") as run:
            run.told = {"first_failed": "shop.broken"}
            waited(broken.delay())
        with ledger.run("broken_behind", status="failed") as run, tracer.start_as_current_span("POST /orders"):
            run.told = {"first_failed": "shop.broken"}
            waited(broken.delay())
        with ledger.run("retried"):
            waited(flaky.delay(2))
        with ledger.run("given_up", status="failed"):
            waited(flaky.delay(9))
        with ledger.run("parent"):
            waited(parent.delay())
    provider.shutdown()
    publish(ledger)


main()
