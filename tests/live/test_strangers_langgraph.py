"""A LangGraph agent that has never heard of spantree or OpenTelemetry, in its own environment, by `spantree run`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.live.conftest import PYTHON, Spantree
from tests.waiting import wait_until

AGENT = """
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    question: str
    route: str
    answer: str


def classify(state):
    return {"route": "refund" if "money" in state["question"] else "chat"}


def refund(state):
    raise RuntimeError("the payment service said no")


def chat(state):
    return {"answer": "hello"}


graph = StateGraph(State)
graph.add_node("classify", classify)
graph.add_node("refund", refund)
graph.add_node("chat", chat)
graph.add_edge(START, "classify")
graph.add_conditional_edges("classify", lambda state: state["route"], ["refund", "chat"])
graph.add_edge("refund", END)
graph.add_edge("chat", END)
support = graph.compile(name="support")
print(support.invoke({"question": "hi"})["answer"])
support.invoke({"question": "my money back"})
"""


def test_an_agents_run_is_told_with_its_nodes_and_what_failed_first(spantree: Spantree, tmp_path: Path) -> None:
    (tmp_path / "helpdesk.py").write_text(AGENT)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    command = [sys.executable, "-m", "spantree_deploy", "run", "--endpoint", spantree.otlp_url, "--"]
    done = subprocess.run(
        [*command, "python", "helpdesk.py"],
        cwd=tmp_path,
        env={**inherited, "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "hello\n"), done.stderr
    found: list[Any] = []

    def is_told() -> bool:
        found[:] = spantree.get("/executions?service=helpdesk")["executions"]
        return [one["status"] for one in found] == ["failed"]

    wait_until(is_told, 30, "the run of the agent is told as failed")
    tree = spantree.tree(found[0]["execution_id"])["tree"]
    steps = [(node["name"], node["status"]) for node in tree["nodes"]]
    assert steps == [
        ("helpdesk", "failed"),
        ("support", "completed"),
        ("classify", "completed"),
        ("chat", "completed"),
        ("support", "failed"),
        ("classify", "completed"),
        ("refund", "failed"),
    ]
    assert found[0]["first_failed_node"]["name"] == "refund"
    assert found[0]["first_failed_node"]["error_message"] == "the payment service said no"
