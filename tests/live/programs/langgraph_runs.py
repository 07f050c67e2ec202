"""LangGraph programs of many shapes, run under one instrumentation: `langgraph_runs.py openinference|traceloop|...`."""

from __future__ import annotations

import sys

from langgraph_instrumentation import instrument, ledger
from ledger import publish


def main() -> None:
    """Run the scenarios named on the command line, or all."""
    provider = instrument(sys.argv[1])
    # They import LangChain, which is to be instrumented by then.
    import langgraph_agents
    import langgraph_graphs
    import langgraph_waiting

    wanted = set(sys.argv[2:])
    for scenario in langgraph_graphs.ALL + langgraph_waiting.ALL + langgraph_agents.ALL:
        if not wanted or scenario.__name__ in wanted:
            scenario()
    provider.shutdown()
    publish(ledger)


main()
