"""The ways in which LangChain and LangGraph can be instrumented."""

from __future__ import annotations

import os
from typing import Any

from ledger import Ledger, start

ledger = Ledger()


def instrument(how: str) -> Any:
    """Instrument LangChain and LangGraph in the way asked for, before they are imported."""
    if how == "langsmith":
        os.environ |= {"LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_TRACING": "true", "LANGSMITH_OTEL_ONLY": "true"}
        os.environ.setdefault("LANGSMITH_API_KEY", "none")
        # A project of this name is where LangSmith would put the runs; they go nowhere but to OTLP.
        os.environ.setdefault("LANGSMITH_PROJECT", "live")
        from langchain_core.tracers.langchain import wait_for_all_tracers

        ledger.settle = wait_for_all_tracers
        return start("live-langgraph", ledger)
    provider = start("live-langgraph", ledger)
    if how == "openinference":
        from openinference.instrumentation.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument(tracer_provider=provider)
    elif how == "traceloop":
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        LangchainInstrumentor().instrument(tracer_provider=provider)
    elif how == "genai":
        from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor as GenAIInstrumentor

        GenAIInstrumentor().instrument(tracer_provider=provider)
    else:
        raise SystemExit(f"instrumentation {how!r} is none of openinference, traceloop, langsmith, genai")
    return provider
