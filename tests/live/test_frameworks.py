"""Agents, services and queues under their real instrumentations, told as they happened."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from tests.live.account import Json, differences
from tests.live.conftest import PROGRAMS, PYTHON, Spantree
from tests.waiting import wait_until

Observe = Callable[..., list[Json]]


def untold(spantree: Spantree, runs: list[Json]) -> dict[str, list[str]]:
    """The differences between what is told and what happened, by run; of runs told right nothing."""
    told = {run["name"]: differences(run, map(spantree.tree, run["trace_ids"])) for run in runs}
    return {name: found for name, found in told.items() if found}


@pytest.mark.parametrize("attributes_version", ["5", "2"])
def test_pydantic_ai(attributes_version: str, spantree: Spantree, observed: Observe) -> None:
    """Tools, retries, output checks, nested agents, fallbacks, limits, approvals, streams, cancellation."""
    assert untold(spantree, observed("pydantic_ai_runs.py", attributes_version)) == {}


# Each with what its spans do not tell.
AGENTS_UNTOLD: dict[str, dict[str, list[str]]] = {
    "logfire": {},
    "openinference": {
        "tools": ["conversation_id None, was 'g-1'"],
        "joint": ["conversation_id None, was 'g-joint'"],
    },
    "traceloop": {
        "tools": ["conversation_id None, was 'g-1'", "workflow_name 'Agent Workflow', was 'counter'"],
        "guarded_fine": ["node ('no_hacking', 1, 'completed', None) is not told"],
        "guarded_blocked": ["node ('no_hacking', 1, 'completed', None) is not told", "status completed, was failed"],
        "guarded_rude": ["node ('no_hacking', 1, 'completed', None) is not told"],
        "joint": ["conversation_id None, was 'g-joint'", "workflow_name 'Agent Workflow', was 'joint work'"],
    },
}


@pytest.mark.parametrize("instrumentation", sorted(AGENTS_UNTOLD))
def test_openai_agents(instrumentation: str, spantree: Spantree, observed: Observe) -> None:
    """Tools, handoffs, failures that end a run and those that do not, guardrails, agents as tools."""
    assert untold(spantree, observed("openai_agents_runs.py", instrumentation)) == AGENTS_UNTOLD[instrumentation]


@pytest.mark.parametrize("instrumentation", ["official", "traceloop"])
def test_openai_sdk(instrumentation: str, spantree: Spantree, observed: Observe) -> None:
    """Completions, tools, streams, embeddings, refusals of a service that is a local fake."""
    assert untold(spantree, observed("openai_runs.py", instrumentation)) == {}


@pytest.mark.parametrize("vendor", ["traceloop", "langfuse", "logfire"])
def test_decorators_of_vendors(vendor: str, spantree: Spantree, observed: Observe) -> None:
    """One program under the decorators of three SDKs."""
    assert untold(spantree, observed("sdk_runs.py", vendor)) == {}


@pytest.mark.parametrize("names", ["old", "new"])
def test_fastapi_and_sqlalchemy(names: str, spantree: Spantree, observed: Observe) -> None:
    """Requests answered, refused, failed, and failed after the answer, by either generation of attribute names."""
    runs = observed("service_runs.py", names)
    assert untold(spantree, runs) == {}
    accepted = spantree.tree(runs[0]["trace_ids"][0])
    assert accepted["entry"] == "POST /orders/{order_id}"
    assert [(node["name"], node["kind"], node["depth"]) for node in accepted["tree"]["nodes"]] == [
        ("POST /orders/{order_id}", "http_server", 0),
        ("reserve", "function", 1),
        ("INSERT", "db", 2),
    ]


def test_celery(spantree: Spantree, observed: Observe) -> None:
    """Chains, chords, retries and failures through the in-memory broker."""
    assert untold(spantree, observed("celery_runs.py")) == {}


def test_strands(spantree: Spantree, observed: Observe) -> None:
    """Agents, graphs and a swarm."""
    assert untold(spantree, observed("strands_runs.py")) == {}


@pytest.mark.parametrize("framework", ["agent_framework", "llama_index", "haystack"])
def test_flows(framework: str, spantree: Spantree, observed: Observe) -> None:
    """Chains, branches, choices, loops, retries and failures of frameworks whose steps pass values on."""
    assert untold(spantree, observed("flow_runs.py", framework)) == {}


def statuses(tree: Any) -> dict[str, str]:
    """The statuses of a tree's nodes by name, the execution's own under ""."""
    return {node["name"]: node["status"] for node in tree["tree"]["nodes"]} | {"": tree["status"]} if tree else {}


@pytest.mark.parametrize("killed", [False, True], ids=["finished", "killed"])
def test_pending_spans_of_logfire(killed: bool, spantree: Spantree) -> None:
    """What runs is told while it runs; what ended replaces it; what was killed stays as it was last seen."""
    process = subprocess.Popen(
        [str(PYTHON), str(PROGRAMS / "pending_run.py")],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": spantree.otlp_url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        trace_id = process.stdout.readline().strip()
        running = {"": "running", "import of prices.csv": "running", "read": "completed", "write": "running"}
        wait_until(lambda: statuses(spantree.tree(trace_id)) == running, 20, f"{running} is told")
        if killed:
            process.kill()
            process.wait(10)
            wait_until(spantree.quiet, 20, "nothing more is to come")
            assert statuses(spantree.tree(trace_id)) == running
            return
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.wait(20) == 0
        ended = dict.fromkeys(running, "completed")
        wait_until(lambda: statuses(spantree.tree(trace_id)) == ended, 20, f"{ended} is told")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
