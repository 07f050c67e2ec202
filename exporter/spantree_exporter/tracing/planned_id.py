"""An execution's id before it starts: planned trace ids, and who is told of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import trace

_planned: Final[ContextVar[tuple[int | None, int | None]]] = ContextVar("spantree_planned_ids", default=(None, None))


@dataclass(slots=True)
class ResponseId:
    """What a response that is being made says of the execution; `value` is None until one is known."""

    value: str | None = None


_response: Final[ContextVar[ResponseId | None]] = ContextVar("spantree_response_id", default=None)


class _PlannedIds:
    """An SDK's id generator, but for the ids that `as_planned` names."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def generate_trace_id(self) -> int:
        planned = _planned.get()[0]
        trace_id: int = self._generator.generate_trace_id() if planned is None else planned
        return trace_id

    def generate_span_id(self) -> int:
        planned = _planned.get()[1]
        span_id: int = self._generator.generate_span_id() if planned is None else planned
        return span_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)


def with_planned_ids(tracer: trace.Tracer) -> trace.Tracer:
    """`tracer`, whose roots within `as_planned` get the planned trace id. One that is no SDK's stays as it is."""
    generator = getattr(tracer, "id_generator", None)
    if generator is not None and not isinstance(generator, _PlannedIds):
        tracer.id_generator = _PlannedIds(generator)  # type: ignore[attr-defined]
    return tracer


@contextlib.contextmanager
def as_planned(trace_id: int | None = None, span_id: int | None = None) -> Iterator[None]:
    """Let the one span that is started within have these ids; a trace id counts for a root only."""
    token = _planned.set((trace_id, span_id))
    try:
        yield
    finally:
        _planned.reset(token)


@contextlib.contextmanager
def answering() -> Iterator[ResponseId]:
    """What is told by `tell_response` within, also in tasks and threads that take the context along."""
    response = ResponseId()
    token = _response.set(response)
    try:
        yield response
    finally:
        _response.reset(token)


def tell_response(execution_id: str) -> None:
    """Let the response that is being made name this execution, unless it names one already."""
    response = _response.get()
    if response is not None and response.value is None:
        response.value = execution_id
