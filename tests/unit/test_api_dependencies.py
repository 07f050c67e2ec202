"""What a route depends on is made where the request is answered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fastapi.dependencies.models import Dependant

from spantree_api.app import create_app
from spantree_api.config import ApiConfig


def _called(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None:
        yield dependant.call
    for one in dependant.dependencies:
        yield from _called(one)


def test_no_request_goes_through_the_thread_pool_for_an_endpoint_or_a_dependency() -> None:
    """FastAPI has a function that is no coroutine called by a thread: two hops, for what reads a dictionary."""
    called = set[Callable[..., Any]]()
    for included in create_app(ApiConfig()).routes:
        contexts: list[Any] = list(getattr(included, "effective_route_contexts", list)())
        for route in [*contexts, *([included] if not contexts else [])]:
            called.update(_called(route.dependant) if hasattr(route, "dependant") else ())
    assert "_service_of" in {one.__name__ for one in called}
    threaded = [one for one in called if not (inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one))]
    assert not threaded
