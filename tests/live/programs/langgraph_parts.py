"""What the LangGraph programs are made of. Imported after LangChain is instrumented, like all that imports it."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langgraph.graph import StateGraph
from langgraph_instrumentation import ledger

step, note = ledger.step, ledger.note


class State(TypedDict, total=False):
    """What all graphs here pass on."""

    text: str
    seen: Annotated[list[str], operator.add]
    tries: int


def plain(name: str) -> Callable[[State], State]:
    """A step that only says that it was there."""
    return step(name, lambda state: {"seen": [name]})


class Seen(TypedDict, total=False):
    """What a graph gives that runs beside others."""

    seen: Annotated[list[str], operator.add]


def graph(*names: str, **others: Any) -> StateGraph:
    """A graph with plain nodes `names` and those of `others`."""
    made = StateGraph(State, output_schema=Seen)
    for name in names:
        made.add_node(name, plain(name))
    for name, node in others.items():
        made.add_node(name, node)
    return made


def quiet(call: Callable[[], Any]) -> None:
    """Call what is expected to raise."""
    try:
        call()
    except Exception as exc:
        print(f"{type(exc).__name__}: {exc}"[:200], file=sys.stderr)


def step_free(name: str, answer: Any) -> Callable[[State], Any]:
    """A router called `name`: no step of the graph."""

    def route(state: State) -> Any:
        return answer

    route.__name__ = name
    return route
