"""Tests of decoding and of row bytes run once on each hot path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spantree_exporter import hot_path
from spantree_exporter.hot_path import COMPILED, PYTHON, Native

__all__ = ["COMPILED", "PYTHON", "compiled", "each_hot_path", "on"]

_BUILT = hot_path.native


def compiled() -> Native:
    """The compiled module; a test that asks for it is skipped where there is none."""
    if _BUILT is None:
        pytest.skip(f"no compiled hot path: {hot_path.reason}")
    return _BUILT


@contextmanager
def on(path: str) -> Iterator[None]:
    """Within this block everything goes `path`."""
    before = hot_path.native
    hot_path.native = compiled() if path == COMPILED else None
    try:
        yield
    finally:
        hot_path.native = before


@pytest.fixture(scope="module", params=[COMPILED, PYTHON])
def each_hot_path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each test of the module twice. Of the module, since Hypothesis runs many examples in one test."""
    with on(request.param):
        yield request.param
