"""A file that an export was written to: how far it is whole, so that the export can go on from there."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from spantree_exporter.errors import SpantreeError

# A cell is at most an attribute set as JSON; csv's own limit is 128 KiB.
_CELL_CHARS: Final = min(sys.maxsize, 2**31 - 1)


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """The file is whole up to `bytes`: all rows of the executions up to `after`, None for none."""

    after: str | None
    bytes: int


def resume_point(path: Path, form: str) -> ResumePoint:
    """Where the export that wrote `path` goes on. Of the last execution in it rows may be missing: it comes anew.

    Reads the file once, row by row. Raises SpantreeError where it is no such export, OSError.
    """
    after: str | None = None
    current: str | None = None
    start_of_current = 0
    try:
        for execution, start in (_csv_rows if form == "csv" else _json_rows)(path):
            if execution != current:
                after, current, start_of_current = current, execution, start
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise SpantreeError(
            f"{path} is no {form} that `spantree export` wrote: {error}; export to another file"
        ) from None
    return ResumePoint(after, start_of_current if after is not None else 0)


def _json_rows(path: Path) -> Iterator[tuple[str, int]]:
    start = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return  # cut off
            yield _execution_of(orjson.loads(line)), start
            start += len(line)


def _execution_of(row: dict[str, object]) -> str:
    match row:
        case {"execution_id": str(execution)}:
            return execution
        case {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": str(execution)}, *_]}, *_]}, *_]}:
            return execution
    raise LookupError("a line names no execution")


def _csv_rows(path: Path) -> Iterator[tuple[str, int]]:
    csv.field_size_limit(_CELL_CHARS)
    with path.open("rb") as file:
        lines = _Lines(file)
        # Strict: a file that ends within quotes is an error instead of a short row.
        rows = csv.reader(lines, strict=True)
        header = next(rows, None)
        if header is None or not lines.ended:
            return
        column = header.index("execution_id")
        start = lines.bytes
        while (row := _row(rows, lines)) is not None:
            yield row[column], start
            start = lines.bytes


def _row(rows: Iterator[list[str]], lines: _Lines) -> list[str] | None:
    """The next whole row; None at the end, and for one that is cut off."""
    try:
        row = next(rows, None)
    except csv.Error:
        if lines.at_end:
            return None
        raise
    return row if lines.ended else None


class _Lines:
    """The lines of a file as text, and how many bytes of it they were."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = iter(file)
        self.bytes = 0
        self.ended = True  # the last line has its end
        self.at_end = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._file, b"")
        if not line:
            self.at_end = True
            raise StopIteration
        self.bytes += len(line)
        self.ended = line.endswith(b"\n")
        return line.decode()
