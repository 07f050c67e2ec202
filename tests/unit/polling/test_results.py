"""How results are kept."""

from __future__ import annotations

from typing import Any

import pytest

from spantree_exporter.polling import Result
from spantree_exporter.polling.results import result_of


@pytest.mark.parametrize(
    ("value", "kind", "content", "rows"),
    [
        ([{"a": 1}], "json", '[{"a": 1}]', 1),
        ({"rows": [1, 2], "more": False}, "json", '{"rows": [1, 2], "more": false}', 2),
        ('{"a": 1}', "json", '{"a": 1}', None),
        ([{"a": 1, "b": "x,y"}, {"a": 2, "b": None}], "csv", 'a,b\n1,"x,y"\n2,\n', 2),
        ([["a"], [1], [2]], "csv", "a\n1\n2\n", 2),
        ("a,b\n1,2\n", "csv", "a,b\n1,2\n", 1),
        (b"one\ntwo\xff", "raw", "one\ntwo\ufffd", 2),
        (7, "raw", "7", 1),
    ],
)
def test_a_result_has_its_text_rows_bytes_and_duration(
    value: object, kind: Any, content: str, rows: int | None
) -> None:
    assert result_of(value, kind, 1.5) == Result(kind, content, rows, len(content.encode()), 1.5, False)


def test_a_large_one_is_cut_between_characters_and_says_how_large_it_was() -> None:
    assert result_of("ü" * 10, "raw", 0.0, max_bytes=5) == Result("raw", "üü", 1, 20, 0.0, True)


def test_what_has_no_rows_is_no_csv() -> None:
    with pytest.raises(ValueError, match="csv needs a text or a list of rows, not int"):
        result_of(7, "csv", 0.0)
    with pytest.raises(ValueError, match="must be json, csv or raw"):
        result_of(7, "xml", 0.0)  # type: ignore[arg-type]
