"""What the convention modules share: how a fact is put, and how values become previews, names and statuses."""

from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import JsonValue, Span

# What people see of a value in lists and trees; the whole value stays in the span's attributes.
PREVIEW_CHARS: Final = 500
# What is longer is not parsed: a span is read in time that grows with its length, and what it costs is bounded.
JSON_CHARS: Final = 262_144
_LITERAL_CHARS: Final = 16_384
_LIST_ITEMS: Final = 1000
_AMOUNT: Final = 1e9
# A bigint has 19 digits; Python refuses to read thousands.
_NUMBER_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class Convention:
    """One convention: by what a span of it is recognised, and how it is read.

    A span is read by every convention whose scope prefix or attribute it has, in the order of the registry; a fact
    that an earlier one has put is not overwritten by a later one. `read` adds to the facts and returns nothing.
    """

    name: str
    read: Callable[[Span, Facts], None]
    scopes: tuple[str, ...] = ()  # prefixes of scope names
    keys: tuple[str, ...] = ()  # attribute names


def json_text(value: JsonValue) -> str | None:
    """`value` as text: itself, or JSON of it; None where it is nothing or nested too deep to be written."""
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return None


def digest_of(text: str) -> str:
    """A sign that is equal for equal texts and most likely another for others. No proof against forgery."""
    content = text.encode(errors="replace")
    return f"{zlib.crc32(content):08x}-{len(content):x}"


def text_of(value: JsonValue) -> str | None:
    """`value` as an id or a name: a string that is not empty, or a number written out; else None."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return None
    return str(value)


def first_text(span: Span, keys: Iterable[str]) -> str | None:
    """The first of the attributes `keys` that holds an id or a name."""
    attributes = span.attributes
    for key in keys:
        if key in attributes and (text := text_of(attributes[key])):
            return text
    return None


def whole_number(value: JsonValue) -> int | None:
    """`value` as a count, from a number or digits; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _NUMBER_DIGITS:
        return int(value)
    return None


def amount_of(value: JsonValue) -> float | None:
    """`value` as a sum of money, from a number or text of one; None for anything else and for what no sum is."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value) if len(value) < 40 else None
        except ValueError:
            return None
    if isinstance(value, int | float) and 0 <= value <= _AMOUNT:
        return float(value)
    return None


def texts_of(value: JsonValue) -> list[str]:
    """`value` as a list of names: a list of strings, JSON of one, or one string."""
    if isinstance(value, str):
        parsed = json_of(value) if value.startswith("[") else None
        value = parsed if isinstance(parsed, list) else [value] if value else []
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str) and item][: _LIST_ITEMS + 1]
    return []


def json_of(value: JsonValue) -> JsonValue:
    """What `value` says if it is JSON text of an object or a list, None if it is not; a parsed value is itself.

    None, too, for a text of more than JSON_CHARS.
    """
    if not isinstance(value, str):
        return value
    if value[:1] not in {"{", "["} or len(value) > JSON_CHARS:
        return None
    try:
        parsed: JsonValue = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return parsed


def literal_of(shown: str) -> object:
    """The Python value that `shown` is the repr of; None where it is none, or too long to be read for it."""
    if len(shown) > _LITERAL_CHARS:
        return None
    try:
        value: object = ast.literal_eval(shown)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        # The last two are what Python says of brackets that are nested too deep.
        return None
    return value


def put_preview(facts: Facts, field: Literal["input", "output"], value: JsonValue) -> None:
    """Put `input` or `output`, unless an earlier convention has; of an input that is cut, a digest of the whole."""
    if value is None or field in facts:
        return
    text = value if isinstance(value, str) else json_text(value)
    if not text:
        return
    if len(text) <= PREVIEW_CHARS:
        facts[field] = text
        return
    facts[field] = _cut(text)
    if field == "input":
        facts.setdefault("input_digest", digest_of(text))


# An image or a file within a message: nobody reads it, and it would leave no room for what is said about it.
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]{150,}={0,2}")
_MORE_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_ENCODED_TOLD: Final = 8  # of several in one value this many are left out
# Where each of these has a space or a quote, nothing in the preview is as long as _ENCODED wants it.
_WINDOWS: Final = tuple(slice(start, start + 75) for start in range(0, PREVIEW_CHARS - 74, 75))


def _cut(text: str) -> str:
    """What a preview has room for: the beginning of `text`, without what is encoded in it as base64."""
    if not _may_hold_encoded(text):
        return text[:PREVIEW_CHARS]
    shown, start, left = "", 0, PREVIEW_CHARS
    for _ in range(_ENCODED_TOLD):
        found = _ENCODED.search(text, start, start + left)
        if found is None or not _is_base64(found.group()):
            break
        rest = _MORE_ENCODED.match(text, found.end())
        end = rest.end() if rest is not None else found.end()
        shown += f"{text[start : found.start()]}<{end - found.start()} characters>"
        start, left = end, PREVIEW_CHARS - len(shown)
        if left <= 0:
            break
    return (shown + text[start : start + max(left, 0)])[:PREVIEW_CHARS]


def _may_hold_encoded(text: str) -> bool:
    for window in _WINDOWS:
        part = text[window]
        if " " not in part and '"' not in part:
            return True
    return False


def _is_base64(run: str) -> bool:
    """Whether a long run of such characters has all that base64 of anything has: no word and no number does."""
    return not (run.isdigit() or run.islower() or run.isupper()) and any(c.isdigit() for c in run)


# The words in which engines say a state, in any case.
_STATUSES: Final[dict[str, Status]] = {
    **dict.fromkeys(("pending", "queued", "scheduled", "created", "submitted", "new", "not_started"), "pending"),
    **dict.fromkeys(("running", "executing", "in_progress", "started", "active", "processing"), "running"),
    **dict.fromkeys(
        ("waiting", "paused", "suspended", "deferred", "awaiting_input", "awaiting", "interrupted", "blocked"),
        "waiting",
    ),
    **dict.fromkeys(
        ("completed", "complete", "success", "succeeded", "successful", "ok", "done", "finished", "passed", "pass"),
        "completed",
    ),
    **dict.fromkeys(("failed", "failure", "error", "errored", "crashed", "fail"), "failed"),
    **dict.fromkeys(("skip", "skipped", "upstream_failed", "not_run", "omitted"), "skipped"),
    **dict.fromkeys(
        ("cancelled", "canceled", "cancellation", "revoked", "aborted", "terminated", "cancelling"), "cancelled"
    ),
    **dict.fromkeys(("timeout", "timed_out", "timedout", "expired"), "timed_out"),
    **dict.fromkeys(("partial", "partially_completed", "completed_with_errors"), "partial"),
    **dict.fromkeys(("retry", "up_for_retry", "retrying", "retried", "awaitingretry"), "retried"),
}


def status_of(value: JsonValue) -> Status | None:
    """The status that an engine's word means, in any case, an enum's `Class.` before it or not; None if unknown."""
    if not isinstance(value, str):
        return None
    word = value.rsplit(".", 1)[-1].strip().lower().replace("-", "_").replace(" ", "_")
    return _STATUSES.get(word)
