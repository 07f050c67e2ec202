"""Known errors and what to do about them: one table, ours (known_errors.toml) and a person's before it. Pure.

Patterns are texts in which `*` stands for anything, no regular expressions: they are searched for piece by piece, so
that no pattern and no message can cost more than their lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spantree_exporter.errors import ConfigError
from spantree_exporter.facts.exception_types import short_name

UNKNOWN: Final = "unknown"
# What of a message is looked at, and how much a file may hold.
_MESSAGE_CHARS: Final = 4_000
_TYPE_CHARS: Final = 200
_ERRORS_MAX: Final = 1_000
_MATCHES_MAX: Final = 50
_PATTERN_CHARS: Final = 200
_TEXT_CHARS: Final = 2_000
_LIST_MAX: Final = 10
_ENTRY_KEYS: Final = frozenset({"name", "match", "suggestion", "fixes", "prevention"})


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about an error. `name`: of the known error; None where only the category is known."""

    name: str | None
    suggestion: str
    fixes: tuple[str, ...] = ()
    prevention: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Both must match where both are given; lower case, in pieces between the stars."""

    type: tuple[str, ...] | None
    message: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class KnownErrors:
    """Entries in the order they are asked; the advice for each category."""

    entries: tuple[tuple[tuple[_Pattern, ...], Advice], ...]
    categories: Mapping[str, Advice]

    def advice_for(self, error_type: str | None, message: str | None, category: str | None) -> Advice:
        """What the first entry that matches says, else what is said of the category, else of an unknown one."""
        name = "" if error_type is None else short_name(error_type)[:_TYPE_CHARS].lower()
        text = (message or "")[:_MESSAGE_CHARS].lower()
        for patterns, advice in self.entries:
            if any(_matches(pattern, name, text) for pattern in patterns):
                return advice
        return self.categories.get(category or UNKNOWN) or self.categories[UNKNOWN]

    def before(self, other: KnownErrors) -> KnownErrors:
        """These entries first, then those of `other`; of categories that both have, these."""
        return KnownErrors(self.entries + other.entries, {**other.categories, **self.categories})


def known_errors_of(document: Mapping[str, Any]) -> KnownErrors:
    """What a parsed TOML document of the form of known_errors.toml says. Raises ConfigError with every fault."""
    faults = [
        f"{key} is no part of the known errors; wanted [[error]] or [category.NAME]"
        for key in document
        if key not in ("error", "category")
    ]
    errors, categories = document.get("error", []), document.get("category", {})
    if not isinstance(errors, list) or not isinstance(categories, dict):
        raise ConfigError([*faults, "known errors are tables: wanted [[error]] and [category.NAME]"])
    if len(errors) > _ERRORS_MAX or len(categories) > _ERRORS_MAX:
        raise ConfigError([*faults, f"there are more than {_ERRORS_MAX} known errors or categories"])
    entries = []
    for number, entry in enumerate(errors, start=1):
        place = f"[[error]] {number}"
        advice = _advice(entry, place, faults, known=_ENTRY_KEYS)
        patterns = _patterns(entry, place, faults)
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= _PATTERN_CHARS:
            faults.append(f"{place} has no name; wanted name = a text of at most {_PATTERN_CHARS} characters")
        elif advice is not None:
            entries.append((patterns, Advice(name, advice.suggestion, advice.fixes, advice.prevention)))
    by_category = {
        name: _advice(entry, f"[category.{name}]", faults, known=_ENTRY_KEYS - {"name", "match"})
        for name, entry in categories.items()
    }
    if faults:
        raise ConfigError(faults)
    return KnownErrors(tuple(entries), {name: one for name, one in by_category.items() if one is not None})


def _advice(entry: object, place: str, faults: list[str], *, known: frozenset[str]) -> Advice | None:
    if not isinstance(entry, dict):
        faults.append(f"{place} is no table")
        return None
    faults += [f"{place}: {key} is no field; wanted {', '.join(sorted(known))}" for key in entry if key not in known]
    suggestion = entry.get("suggestion")
    if not isinstance(suggestion, str) or not 0 < len(suggestion) <= _TEXT_CHARS:
        faults.append(f"{place} has no suggestion; wanted a text of at most {_TEXT_CHARS} characters")
        return None
    lists = {}
    for key in ("fixes", "prevention"):
        texts = entry.get(key, [])
        if (
            not isinstance(texts, list)
            or len(texts) > _LIST_MAX
            or not all(isinstance(text, str) and 0 < len(text) <= _TEXT_CHARS for text in texts)
        ):
            faults.append(f"{place}: {key} wants at most {_LIST_MAX} texts of at most {_TEXT_CHARS} characters")
            texts = []
        lists[key] = tuple(texts)
    return Advice(None, suggestion, lists["fixes"], lists["prevention"])


def _patterns(entry: object, place: str, faults: list[str]) -> tuple[_Pattern, ...]:
    given = entry.get("match") if isinstance(entry, dict) else None
    if not isinstance(given, list) or not 0 < len(given) <= _MATCHES_MAX:
        faults.append(f'{place} has no match; wanted 1 to {_MATCHES_MAX} of {{ type = "...", message = "..." }}')
        return ()
    found = []
    for one in given:
        texts = list(one.values()) if isinstance(one, dict) else []
        if (
            not texts
            or not set(one) <= {"type", "message"}
            or not all(isinstance(text, str) and text.strip("*") and len(text) <= _PATTERN_CHARS for text in texts)
        ):
            faults.append(f"{place}: match wants type, message or both, texts of at most {_PATTERN_CHARS} characters")
            continue
        found.append(_Pattern(_pieces(one.get("type")), _pieces(one.get("message"))))
    return tuple(found)


def _pieces(pattern: str | None) -> tuple[str, ...] | None:
    return None if pattern is None else tuple(pattern.lower().split("*"))


def _matches(pattern: _Pattern, name: str, text: str) -> bool:
    if pattern.type is not None and not _is_like(name, pattern.type):
        return False
    return pattern.message is None or _holds(text, pattern.message)


def _is_like(name: str, pieces: Sequence[str]) -> bool:
    """Whether all of `name` is the pieces with anything in between."""
    if len(pieces) == 1:
        return name == pieces[0]
    first, *middle, last = pieces
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _holds(text: str, pieces: Sequence[str]) -> bool:
    """Whether the pieces are in `text` one after the other, the first and the last at a word's edge."""
    at = 0
    for number, piece in enumerate(pieces):
        edge_before, edge_after = number == 0, number == len(pieces) - 1
        found = text.find(piece, at)
        while found >= 0:
            end = found + len(piece)
            if not (edge_before and _inside(text, found)) and not (edge_after and _inside(text, end)):
                break
            found = text.find(piece, found + 1)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _inside(text: str, at: int) -> bool:
    """Whether `at` is between two characters of one word."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()
