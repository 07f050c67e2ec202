"""The reader and writer of deep JSON agree with the standard ones wherever those can follow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_exporter.otlp import deep_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values, st.sampled_from([None, 1]))
def test_it_reads_and_writes_what_the_standard_library_does(value: Any, indent: int | None) -> None:
    assert deep_json.loads(json.dumps(value, indent=indent)) == value
    assert deep_json.loads(json.dumps(value, ensure_ascii=False)) == value
    assert deep_json.dumps(value) == json.dumps(value, separators=(",", ":"))


@given(st.text(alphabet='[]{}:,"\\ 1at', max_size=12))
def test_it_refuses_what_the_standard_library_refuses(text: str) -> None:
    try:
        wanted: object = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):
            deep_json.loads(text)
    else:
        assert deep_json.loads(text) == wanted


def test_it_goes_to_any_depth() -> None:
    text = '[{"k":' * 40_000 + "1" + "}]" * 40_000
    assert deep_json.dumps(deep_json.loads(text)) == text


def test_it_stops_at_its_bounds() -> None:
    with pytest.raises(ValueError, match="nested deeper than 100000 levels"):
        deep_json.loads("[" * 100_002)
    with pytest.raises(ValueError, match="characters"):
        deep_json.loads(" " * (deep_json.MAX_DEEP_CHARS + 1))
