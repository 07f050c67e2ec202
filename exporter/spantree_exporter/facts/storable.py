"""What makes facts storable: the one place that those of every convention, and of rules of one's own, go through.

Facts become jsonb, then columns and keys of indexes. What does not fit is cut or dropped, and an anomaly in the facts
says so: `<field>_nul`, `<field>_utf8`, `<field>_cut`, `<field>_out_of_range`, `<field>_unknown`, `facts_too_large`.

    text that is a name         its first 512 characters, and no more bytes than an index takes
    text that is an id          so much of its beginning, and a hash of the whole: different ids stay different
    text to be read             500 characters (previews) or 1000 (messages)
    whole number                dropped outside of its column's range; a limit of attempts is cut to it
    list                        its first 1000 members, attempts: its last 256
    all facts of a span         64 KiB of JSON, else without their longest lists
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Any, Final

import orjson

from spantree_exporter.attributes import LINK_TYPES
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.stored import NUL_SIGN

NAME_CHARS: Final = 512
# An index row of a B-tree holds 2704 bytes, and no index has more than one of these texts uncut.
NAME_BYTES: Final = 1500
_LIST_ITEMS: Final = 1000
_ATTEMPTS: Final = 256
_GRAPH_EDGES: Final = 5000
_FACTS_BYTES: Final = 65_536
_HASH_DIGITS: Final = 16

_IDS: Final = frozenset(
    {"run_id", "conversation_id", "user_id", "resumes", "task_key", "task_id", "group", "planned_by", "input_digest"}
)
_READ_CHARS: Final = {"input": 500, "output": 500, "error_message": 1000, "status_reason": 1000}

_INT8: Final = (-(2**63), 2**63 - 1)
# Attempts are counted on from: a number near the end of the column's range would leave it.
_COUNT: Final = (0, 10**9)
_TOKENS: Final = (0, 10**15)
# As those of spans: a difference of two times fits the column, too.
_TIME: Final = (0, 2**63 - 1)
_RANGES: Final = {
    "began_ns": _TIME,
    "at_ns": _TIME,
    "next_ns": _TIME,
    "attempt": _COUNT,
    "max_attempts": _COUNT,
    "iteration": _COUNT,
    "input_tokens": _TOKENS,
    "output_tokens": _TOKENS,
    "cached_input_tokens": _TOKENS,
    "cache_write_tokens": _TOKENS,
    "reasoning_tokens": _TOKENS,
    "embedding_tokens": _TOKENS,
}
_FLOAT_RANGES: Final = {"cost_usd": (0.0, 1e9), "lost_after_s": (0.0, 1e9)}

# What assemble knows to do with a link: our own types, and the parent that OpenTracing tells by one.
_LINK_TYPES: Final = LINK_TYPES | {"child_of"}

# Facts that each need a look of their own, however short.
_LOOKED_AT: Final = frozenset({*_RANGES, *_FLOAT_RANGES, "link_types", "began_ns", "attempts"} - {"attempt"})


def make_storable(facts: Facts) -> None:
    """Cut or drop, in place, what cannot be stored; `anomalies` of the facts then say what. Idempotent."""
    if _LOOKED_AT.isdisjoint(facts):
        # Most facts are short: one look at all of them, by what writes them in the end.
        try:
            written = orjson.dumps(facts)
        except orjson.JSONEncodeError:
            written = b""
        if 0 < len(written) <= NAME_BYTES and b"\\u0000" not in written and facts.get("attempt", 0) <= _COUNT[1]:
            return
    _mend(facts)  # type: ignore[arg-type]


def cut_name(text: str) -> str:
    """The beginning of `text` that an index takes; itself where that is all of it."""
    return text if len(text) * 4 <= NAME_BYTES else _cut(text, NAME_CHARS, NAME_BYTES)


def _mend(facts: dict[str, Any]) -> None:
    losses: dict[str, None] = dict.fromkeys(facts.get("anomalies", ()))
    for key in list(facts):
        value = facts[key]
        mended = value if key == "anomalies" else _mended(key, value, losses)
        if mended is None:
            del facts[key]
        elif mended is not value:
            facts[key] = mended
    _bound_size(facts, losses)
    if losses:
        facts["anomalies"] = sorted(losses)


def _mended(key: str, value: Any, losses: dict[str, None]) -> Any:
    """`value` as it can be stored under `key`, itself if it can; None if nothing of it can."""
    if isinstance(value, str):
        return _text(key, value, losses)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _whole(key, value, losses)
    if isinstance(value, float):
        low, high = _FLOAT_RANGES.get(key, (-math.inf, math.inf))
        if math.isfinite(value) and low <= value <= high:
            return value
        losses[f"{key}_out_of_range"] = None
        return None
    if isinstance(value, list):
        return _list(key, value, losses)
    if isinstance(value, dict):
        if key == "graph":
            return _graph(value, losses)
        if key == "link_types":
            return _link_types(value, losses)
        return {name: item for name in value if (item := _mended(name, value[name], losses)) is not None}
    return None


def _text(key: str, text: str, losses: dict[str, None]) -> str:
    if "\x00" in text:
        losses[f"{key}_nul"] = None
        text = text.replace("\x00", NUL_SIGN)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            losses[f"{key}_utf8"] = None
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if (chars := _READ_CHARS.get(key)) is not None:
        if len(text) > chars:
            if key not in {"input", "output"}:
                losses[f"{key}_cut"] = None
            return text[:chars]
        return text
    if len(text) * 3 <= NAME_BYTES or (len(text) <= NAME_CHARS and len(text.encode()) <= NAME_BYTES):
        return text
    losses[f"{key}_cut"] = None
    if key not in _IDS:
        return _cut(text, NAME_CHARS, NAME_BYTES)
    start = _cut(text, NAME_CHARS - _HASH_DIGITS - 1, NAME_BYTES - _HASH_DIGITS - 1)
    return f"{start}#{blake2b(text.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()}"


def _cut(text: str, chars: int, size_bytes: int) -> str:
    # "ignore" drops the rest of a character that was cut in two, and halves of pairs, which are none.
    return text[:chars].encode(errors="ignore")[:size_bytes].decode(errors="ignore")


def _whole(key: str, value: int, losses: dict[str, None]) -> int | None:
    low, high = _RANGES.get(key, _INT8)
    if low <= value <= high:
        return value
    losses[f"{key}_out_of_range"] = None
    # More attempts than can be counted is what "without limit" looks like.
    return high if key == "max_attempts" and value > high else None


def _list(key: str, items: list[Any], losses: dict[str, None]) -> list[Any]:
    most = _LIST_ITEMS
    if key == "attempts":
        # The last attempts are the ones that say how it ended.
        if len(items) > _ATTEMPTS:
            losses[f"{key}_cut"] = None
            items = items[-_ATTEMPTS:]
    elif len(items) > most:
        losses[f"{key}_cut"] = None
        items = items[:most]
    mended = [_mended(key, item, losses) for item in items]
    return [item for item in mended if item is not None]


def _graph(graph: dict[str, Any], losses: dict[str, None]) -> dict[str, Any]:
    edges = graph.get("edges", [])
    if len(edges) > _GRAPH_EDGES:
        losses["graph_cut"] = None
        edges = edges[:_GRAPH_EDGES]
    return {
        "nodes": _list("graph", graph.get("nodes", []), losses),
        "edges": [[_text("graph", name, losses) for name in edge] for edge in edges],
    }


def _link_types(types: dict[str, Any], losses: dict[str, None]) -> dict[str, Any] | None:
    known = {span_id: kind for span_id, kind in types.items() if kind in _LINK_TYPES}
    if len(known) != len(types):
        losses["link_types_unknown"] = None
    if len(known) > _LIST_ITEMS:
        losses["link_types_cut"] = None
        known = dict(list(known.items())[:_LIST_ITEMS])
    return known or None


def _bound_size(facts: dict[str, Any], losses: dict[str, None]) -> None:
    sizes = {key: len(orjson.dumps(value)) for key, value in facts.items() if isinstance(value, list | dict)}
    # What is no list or object is bounded by itself: some fifty texts of two KiB at most.
    left = sum(sizes.values())
    for key in sorted(sizes, key=lambda key: (-sizes[key], key)):
        if left <= _FACTS_BYTES:
            return
        left -= sizes[key]
        losses["facts_too_large"] = None
        del facts[key]
