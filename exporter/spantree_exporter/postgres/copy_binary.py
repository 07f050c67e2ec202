"""Rows -> the bytes of COPY ... (FORMAT binary), by hand because generic adaptation costs more than PostgreSQL itself.

    file    11 bytes of signature, 4 of flags, 4 of header extension, tuples, int16 -1
    tuple   int16 number of fields, fields
    field   int32 length (-1 for NULL), that many bytes of what the type's receive function reads

https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 ; everything is big-endian.
Spans are packed row by row, with one struct for the fixed part. The other rows have forty columns, most of them NULL
or a text that many rows share: those are encoded column by column, where a comprehension or a dict does the work.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Final, TypeVar

import orjson

from spantree_exporter import hot_path
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.rows import Edge, Execution, Node
from spantree_exporter.span import Span

_Item = TypeVar("_Item")

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"

# Dates are days since 2000-01-01 on the wire, day numbers here are days since 1970-01-01.
_DATE_SHIFT: Final = 10957
# Type OIDs of array elements (src/include/catalog/pg_type.dat).
_INT8_OID: Final = 20
_TEXT_OID: Final = 25
# jsonb's receive function wants its format version, 1, before the text.
_JSONB_VERSION: Final = b"\x01"

_LENGTH: Final = struct.Struct(">i").pack
_INT4: Final = struct.Struct(">ii").pack
_INT8: Final = struct.Struct(">iq").pack
_FLOAT8: Final = struct.Struct(">id").pack
_ARRAY: Final = struct.Struct(">iiiiii").pack
_TRUE: Final = b"\x00\x00\x00\x01\x01"
_FALSE: Final = b"\x00\x00\x00\x01\x00"
_EMPTY_TEXTS: Final = struct.pack(">iiii", 12, 0, 0, _TEXT_OID)
_EMPTY_INT8S: Final = struct.pack(">iiii", 12, 0, 0, _INT8_OID)

# Starts of jsonb fields of the usual lengths of attributes.
_STARTS: Final = 2048


def _jsonb_start(length: int) -> bytes:
    return _LENGTH(length + 1) + _JSONB_VERSION


_JSONB_STARTS: Final = tuple(map(_jsonb_start, range(_STARTS)))

# Rows that are joined into one bytes at a time: some hundred KiB, so that psycopg hands whole blocks to libpq.
_BLOCK_ROWS: Final = 256


# Rows whose columns are encoded together: few enough for the processor's cache (measured: 4.9 us a node, 6.9 with
# 8192 rows).
_CHUNK_ROWS: Final = 512


class RowUnencodable(ValueError):
    """A value does not fit its column; its text says which row. Retrying cannot help."""


# number of fields, tenant_id, day, trace_id, span_id, fingerprint, [parent_span_id,] kind, status_code, start_ns,
# end_ns, flags, received_ns, length of name
_SPAN_COLUMNS: Final = 26
_SPAN_WITH_PARENT: Final = struct.Struct(">h ii ii i16s iq iq iq ii ii iq iq iq iq i").pack
_SPAN_WITHOUT_PARENT: Final = struct.Struct(">h ii ii i16s iq iq i ii ii iq iq iq iq i").pack
# What most spans have: no status message and trace state; no events, links and dropped counts; no anomalies and raw.
_NULLS_2: Final = 2 * NULL
_NULLS_5: Final = 5 * NULL


def span_rows(tenant_id: int, days: Sequence[int], spans: Sequence[Span], facts: Sequence[Facts]) -> Iterator[bytes]:
    """Blocks of tuples for `span`, without header and trailer, in order; `days` and `facts` belong to `spans` by index.

    Raises RowUnencodable at the first span that no row can hold.
    """
    native = hot_path.native
    listed = _list(days), _list(spans), _list(facts)
    senders: dict[tuple[int, int], bytes] = {}
    jsonb_starts = _JSONB_STARTS
    dumps = orjson.dumps
    for first in range(0, len(spans), _BLOCK_ROWS):
        last = min(first + _BLOCK_ROWS, len(spans))
        if native is not None and (block := native.span_rows(tenant_id, *listed, first, last)) is not None:
            yield block
            continue
        parts: list[bytes] = []
        add = parts.append
        span = spans[first]
        try:
            for index in range(first, last):
                span = spans[index]
                name = span.name.encode()
                if (parent := span.parent_span_id) is None:
                    add(
                        _SPAN_WITHOUT_PARENT(
                            _SPAN_COLUMNS, 4, tenant_id, 4, days[index] - _DATE_SHIFT, 16, span.trace_id,
                            8, span.span_id, 8, span.fingerprint, -1, 4, span.kind, 4, span.status_code,
                            8, span.start_ns, 8, span.end_ns, 8, span.flags, 8, span.received_ns, len(name),
                        )
                    )  # fmt: skip
                else:
                    add(
                        _SPAN_WITH_PARENT(
                            _SPAN_COLUMNS, 4, tenant_id, 4, days[index] - _DATE_SHIFT, 16, span.trace_id,
                            8, span.span_id, 8, span.fingerprint, 8, parent, 4, span.kind, 4, span.status_code,
                            8, span.start_ns, 8, span.end_ns, 8, span.flags, 8, span.received_ns, len(name),
                        )
                    )  # fmt: skip
                add(name)
                if span.status_message or span.trace_state:
                    add(_text(span.status_message) if span.status_message else NULL)
                    add(_text(span.trace_state) if span.trace_state else NULL)
                else:
                    add(_NULLS_2)
                resource, scope = span.resource, span.scope
                if (field := senders.get((id(resource), id(scope)))) is None:
                    field = _INT8(8, resource.id) + (NULL if scope.json is None else _jsonb(scope.json))
                    senders[id(resource), id(scope)] = field
                add(field)
                attributes = span.attributes_json
                add(jsonb_starts[length] if (length := len(attributes)) < _STARTS else _jsonb_start(length))
                add(attributes)
                if (
                    span.events_json is None
                    and span.links_json is None
                    and not span.dropped_attributes_count
                    and not span.dropped_events_count
                    and not span.dropped_links_count
                ):
                    add(_NULLS_5)
                else:
                    add(NULL if span.events_json is None else _jsonb(span.events_json))
                    add(NULL if span.links_json is None else _jsonb(span.links_json))
                    add(_INT8(8, span.dropped_attributes_count) if span.dropped_attributes_count else NULL)
                    add(_INT8(8, span.dropped_events_count) if span.dropped_events_count else NULL)
                    add(_INT8(8, span.dropped_links_count) if span.dropped_links_count else NULL)
                add(_jsonb(dumps(fact)) if (fact := facts[index]) else NULL)
                if span.anomalies or span.raw is not None:
                    add(_texts(span.anomalies) if span.anomalies else NULL)
                    add(NULL if span.raw is None else _LENGTH(len(span.raw)) + span.raw)
                else:
                    add(_NULLS_2)
            yield b"".join(parts)
        except (struct.error, UnicodeEncodeError, orjson.JSONEncodeError) as error:
            where = f"span {span.span_id & 0xFFFFFFFFFFFFFFFF:016x} of trace {span.trace_id.hex()}"
            raise RowUnencodable(f"{where} does not fit its row: {error}") from error


class Column(Enum):
    """How a field of a row class is written. None is NULL in every column."""

    INT4 = auto()
    INT8 = auto()
    FLOAT8 = auto()
    BOOLEAN = auto()
    TEXT = auto()  # written once for all rows that share it
    LONG_TEXT = auto()  # seldom shared
    TEXTS = auto()
    INT8S = auto()
    TRACE_ID = auto()  # 32 hex digits -> uuid


# For native/rows.c.
LETTERS: Final = {
    Column.INT4: "i", Column.INT8: "q", Column.FLOAT8: "d", Column.BOOLEAN: "?", Column.TEXT: "s",
    Column.LONG_TEXT: "s", Column.TEXTS: "S", Column.INT8S: "Q", Column.TRACE_ID: "u",
}  # fmt: skip

_C = Column
EXECUTION_COLUMNS: Final[dict[str, Column]] = {
    "name": _C.TEXT, "workflow_name": _C.TEXT, "entry": _C.TEXT, "kind": _C.TEXT, "status": _C.TEXT,
    "started_ns": _C.INT8, "ended_ns": _C.INT8, "last_seen_ns": _C.INT8, "root_span_id": _C.INT8,
    "service": _C.TEXT, "services": _C.TEXTS, "run_id": _C.TEXT, "conversation_id": _C.TEXT, "user_id": _C.TEXT,
    "project": _C.TEXT, "input": _C.LONG_TEXT, "output": _C.LONG_TEXT, "error_summary": _C.LONG_TEXT,
    "error_category": _C.TEXT, "error_fingerprint": _C.TEXT, "first_failed_span_id": _C.INT8,
    "first_failed_ordinal": _C.INT4, "first_failed_name": _C.TEXT, "first_failed_error_type": _C.TEXT,
    "first_failed_error_message": _C.LONG_TEXT, "total_count": _C.INT4, "completed_count": _C.INT4,
    "failed_count": _C.INT4, "retried_count": _C.INT4, "skipped_count": _C.INT4, "waiting_count": _C.INT4,
    "running_count": _C.INT4, "cancelled_count": _C.INT4, "timed_out_count": _C.INT4, "span_count": _C.INT4,
    "input_tokens": _C.INT8, "output_tokens": _C.INT8, "cost_usd": _C.FLOAT8, "skipped_nodes": _C.TEXTS,
    "resumes": _C.TEXT, "lost_after_s": _C.FLOAT8, "hidden": _C.BOOLEAN, "anomalies": _C.TEXTS,
    "calls": _C.TEXTS,
}  # fmt: skip
NODE_COLUMNS: Final[dict[str, Column]] = {
    "span_id": _C.INT8, "ordinal": _C.INT4, "fingerprint": _C.INT8, "parent_span_id": _C.INT8,
    "parent_ordinal": _C.INT4, "name": _C.TEXT, "kind": _C.TEXT, "status": _C.TEXT, "status_reason": _C.TEXT,
    "started_ns": _C.INT8, "ended_ns": _C.INT8, "self_ns": _C.INT8, "sequence": _C.INT4, "depth": _C.INT4,
    "attempt": _C.INT4, "max_attempts": _C.INT4, "retry_expected": _C.BOOLEAN, "task_key": _C.TEXT,
    "iteration": _C.INT4, "error_type": _C.TEXT, "error_message": _C.LONG_TEXT, "error_category": _C.TEXT,
    "error_fingerprint": _C.TEXT, "model": _C.TEXT, "input_tokens": _C.INT8, "output_tokens": _C.INT8,
    "cost_usd": _C.FLOAT8, "input": _C.LONG_TEXT, "output": _C.LONG_TEXT, "service": _C.TEXT,
    "workflow_name": _C.TEXT, "run_id": _C.TEXT, "on_critical_path": _C.BOOLEAN, "folded_span_ids": _C.INT8S,
    "anomalies": _C.TEXTS, "declared": _C.LONG_TEXT,
}  # fmt: skip
EDGE_COLUMNS: Final[dict[str, Column]] = {
    "from_span_id": _C.INT8, "from_ordinal": _C.INT4, "to_span_id": _C.INT8, "to_ordinal": _C.INT4,
    "type": _C.TEXT, "condition": _C.TEXT, "provenance": _C.TEXT, "from_trace_id": _C.TRACE_ID,
}  # fmt: skip


def execution_rows(
    tenant_id: int, keys: Sequence[tuple[int, bytes]], rows: Sequence[Execution], searches: Sequence[Sequence[str]]
) -> bytes:
    """Tuples for `execution`; `keys` are (day, trace id) of `rows` by index, `searches` their search_terms.

    Raises RowUnencodable.
    """
    return _rows(tenant_id, keys, rows, EXECUTION_COLUMNS, [_tsvector(terms) for terms in searches])


def node_rows(tenant_id: int, keys: Sequence[tuple[int, bytes]], rows: Sequence[Node]) -> bytes:
    """Tuples for `node`; `keys` are (day, trace id) of `rows` by index. Raises RowUnencodable."""
    return _rows(tenant_id, keys, rows, NODE_COLUMNS)


def edge_rows(tenant_id: int, keys: Sequence[tuple[int, bytes]], rows: Sequence[Edge]) -> bytes:
    """Tuples for `edge`; `keys` are (day, trace id) of `rows` by index. Raises RowUnencodable."""
    return _rows(tenant_id, keys, rows, EDGE_COLUMNS)


_KEY: Final = struct.Struct(">hiiiii16s").pack


def _rows(
    tenant_id: int,
    keys: Sequence[tuple[int, bytes]],
    rows: Sequence[Any],
    columns: dict[str, Column],
    last: Sequence[bytes] = (),
) -> bytes:
    """`last` are the fields of one more column, by index."""
    if not rows:
        return b""
    if (native := hot_path.native) is not None:
        names, letters = _names_and_letters(tuple(columns.items()))
        if (tuples := native.table_rows(tenant_id, _list(keys), _list(rows), names, letters, _list(last))) is not None:
            return tuples
    width = len(columns) + 3 + bool(last)
    starts: dict[tuple[int, bytes], bytes] = {}
    texts = _SharedTexts({None: NULL})
    values_of = attrgetter(*columns)
    parts: list[bytes] = []
    try:
        for key in dict.fromkeys(keys):
            starts[key] = _KEY(width, 4, tenant_id, 4, key[0] - _DATE_SHIFT, 16, key[1])
        for first in range(0, len(rows), _CHUNK_ROWS):
            chunk = slice(first, first + _CHUNK_ROWS)
            fields = _fields(columns, list(zip(*map(values_of, rows[chunk]), strict=True)), texts)
            if last:
                fields.append(last[chunk])
            parts += chain.from_iterable(zip(map(starts.__getitem__, keys[chunk]), *fields, strict=True))
    except (struct.error, UnicodeEncodeError, ValueError) as error:
        kind = ", ".join(list(columns)[:3])
        raise RowUnencodable(f"a row ({kind} ...) of a projection does not fit its table: {error}") from error
    return b"".join(parts)


@lru_cache(8)
def _names_and_letters(columns: tuple[tuple[str, Column], ...]) -> tuple[tuple[str, ...], bytes]:
    return tuple(name for name, _ in columns), "".join(LETTERS[column] for _, column in columns).encode()


def _list(items: Sequence[_Item]) -> list[_Item]:
    return items if isinstance(items, list) else list(items)


def _fields(
    columns: dict[str, Column], values_of: Sequence[tuple[Any, ...]], texts: _SharedTexts
) -> list[Iterable[bytes]]:
    """The fields of each row, in order; one item may hold the fields of several columns.

    Two thirds of the columns are NULL in every row of a batch, and numbers without a NULL stand side by side: each
    such run is one item.
    """
    count = len(values_of[0])
    fields: list[Iterable[bytes]] = []
    nulls = 0
    run: list[tuple[Any, ...]] = []
    run_format = ""

    def end_run() -> None:
        nonlocal nulls, run_format
        if nulls:
            fields.append(repeat(nulls * NULL, count))
            nulls = 0
        if run:
            lengths = [(_WIDTHS[code],) * count for code in run_format]
            pack = struct.Struct(">" + "".join("i" + code for code in run_format)).pack
            fields.append(map(pack, *chain.from_iterable(zip(lengths, run, strict=True))))
            run.clear()
            run_format = ""

    for column, values in zip(columns.values(), values_of, strict=True):
        if not any(values) and values.count(None) == count:
            if run:
                end_run()
            nulls += 1
        elif (code := _FORMATS.get(column)) and (all(values) or None not in values):
            if nulls:
                end_run()
            run.append(values)
            run_format += code
        else:
            end_run()
            fields.append(_ENCODERS[column](values, texts))
    end_run()
    return [list(field) if isinstance(field, map) else field for field in fields]


class _SharedTexts(dict["str | None", bytes]):
    """Text -> its field, written when first asked for."""

    def __missing__(self, text: str | None) -> bytes:
        field = self[text] = NULL if text is None else _text(text)
        return field


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _LENGTH(len(encoded)) + encoded


def _jsonb(text: bytes) -> bytes:
    return _jsonb_start(len(text)) + text


def _texts(items: Sequence[str]) -> bytes:
    if not items:
        return _EMPTY_TEXTS
    content = b"".join(map(_text, items))
    return _ARRAY(20 + len(content), 1, 0, _TEXT_OID, len(items), 1) + content


def _tsvector(terms: Sequence[str]) -> bytes:
    """Lexemes without positions, as tsvectorrecv reads them (utils/adt/tsvector.c): text, NUL, a count of 0.

    They come sorted by their bytes; PostgreSQL would sort them otherwise.
    """
    content = "".join([term + "\x00\x00\x00" for term in terms]).encode()
    return _LENGTH(4 + len(content)) + _LENGTH(len(terms)) + content


def _int8s(items: Sequence[int]) -> bytes:
    if not items:
        return _EMPTY_INT8S
    return _ARRAY(20 + 12 * len(items), 1, 0, _INT8_OID, len(items), 1) + b"".join([_INT8(8, item) for item in items])


def _trace_id(digits: str) -> bytes:
    return b"\x00\x00\x00\x10" + struct.pack(">16s", bytes.fromhex(digits)) if len(digits) == 32 else NULL


# Codes of struct for the columns of a run, and the bytes of their fields.
_FORMATS: Final = {Column.INT4: "i", Column.INT8: "q", Column.FLOAT8: "d", Column.BOOLEAN: "?"}
_WIDTHS: Final = {"i": 4, "q": 8, "d": 8, "?": 1}

_Encoder = Callable[[tuple[Any, ...], _SharedTexts], list[bytes]]
_ENCODERS: Final[dict[Column, _Encoder]] = {
    Column.INT4: lambda values, _: [NULL if value is None else _INT4(4, value) for value in values],
    Column.INT8: lambda values, _: [NULL if value is None else _INT8(8, value) for value in values],
    Column.FLOAT8: lambda values, _: [NULL if value is None else _FLOAT8(8, value) for value in values],
    Column.BOOLEAN: lambda values, _: [NULL if value is None else _TRUE if value else _FALSE for value in values],
    Column.TEXT: lambda values, texts: [texts[value] for value in values],
    Column.LONG_TEXT: lambda values, _: [
        NULL if value is None else _LENGTH(len(text := value.encode())) + text for value in values
    ],
    Column.TEXTS: lambda values, _: [NULL if value is None else _texts(value) for value in values],
    Column.INT8S: lambda values, _: [NULL if value is None else _int8s(value) for value in values],
    Column.TRACE_ID: lambda values, _: [NULL if value is None else _trace_id(value) for value in values],
}
