"""How far an export's file is whole, whatever byte it was cut off at."""

from __future__ import annotations

from pathlib import Path

import pytest

from spantree_api.export_text import csv_header, csv_lines, json_lines
from spantree_deploy.export_file import ResumePoint, resume_point
from spantree_exporter.errors import SpantreeError

COLUMNS = ("execution_id", "text")
ROWS = [
    {"execution_id": "a" * 32, "text": 'one "quoted"\r\nline'},
    {"execution_id": "b" * 32, "text": "two"},
    {"execution_id": "b" * 32, "text": "three\n\n"},
    {"execution_id": "c" * 32, "text": "=four"},
]


def otlp(row: dict[str, str]) -> dict[str, object]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": row["execution_id"], "name": row["text"]}]}]}]}


@pytest.mark.parametrize("form", ["jsonl", "csv", "otlp"])
def test_an_export_that_was_cut_off_anywhere_goes_on_without_a_gap(tmp_path: Path, form: str) -> None:
    def written(rows: list[dict[str, str]]) -> bytes:
        if form == "csv":
            return csv_lines(COLUMNS, rows)
        return json_lines(rows if form == "jsonl" else map(otlp, rows))

    head = csv_header(COLUMNS) if form == "csv" else b""
    whole = head + written(ROWS)
    path = tmp_path / "export"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        point = resume_point(path, form)
        ids = [row["execution_id"] for row in ROWS]
        rest = ROWS if point.after is None else ROWS[len(ids) - ids[::-1].index(point.after) :]
        again = head if point.after is None else b""
        assert whole[: point.bytes] + again + written(rest) == whole, cut
    assert resume_point(path, form) == ResumePoint("b" * 32, len(head + written(ROWS[:3])))


@pytest.mark.parametrize(("form", "text"), [("jsonl", b"[]\n"), ("csv", b"a,b\r\n1,2\r\n"), ("otlp", b"{}\n")])
def test_a_file_that_is_no_export_is_left_alone(tmp_path: Path, form: str, text: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(text)
    with pytest.raises(SpantreeError, match="export to another file"):
        resume_point(path, form)
    assert path.read_bytes() == text
