"""JSON of any depth, read and written without recursion.

Slow (about a microsecond a token), and only for the rare body that the fast readers give up on: both stop at
about a thousand levels, which is 250 levels of an OTLP value.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

# A hostile body must not hold a processor for seconds.
MAX_DEEP_CHARS = 4 * 1024 * 1024
MAX_LEVELS = 100_000

_TOKEN = re.compile(r'[ \t\r\n]*([{}\[\],:]|"(?:[^"\\]|\\.)*"|[^ \t\r\n{}\[\],:"]+)', re.DOTALL)


def loads_any(raw: bytes) -> Any:
    """What `raw` says: also with bytes that are no UTF-8 (as PEP 383 has them), lone surrogates, NaN, of any depth.

    Raises ValueError where it is no JSON.
    """
    try:
        return loads_shallow(raw)
    except RecursionError:
        return loads(raw.decode("utf-8", "surrogateescape"))


def loads_shallow(raw: bytes) -> Any:
    """As `loads_any`, for who has no use for more than a thousand levels: raises RecursionError there, at once."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw.decode("utf-8", "surrogateescape"))


def dumps_any(value: object) -> bytes:
    """`value` as JSON, of any depth and with text that UTF-8 cannot hold escaped."""
    try:
        return orjson.dumps(value)
    except TypeError:
        try:
            return json.dumps(value, separators=(",", ":")).encode("ascii")
        except RecursionError:
            return dumps(value).encode("ascii")


class _Written(str):
    """A piece of JSON text, where a value could stand."""

    __slots__ = ()


def loads(text: str) -> Any:
    """What `text` says. Raises ValueError where it is no JSON, or beyond MAX_DEEP_CHARS or MAX_LEVELS."""
    if len(text) > MAX_DEEP_CHARS:
        raise ValueError(
            f"nested deeper than 1,000 levels in {len(text)} characters: such a body may have {MAX_DEEP_CHARS}"
        )
    outermost: list[Any] = []
    stack: list[Any] = [outermost]
    keys: list[str] = []
    expected = "value"
    position = 0
    while match := _TOKEN.match(text, position):
        found = match[1]
        position = match.end()
        inside = stack[-1]
        if expected == "colon":
            if found != ":":
                break
            expected = "value"
            continue
        if found == ",":
            if expected != "comma" or inside is outermost:
                break
            expected = "key" if type(inside) is dict else "value"
            continue
        if found in "]}":
            closes = dict if found == "}" else list
            if inside is outermost or type(inside) is not closes or expected not in {"comma", "first"}:
                break
            stack.pop()
            expected = "comma"
            continue
        if type(inside) is dict and expected in {"key", "first"}:
            if found[0] != '"':
                break
            keys.append(json.loads(found))
            expected = "colon"
            continue
        if expected not in {"value", "first"}:
            break
        value: Any = {} if found == "{" else [] if found == "[" else json.loads(found)
        if type(inside) is dict:
            inside[keys.pop()] = value
        else:
            inside.append(value)
        expected = "comma"
        if found in "{[":
            if len(stack) > MAX_LEVELS:
                raise ValueError(f"nested deeper than {MAX_LEVELS} levels")
            stack.append(value)
            expected = "first"
    else:
        if not text[position:].strip(" \t\r\n") and len(stack) == 1 and outermost:
            return outermost[0]
    raise ValueError(f"unexpected text near character {position}")


def dumps(value: object) -> str:
    """`value` as JSON in ASCII characters, as json.dumps would write it without spaces."""
    written: list[str] = []
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Written):
            written.append(item)
        elif isinstance(item, dict):
            waiting.append(_Written("}"))
            for position, (key, member) in reversed(list(enumerate(item.items()))):
                waiting.append(member)
                waiting.append(_Written(("," if position else "{") + json.dumps(key) + ":"))
            if not item:
                written.append("{")
        elif isinstance(item, list):
            waiting.append(_Written("]"))
            for position, member in reversed(list(enumerate(item))):
                waiting.append(member)
                waiting.append(_Written("," if position else "["))
            if not item:
                written.append("[")
        else:
            written.append(json.dumps(item))
    return "".join(written)
