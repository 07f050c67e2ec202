"""A job's result as it is kept: JSON, CSV or raw text, bounded, with its rows, bytes and duration. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

ResultFormat = Literal["json", "csv", "raw"]
MAX_RESULT_BYTES: Final = 1_048_576
"""A watcher keeps results to look at; whole data sets belong where the job has put them."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a job gave. `size_bytes` and `rows` are those of the whole, `content` may be its beginning (`is_cut`)."""

    format: ResultFormat
    content: str
    rows: int | None
    size_bytes: int
    duration_s: float
    is_cut: bool


def result_of(
    value: object,
    format: ResultFormat,  # noqa: A002 - the word people look for
    duration_s: float,
    max_bytes: int = MAX_RESULT_BYTES,
) -> Result:
    """`value` as it is kept: lists and dicts for json, rows (sequences or dicts) for csv, anything as text for raw.

    Rows are items of a list, and of a dict's ``rows``; lines of csv and raw text. What JSON does not know becomes its
    str. Raises ValueError for a format that there is not, and for csv of what has no rows.
    """
    match format:
        case "json":
            content = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
            rows = _rows_of(value)
        case "csv":
            content = value if isinstance(value, str) else _csv_text(value)
            rows = max(0, len(content.splitlines()) - 1)
        case "raw":
            content = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            rows = len(content.splitlines())
        case _:
            raise ValueError(f"a result's format is {format!r}, must be json, csv or raw")
    encoded = content.encode("utf-8", "replace")
    is_cut = len(encoded) > max_bytes
    kept = encoded[:max_bytes].decode("utf-8", "ignore") if is_cut else encoded.decode()
    return Result(format, kept, rows, len(encoded), duration_s, is_cut)


def _rows_of(value: object) -> int | None:
    if isinstance(value, Mapping):
        value = value.get("rows")
    return len(value) if isinstance(value, list | tuple) else None


def _csv_text(value: object) -> str:
    if not isinstance(value, Sequence):
        raise ValueError(f"csv needs a text or a list of rows, not {type(value).__name__}")
    out = io.StringIO()
    if value and isinstance(value[0], Mapping):
        fields: dict[str, None] = {}
        for row in value:
            fields.update(dict.fromkeys(map(str, row)))
        by_name = csv.DictWriter(out, list(fields), lineterminator="\n")
        by_name.writeheader()
        by_name.writerows(value)
    else:
        rows: Any = (row if isinstance(row, Sequence) and not isinstance(row, str) else [row] for row in value)
        csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
