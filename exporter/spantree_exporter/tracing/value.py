"""Any Python value as the text of a span attribute, without ever raising into the host."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import logging
from collections.abc import Mapping, Set
from typing import Final

logger = logging.getLogger(__name__)

MAX_VALUE_CHARS: Final = 32_768
"""Longer inputs and outputs are cut: a span is sent in one piece with hundreds of others, and receivers refuse bodies
of more than some megabytes (the OTLP default of the Collector: 4 MiB over gRPC)."""
_MAX_REPR_CHARS: Final = 400


def json_text(value: object) -> tuple[str, int | None]:
    """`value` as JSON text, and its length in characters before the cut (None when nothing was cut).

    What JSON does not know becomes what a reader expects: dataclasses and pydantic models objects, sets lists, times
    ISO 8601, everything else its repr. A value that cannot be read at all becomes a note saying so.
    """
    try:
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        # keys that are no strings, NaN, cycles, extreme depth
        text = json.dumps(_repr(value), ensure_ascii=False)
    except Exception:
        logger.exception("could not read a value of type %s for a span attribute", type(value).__name__)
        text = json.dumps(f"<unreadable {type(value).__name__}>")
    text = plain_text(text)
    if len(text) > MAX_VALUE_CHARS:
        return text[:MAX_VALUE_CHARS], len(text)
    return text, None


def plain_text(text: str) -> str:
    """`text` without lone surrogates, which no protobuf string can hold: one would cost its whole batch of spans."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return list(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    dump = getattr(type(value), "model_dump", None)
    return dump(value) if callable(dump) else _repr(value)


def _repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception as exc:
        return f"<{type(value).__name__} whose repr raises {type(exc).__name__}>"
    return text if len(text) <= _MAX_REPR_CHARS else text[: _MAX_REPR_CHARS - 1] + "…"
