"""Patterns of people, by RE2: linear in the text, whatever the pattern. And RE2 where it speeds up what we look for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

# RE2 gives up on a pattern that would need more; its default is 8 MiB, which our own patterns of scan.py fill.
_MEMORY_BYTES: Final = 64 * 2**20
_OWN_MEMORY_BYTES: Final = 8 * 2**20


def re2_or_none() -> Any:
    """The module re2 (google-re2), None where it is not installed."""
    try:
        return import_module("re2")
    except ImportError:
        return None


def compiled(pattern: str, memory_bytes: int = _OWN_MEMORY_BYTES) -> Any:
    """`pattern` for bytes that are text in UTF-8. Raises ValueError with what is wrong; ImportError without RE2."""
    re2 = import_module("re2")
    options = re2.Options()
    options.max_mem = memory_bytes
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0] if error.args else error
        raise ValueError(told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)) from error


def compiled_scan(pattern: str) -> Any:
    """`pattern`, whose groups are of no interest, for bytes of any kind. Raises as `compiled` does."""
    return import_module("re2").compile(pattern.encode("ascii"), _options_for_bytes())


def compiled_finder(pattern: str) -> Callable[[bytes, int], int] | None:
    """Where `pattern` matches next from a place on, -1 for nowhere; None without RE2."""
    if re2_or_none() is None:
        return None
    search = compiled_scan(pattern).search

    def find(sent: bytes, at: int) -> int:
        found = search(sent, at)
        return -1 if found is None else int(found.start())

    return find


def compiled_set(patterns: Sequence[str]) -> Callable[[bytes], list[int]] | None:
    """Which of `patterns` match somewhere, by their numbers, in one look; None without RE2."""
    if (re2 := re2_or_none()) is None:
        return None
    found = re2.Set.SearchSet(_options_for_bytes())
    for pattern in patterns:
        found.Add(pattern.encode("ascii"))
    found.Compile()
    # None where there is none.
    return lambda sent: found.Match(sent) or []


def _options_for_bytes() -> Any:
    options = import_module("re2").Options()
    options.encoding = options.Encoding.LATIN1
    options.max_mem = _MEMORY_BYTES
    options.never_capture = True
    options.log_errors = False
    return options


def pattern_fault(pattern: str) -> str | None:
    """Why this pattern of a person cannot be taken; None where it can."""
    try:
        found = compiled(pattern)
    except ImportError:
        return "needs RE2 (patterns that no text can make slow); pip install google-re2, which spantree[collector] has"
    except ValueError as error:
        return f"cannot be read: {error}; RE2's syntax is github.com/google/re2/wiki/Syntax"
    if r"\Q" in pattern:
        return r"quotes by \Q, which is not taken; write a backslash before each sign"
    if found.search(b"") is not None:
        return "matches nothing at all, too, and so every text; make it ask for something"
    return None


def without_places(pattern: str) -> str:
    """`pattern` without what tells a place (^, $, edges of words): in a body, texts have other bytes beside them."""
    kept: list[str] = []
    at = 0
    in_class = False
    while at < len(pattern):
        one = pattern[at]
        if one == "\\" and at + 1 < len(pattern):
            pair = pattern[at : at + 2]
            at += 2
            if in_class or pair[1] not in "bBAz":
                kept.append(pair)
            continue
        at += 1
        if in_class:
            in_class = one != "]"
        elif one == "[":
            in_class = True
            # A bracket that comes first is a member.
            first = pattern[at : at + 2]
            taken = 2 if first == "^]" else 1 if first[:1] in ("]", "^") else 0
            kept.append(one + pattern[at : at + taken])
            at += taken
            continue
        elif one in "^$":
            continue
        kept.append(one)
    return "".join(kept)
