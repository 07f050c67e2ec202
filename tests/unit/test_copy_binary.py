"""COPY BINARY by hand: what is written is what PostgreSQL's own format says."""

from __future__ import annotations

import dataclasses
import struct
from itertools import count

import pytest
from tests.factories import DAY_NS, NOON_NS, span, trace_id
from tests.hot_paths import each_hot_path

from spantree_exporter.postgres.copy_binary import (
    EDGE_COLUMNS,
    EXECUTION_COLUMNS,
    NODE_COLUMNS,
    RowUnencodable,
    edge_rows,
    span_rows,
)
from spantree_exporter.postgres.partitions import SENTINEL_DAY, date_of, day_of
from spantree_exporter.rows import Edge, Execution, Node
from spantree_exporter.span import Event

__all__ = ["each_hot_path"]
pytestmark = pytest.mark.usefixtures("each_hot_path")

_NOON_DAY = day_of(NOON_NS)


def _tuples(content: bytes) -> list[list[bytes | None]]:
    """The fields of each tuple, read by the description of the format."""
    tuples: list[list[bytes | None]] = []
    at = 0
    while at < len(content):
        (width,) = struct.unpack_from(">h", content, at)
        at += 2
        fields: list[bytes | None] = []
        for _ in range(width):
            (length,) = struct.unpack_from(">i", content, at)
            at += 4
            if length < 0:
                fields.append(None)
            else:
                fields.append(content[at : at + length])
                at += length
        tuples.append(fields)
    return tuples


@pytest.mark.parametrize(
    ("columns", "row_class"), [(EXECUTION_COLUMNS, Execution), (NODE_COLUMNS, Node), (EDGE_COLUMNS, Edge)]
)
def test_column_order_is_field_order(columns: dict[str, object], row_class: type) -> None:
    assert list(columns) == [field.name for field in dataclasses.fields(row_class)]


def test_a_plain_span_is_written_field_by_field() -> None:
    plain = span(7, parent=3, name="größe", attributes={"a": 1})
    [row] = _tuples(b"".join(span_rows(5, [_NOON_DAY], [plain], [{}])))
    int8 = struct.Struct(">q").pack
    int4 = struct.Struct(">i").pack
    assert row == [
        int4(5), int4(_NOON_DAY - 10957), trace_id(1), int8(7), int8(plain.fingerprint), int8(3), int4(1), int4(0),
        int8(NOON_NS), int8(NOON_NS + 10**9), int8(0x100), int8(plain.received_ns), "größe".encode(), None, None,
        int8(plain.resource.id), b'\x01{"name":"tests","version":"1"}', b'\x01{"a":1}', None, None, None, None, None,
        None, None, None,
    ]  # fmt: skip


def test_a_span_with_everything_is_written_field_by_field() -> None:
    full = span(1, error="no", events=[Event(5, "exception", {"k": "v"})], attributes={"long": "x" * 5000})
    full.anomalies, full.raw = ["nul"], b"raw bytes"
    full.trace_state = "a=b"
    full.dropped_attributes_count, full.dropped_events_count, full.dropped_links_count = 1, 2, 3
    [row] = _tuples(b"".join(span_rows(0, [SENTINEL_DAY], [full], [{"kind": "step"}])))
    assert row[5] is None
    assert row[13:16] == [b"no", b"a=b", struct.pack(">q", full.resource.id)]
    assert row[17] == b"\x01" + full.attributes_json
    assert row[18] == b"\x01" + (full.events_json or b"")
    assert row[20:24] == [struct.pack(">q", 1), struct.pack(">q", 2), struct.pack(">q", 3), b'\x01{"kind":"step"}']
    assert row[24:] == [struct.pack(">iiiii", 1, 0, 25, 1, 1) + struct.pack(">i", 3) + b"nul", b"raw bytes"]


def test_blocks_hold_all_spans_in_order() -> None:
    spans = [span(number) for number in range(1, 700)]
    blocks = list(span_rows(0, [_NOON_DAY] * len(spans), spans, [{}] * len(spans)))
    assert len(blocks) > 1
    assert [row[3] for block in blocks for row in _tuples(block)] == [struct.pack(">q", n) for n in range(1, 700)]


def test_nulls_values_and_runs_of_numbers_of_edges_are_told_apart() -> None:
    edges = [
        Edge(1, 0, 2, 0, "sequential", None, "inferred"),
        Edge(2, 1, -3, 0, "conditional", "yes", "declared", trace_id(9).hex()),
    ]
    keys = [(_NOON_DAY, trace_id(1)), (_NOON_DAY + 1, trace_id(2))]
    first, second = _tuples(edge_rows(4, keys, edges))
    key = struct.Struct(">i").pack
    assert first == [
        key(4), key(_NOON_DAY - 10957), trace_id(1), struct.pack(">q", 1), key(0), struct.pack(">q", 2), key(0),
        b"sequential", None, b"inferred", None,
    ]  # fmt: skip
    assert second == [
        key(4), key(_NOON_DAY - 10956), trace_id(2), struct.pack(">q", 2), key(1), struct.pack(">q", -3), key(0),
        b"conditional", b"yes", b"declared", trace_id(9),
    ]  # fmt: skip


def test_a_value_that_fits_no_column_names_its_span() -> None:
    bad = span(0xAB)
    bad.start_ns = 2**63
    with pytest.raises(RowUnencodable, match=r"span 00000000000000ab of trace [0-9a-f]{32} does not fit its row"):
        list(span_rows(0, [_NOON_DAY, _NOON_DAY], [span(1), bad], [{}, {}]))


def test_a_lone_surrogate_is_refused_and_not_half_written() -> None:
    bad = Edge(1, 0, 2, 0, "conditional", "\ud800", "declared")
    with pytest.raises(RowUnencodable, match="does not fit its table"):
        edge_rows(0, [(_NOON_DAY, trace_id(1))], [bad])


@pytest.mark.parametrize(
    ("start_ns", "day"),
    [
        (0, "1970-01-01"),
        (-1, "1970-01-01"),
        (2**63 - 1, "1970-01-01"),
        (1_420_070_400_000_000_000 - 1, "1970-01-01"),
        (1_420_070_400_000_000_000, "2015-01-01"),
        (NOON_NS, "2026-11-20"),
        (NOON_NS + DAY_NS // 2 - 1, "2026-11-20"),
        (NOON_NS + DAY_NS // 2, "2026-11-21"),
        (4_102_444_800_000_000_000 - 1, "2099-12-31"),
        (4_102_444_800_000_000_000, "1970-01-01"),
    ],
)
def test_the_day_of_a_span_is_its_utc_day_or_the_sentinel(start_ns: int, day: str) -> None:
    assert date_of(day_of(start_ns)).isoformat() == day


def test_texts_that_rows_share_are_written_for_each_of_them() -> None:
    numbers = count(1)
    edges = [Edge(next(numbers), 0, next(numbers), 0, "join", None, "declared") for _ in range(50)]
    rows = _tuples(edge_rows(0, [(_NOON_DAY, trace_id(1))] * 50, edges))
    assert {row[7] for row in rows} == {b"join"}
    assert [row[3] for row in rows] == [struct.pack(">q", number) for number in range(1, 101, 2)]
