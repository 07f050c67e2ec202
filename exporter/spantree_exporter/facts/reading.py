"""What the convention modules share: how a fact is put, and how values become previews, names and statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import orjson

from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import JsonValue, Span

# features.md S0: what people see of a value in lists and trees; the whole value stays in the span's attributes.
PREVIEW_CHARS: Final = 500


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


def preview(value: JsonValue) -> str | None:
    """A short text of `value`, None where there is nothing to show."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text[:PREVIEW_CHARS]


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
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return None


def texts_of(value: JsonValue) -> list[str]:
    """`value` as a list of names: a list of strings, JSON of one, or one string."""
    if isinstance(value, str):
        parsed = json_of(value) if value.startswith("[") else None
        value = parsed if isinstance(parsed, list) else [value] if value else []
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str) and item]
    return []


def json_of(value: JsonValue) -> JsonValue:
    """What `value` says if it is JSON text of an object or a list, None if it is not; a parsed value is itself."""
    if not isinstance(value, str):
        return value
    if value[:1] not in {"{", "["}:
        return None
    try:
        parsed: JsonValue = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return parsed


def put_preview(facts: Facts, field: str, value: JsonValue) -> None:
    """Put `input` or `output`, unless an earlier convention has."""
    if field not in facts and (text := preview(value)) is not None:
        if field == "input":
            facts["input"] = text
        else:
            facts["output"] = text


# conventions.md 4.3, first rule: the words in which engines say a state, in any case.
_STATUSES: Final[dict[str, Status]] = {
    **dict.fromkeys(("pending", "queued", "scheduled", "created", "submitted", "new", "not_started"), "pending"),
    **dict.fromkeys(("running", "executing", "in_progress", "started", "active", "processing"), "running"),
    **dict.fromkeys(
        ("waiting", "paused", "suspended", "deferred", "awaiting_input", "awaiting", "interrupted", "blocked"),
        "waiting",
    ),
    **dict.fromkeys(
        ("completed", "complete", "success", "succeeded", "successful", "ok", "done", "finished", "passed"), "completed"
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
