"""How attribute values are written as JSON, and what of them JSON in PostgreSQL cannot hold.

    string, bool, null, array, key-value list   themselves
    int                                         a number without a point
    double                                      a number with a point; {"$f": "NaN"} where jsonb would change it
    bytes                                       {"$b": base64}
    a key that starts with "$"                  with one "$" more

jsonb knows one kind of number: it turns -0.0 into 0.0, prints 1e300 with 301 digits and no point, and refuses NaN
(measured on PostgreSQL 15); hence "$f". jsonb and text hold no NUL: U+2400 stands for it, and the span keeps its bytes.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator

import orjson

from spantree_exporter.span import Attributes, JsonValue

NUL_SIGN = "\u2400"
# Beyond these a jsonb number no longer reads back as the double it was: no point above, hundreds of digits below.
PLAIN_MAX = 1e16
PLAIN_MIN = 1e-9
# Beyond it what orjson has written into takes little more than what is in it (measured: half as much again at most).
_COPIED_BYTES = 32 * 2**10
_SURROGATE = re.compile("[\ud800-\udfff]")


def stored_double(value: float) -> JsonValue:
    """`value` as JSON that jsonb gives back unchanged."""
    magnitude = abs(value)
    if PLAIN_MIN < magnitude < PLAIN_MAX or (value == 0.0 and math.copysign(1.0, value) > 0):
        return value
    if math.isnan(value):
        return {"$f": "NaN"}
    if math.isinf(value):
        return {"$f": "Infinity" if value > 0 else "-Infinity"}
    return {"$f": repr(value)}


def stored_bytes(value: bytes) -> JsonValue:
    """`value` as tagged base64."""
    return {"$b": base64.b64encode(value).decode("ascii")}


def stored_key(key: str) -> str:
    """An attribute's name such that it cannot be taken for one of our tags."""
    return "$" + key if key.startswith("$") else key


def without_nul(value: JsonValue) -> JsonValue:
    """`value` with U+2400 for each NUL, in keys too. `value` may be 64 levels deep, no more."""
    if isinstance(value, str):
        return value.replace("\x00", NUL_SIGN)
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {key.replace("\x00", NUL_SIGN): without_nul(item) for key, item in value.items()}
    return value


def json_bytes(value: object) -> bytes:
    """`value` as JSON in no more memory than it has bytes, for what is kept.

    Raises orjson.JSONEncodeError; MemoryError where orjson, which tells both alike, found no memory for a text's UTF-8.

    orjson writes into four kilobytes and gives the rest back, of which nothing that follows can make use: 60,000 log
    records of three megabytes took 500 MB (measured with orjson 3.13 and glibc), and take 32.
    """
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "surrogates" in str(error) and not _has_surrogate(value):
            raise MemoryError("there is no memory for the UTF-8 of a text") from error
        raise
    return bytes(memoryview(text)) if len(text) < _COPIED_BYTES else text


def _has_surrogate(value: object) -> bool:
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, list):
        return any(map(_has_surrogate, value))
    if isinstance(value, dict):
        return any(map(_has_surrogate, value)) or any(map(_has_surrogate, value.values()))
    return False


def dump_json(value: object) -> tuple[bytes, bool]:
    """(`value` as JSON text that jsonb takes, whether NULs had to be replaced)."""
    text = json_bytes(value)
    # The six characters may also be a backslash and "u0000" that somebody wrote: only a parsed look tells.
    if b"\\u0000" in text:
        cleaned = json_bytes(without_nul(orjson.loads(text)))
        return cleaned, cleaned != text
    return text, False


def otlp_value(value: JsonValue) -> dict[str, object]:
    """The AnyValue, in OTLP/JSON form, that `value` is the stored form of."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp_value(item) for item in value]}}
    if len(value) == 1:
        if isinstance(tagged := value.get("$b"), str):
            return {"bytesValue": tagged}
        if isinstance(tagged := value.get("$f"), str):
            return {"doubleValue": tagged if tagged in {"NaN", "Infinity", "-Infinity"} else float(tagged)}
    return {"kvlistValue": {"values": list(otlp_attributes(value))}}


def otlp_attributes(attributes: Attributes) -> Iterator[dict[str, object]]:
    """The KeyValues, in OTLP/JSON form, of a stored set of attributes, in its order."""
    for key, value in attributes.items():
        yield {"key": key[1:] if key.startswith("$") else key, "value": otlp_value(value)}
