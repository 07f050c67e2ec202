"""Rows for pages: a shop's workflows over two weeks, with failures, retries, open runs and a conversation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tests.api_rows import S, Trace, node, trace

from spantree_exporter.rows import Edge, Node

_HOUR_NS = 3_600 * S
_DAY_NS = 24 * _HOUR_NS
_STEPS = ("validate", "check stock", "check credit", "score fraud", "collect checks", "reserve item")
_BUSY = {"error_type": "payments.ProcessorBusy", "error_message": "processor busy, 7000 cents not charged"}
_KEYS = {"error_category": "rate_limit", "error_fingerprint": "busy"}


def order(number: int, start_ns: int, *, fails: bool = False, **changes: Any) -> Trace:
    """A run of `order fulfilment` of 25 nodes: parallel checks, a join, retries, a condition; charging may fail."""
    at = start_ns
    root = node(1, "order fulfilment", kind="workflow", started_ns=at, ended_ns=at + 3 * S, on_critical_path=True)
    nodes: list[Node] = [root]
    edges: list[Edge] = []
    for index, name in enumerate(_STEPS, start=2):
        began = at + (index - 2) * 300_000_000
        nodes.append(node(index, name, 1, started_ns=began, ended_ns=began + 280_000_000, on_critical_path=index < 4))
        for call in range(2):
            child = index * 10 + call
            nodes.append(
                node(child, f"SELECT {name}", index, kind="db", started_ns=began + 5_000_000,
                     ended_ns=began + 90_000_000, output='{"rows": 3}')
            )  # fmt: skip
    edges += [Edge(2, 0, check, 0, "parallel", None, "declared") for check in (3, 4, 5)]
    edges += [Edge(check, 0, 6, 0, "join", None, "declared") for check in (3, 4, 5)]
    edges.append(Edge(6, 0, 7, 0, "conditional", "all passed", "declared"))
    previous = 7
    for attempt in range(1, 4):
        last = attempt == 3
        began = at + 1_800_000_000 + attempt * 250_000_000
        failed = fails or not last
        nodes.append(
            node(
                100 + attempt, "charge card", 1, kind="task", started_ns=began, ended_ns=began + 200_000_000,
                attempt=attempt, task_key="charge card", max_attempts=3, retry_expected=True, on_critical_path=True,
                status="completed" if not failed else "failed" if last else "retried",
                input='{"card": "tok_1", "amount_cents": 7000}', **(_BUSY | _KEYS if failed else {}),
            )
        )  # fmt: skip
        edges.append(Edge(previous, 0, 100 + attempt, 0, "retry" if attempt > 1 else "sequential", None, "declared"))
        previous = 100 + attempt
    logged_ns = at + 2 * S
    nodes += [node(one, "log", previous, started_ns=logged_ns, ended_ns=logged_ns + 1_000_000) for one in (200, 201)]
    nodes.append(node(300, "ship", 1, status="skipped" if fails else "completed", started_ns=at + 2_900_000_000,
                      ended_ns=at + 3 * S))  # fmt: skip
    edges.append(Edge(previous, 0, 300, 0, "sequential", None, "declared"))
    for one in nodes:
        one.workflow_name = "order fulfilment"
    if fails:
        root.status = "failed"
        root.error_type, root.error_message = _BUSY["error_type"], _BUSY["error_message"]
    values: dict[str, Any] = {
        "name": "order fulfilment", "workflow_name": "order fulfilment", "entry": "POST /orders", "started_ns": at,
        "ended_ns": at + 3 * S, "last_seen_ns": at + 4 * S, "service": "orders", "services": ["orders", "payments"],
        "run_id": f"order-{number}", "user_id": ("ada", "linus", "grace")[number % 3], "project": "shop",
    }  # fmt: skip
    if fails:
        values |= {
            "status": "failed", "first_failed_span_id": 103, "first_failed_ordinal": 0,
            "first_failed_name": "charge card", "first_failed_error_type": _BUSY["error_type"],
            "first_failed_error_message": _BUSY["error_message"],
            "error_summary": f"charge card: ProcessorBusy: {_BUSY['error_message']}", **_KEYS,
        }  # fmt: skip
    return trace(number, nodes, edges, **(values | changes))


def small(number: int, workflow: str, start_ns: int, status: str = "completed", **changes: Any) -> Trace:
    """A run of two nodes."""
    ended_ns = None if status in {"running", "pending", "waiting"} else start_ns + (200 + number % 97 * 9) * 1_000_000
    failing: dict[str, Any] = {}
    if status == "failed":
        failing = {
            "first_failed_span_id": 2, "first_failed_ordinal": 0, "first_failed_name": "think",
            "first_failed_error_type": "openai.APITimeoutError", "first_failed_error_message": "request timed out",
            "error_summary": "think: APITimeoutError: request timed out", "error_category": "timeout",
            "error_fingerprint": "slow",
        }  # fmt: skip
    nodes = [
        node(1, workflow, kind="agent", status=status, started_ns=start_ns, ended_ns=ended_ns),
        node(2, "think", 1, kind="llm", status=status, started_ns=start_ns, ended_ns=ended_ns, model="small-1",
             input_tokens=420, output_tokens=64),
    ]  # fmt: skip
    values: dict[str, Any] = {
        "name": workflow, "workflow_name": workflow, "kind": "agent", "status": status, "started_ns": start_ns,
        "ended_ns": ended_ns, "last_seen_ns": start_ns + S if ended_ns is None else ended_ns, "service": "assistant",
        "services": ["assistant"], "input_tokens": 420, "output_tokens": 64, "cost_usd": 0.0031,
    }  # fmt: skip
    return trace(number, nodes, **(values | failing | changes))


def loop(number: int, start_ns: int) -> Trace:
    """A run of an agent that thinks twice and searches once between."""
    steps = (("think", "llm", 1), ("search", "tool", 1), ("think", "llm", 2))
    nodes = [node(1, "agent", kind="agent", started_ns=start_ns, ended_ns=start_ns + 3 * S)]
    for at, (name, kind, turn) in enumerate(steps):
        began = start_ns + at * S
        nodes.append(node(2 + at, name, 1, kind=kind, iteration=turn, started_ns=began, ended_ns=began + S // 2))
    return trace(number, nodes, name="agent", workflow_name="agent", started_ns=start_ns, ended_ns=start_ns + 3 * S)


def two_weeks(now_ns: int, first: int = 1_000) -> Iterator[Trace]:
    """What ran in the two weeks before `now_ns`; failures become more on the last two days."""
    chance = random.Random(7)  # no secret
    number = first
    for day in range(14, 0, -1):
        for _ in range(chance.randint(5, 9)):
            start_ns = now_ns - day * _DAY_NS + chance.randint(0, 23 * 3_600) * S
            yield small(number, "triage agent", start_ns, "failed" if chance.random() < 0.06 else "completed")
            number += 1
        for _ in range(chance.randint(2, 4)):
            start_ns = now_ns - day * _DAY_NS + chance.randint(0, 23 * 3_600) * S
            yield order(number, start_ns, fails=chance.random() < (0.4 if day < 3 else 0.08))
            number += 1
        yield small(number, "nightly report", now_ns - day * _DAY_NS + 2 * _HOUR_NS)
        number += 1


def large(number: int, nodes: int, start_ns: int) -> Trace:
    """An execution of that many nodes: groups of a hundred below the root, every thousandth of them failed."""
    rows = [node(1, "large run", kind="workflow", started_ns=start_ns, ended_ns=start_ns + nodes * 1_000_000)]
    parent = 1
    for at in range(2, nodes + 1):
        began = start_ns + at * 1_000_000
        if at % 100 == 2:
            parent = at
            rows.append(node(at, f"group {at // 100}", 1, started_ns=began, ended_ns=began + 99_000_000))
        else:
            failed = {"status": "failed", "error_type": "ValueError"} if at % 1_000 == 0 else {}
            rows.append(node(at, f"item {at % 7}", parent, started_ns=began, ended_ns=began + 900_000, **failed))
    return trace(
        number, rows, name="large run", workflow_name="large run", status="partial", started_ns=start_ns,
        ended_ns=start_ns + nodes * 1_000_000,
    )  # fmt: skip
