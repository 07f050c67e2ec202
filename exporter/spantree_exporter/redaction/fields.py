"""Where in a text a key and its value stand. Pure.

    {"password": "x"}, escaped as deeply as it is    {'token': 12}    password=x&n=1    ?token=x    token%3Dx
    Authorization: Bearer x    Cookie: a=x; b=y    --password x    <password>x</password>
    "name": "cookie", "value": "x"

A text is read once from its beginning to its end: what was a value is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from spantree_exporter.redaction.effort import Effort
from spantree_exporter.redaction.key_words import KeyWords
from spantree_exporter.redaction.linear import compiled_finder
from spantree_exporter.redaction.rules import KeyRule
from spantree_exporter.redaction.verify import is_no_word, is_nothing

_SEPARATOR: Final = (
    r"(?P<quoted>\\{0,16}[\"']\s{0,8}(?:=>|:?={1,3}|:)\s{0,8})"
    r"|(?P<named>\\{0,16}[\"']\s{0,8},\s{0,8}\\{0,16}[\"']value\\{0,16}[\"']\s{0,8}[:=]\s{0,8}"
    r"(?:\{\s{0,8}\\{0,16}[\"']stringValue\\{0,16}[\"']\s{0,8}:\s{0,8})?)"
    r"|(?P<escaped>%3[Dd]|\\{1,16}u003[Dd]|%22(?:%20|\+)?%3[Aa](?:%20|\+)?(?:%22)?)"
    r"|(?P<plain>\s{0,8}(?:=>|:?={1,3}|:(?![:/]))\s{0,8})"
    r"|(?P<tag>>)"
    r"|(?P<flag>\s{1,8}(?=\S))"
)
_OPENING: Final = re.compile(r"[bru]{0,2}(\\{0,16})([\"'])")
_UNQUOTED: Final = re.compile(r"[^\s\"',;&}\]<>\\]+(?:\\(?!u0026|[\"'])[^\s\"',;&}\]<>\\]*)*+")
_ESCAPED_VALUE: Final = re.compile(r"[^\s\"'&,;<>%\\]+(?:%(?!2[26])[^\s\"'&,;<>%\\]*)*+")
_LINE: Final = re.compile(r"[^\r\n\"']+")
# A header's scheme stays: it tells what kind of secret there was.
_SCHEME: Final = re.compile(r"(?:bearer|basic|digest|negotiate|ntlm|token|apikey|aws4-hmac-sha256)\s+", re.IGNORECASE)
_HEADERS: Final = frozenset({"authorization", "cookie"})
# Words that prose has before a colon: what follows such a one is a secret only if it is no word.
_PROSE: Final = frozenset({"secret", "token", "credential", "jwt", "cookie", "authorization"})
_KEY_CHARS: Final = 80
# So much of a line tells whether it is a header, so that many that look like one are not each read to the end.
_TOLD_BY_CHARS: Final = 200
_IN_KEY: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.$")


@dataclass(frozen=True, slots=True)
class FoundValue:
    """A secret at `start` to `end`, called `key` that begins at `key_start`; `bare`: it has no quotes, a string would.

    `quote` is what a string is quoted with there, escaped as deeply; "" where texts are not quoted.
    """

    rule: KeyRule
    key_start: int
    start: int
    end: int
    bare: bool
    quote: str


class FieldFinder:
    """Finds the values that keys tell to be secrets."""

    def __init__(self, endings: str, words: KeyWords) -> None:
        self._words = words
        pattern = rf"(?:{endings})(?:{_SEPARATOR})"
        self._pattern = re.compile(pattern, re.IGNORECASE | re.ASCII)
        # The same without looking ahead, which RE2 does not: matches wherever the pattern does, and begins there.
        self.scan = "(?i:" + re.sub(r"\(\?[=!][^()]*\)|\?P<\w+>", _for_re2, pattern) + ")"
        self._next: Callable[[bytes, int], int] | None = compiled_finder(self.scan)

    def find(self, text: str, effort: Effort) -> Iterator[FoundValue]:
        """What there is in `text`, from left to right; no two overlap. Raises TooManyPlaces."""
        sent = text.encode("latin-1")
        at = 0
        while (match := self._search(text, sent, at)) is not None:
            effort.spend()
            found = self._value(text, match, at)
            if found is None:
                # What looked like a separator may begin what follows.
                at = max(match.start() + 1, match.end() - (match.lastgroup == "flag"))
                continue
            yield found
            at = max(found.end, match.end())

    def _search(self, text: str, sent: bytes, at: int) -> re.Match[str] | None:
        if self._next is None:
            return self._pattern.search(text, at)
        while (at := self._next(sent, at)) >= 0:
            if (match := self._pattern.match(text, at)) is not None:
                return match
            at += 1
        return None

    def _value(self, text: str, match: re.Match[str], not_before: int) -> FoundValue | None:
        separator = match.lastgroup or ""
        key_end = match.start(separator)
        key_start = match.start()
        while key_start > max(not_before, match.start() - _KEY_CHARS) and text[key_start - 1] in _IN_KEY:
            key_start -= 1
        # An escaped line end before a key is no part of it.
        if key_start and text[key_start - 1] == "\\" and text[key_start] in "nrt" and key_start < match.start():
            key_start += 1
        key = text[key_start:key_end]
        rule = self._words.of(key.lstrip("-")) if separator == "flag" else self._words.of(key)
        if rule is None:
            return None
        start = match.end()
        if separator == "flag" and not key.startswith("-"):
            return None
        if separator == "tag":
            return _in_tag(text, key_start, start, rule)
        if separator == "escaped":
            return _bare(text, key_start, start, _ESCAPED_VALUE.match(text, start), rule, "")
        opening = _OPENING.match(text, start)
        if opening is not None:
            end = closing(text, opening.end(), len(opening[1]), opening[2])
            return _unless_nothing(text, FoundValue(rule, key_start, opening.end(), end, False, ""))
        quote = _quote_of(match[separator]) if separator in ("quoted", "named") else ""
        if text[start : start + 1] in ("{", "["):
            if separator not in ("quoted", "named"):
                return None
            return FoundValue(rule, key_start, start, balanced(text, start), True, quote)
        if rule.kind in _HEADERS and separator == "plain" and ":" in match[separator]:
            return _header(text, key_start, start, rule)
        found = _bare(text, key_start, start, _UNQUOTED.match(text, start), rule, quote)
        is_prose = separator == "plain" and match[separator].endswith(": ") and rule.kind in _PROSE
        return None if found is not None and is_prose and not is_no_word(text[found.start : found.end]) else found


def _for_re2(found: re.Match[str]) -> str:
    return "" if found[0].startswith("(") else "?:"


def closing(text: str, at: int, backslashes: int, quote: str) -> int:
    """Where the string that begins at `at` ends: before its closing quote, or at the end of a text that was cut.

    Its quotes have so many backslashes before them, 2**depth - 1; one within it has more.
    """
    period = 2 * (backslashes + 1)
    searched = at
    while (found := text.find(quote, searched)) >= 0:
        before = found
        while before > at and text[before - 1] == "\\":
            before -= 1
        if (found - before) % period == backslashes:
            return found - backslashes
        searched = found + 1
    return len(text)


def balanced(text: str, at: int) -> int:
    """Where the object or list that begins at `at` ends, or the end of a text that was cut."""
    depth = 0
    end = len(text)
    while at < end:
        mark = _BRACKETS.search(text, at)
        if mark is None:
            return end
        if mark[2]:
            at = closing(text, mark.end(), len(mark[1]), mark[2]) + len(mark[1]) + 1
            continue
        at = mark.end()
        depth += 1 if mark[0] in "{[" else -1
        if depth == 0:
            return at
    return end


_BRACKETS: Final = re.compile(r"(\\*+)([\"'])|[{}\[\]]")


def _quote_of(separator: str) -> str:
    match = _OPENING.match(separator)
    return "" if match is None else match[1] + match[2]


def _bare(
    text: str, key_start: int, start: int, match: re.Match[str] | None, rule: KeyRule, quote: str
) -> FoundValue | None:
    if match is None:
        return None
    return _unless_nothing(text, FoundValue(rule, key_start, start, match.end(), True, quote))


def _in_tag(text: str, key_start: int, start: int, rule: KeyRule) -> FoundValue | None:
    before = text.rfind("<", max(0, key_start - _KEY_CHARS), key_start)
    if before < 0 or (before + 1 < key_start and not text[before + 1 : key_start].rstrip(":").isalnum()):
        return None
    end = text.find("<", start)
    return _unless_nothing(text, FoundValue(rule, key_start, start, len(text) if end < 0 else end, False, ""))


def _header(text: str, key_start: int, start: int, rule: KeyRule) -> FoundValue | None:
    scheme = _SCHEME.match(text, start)
    if scheme is not None:
        start = scheme.end()
    first = _UNQUOTED.match(text, start)
    beginning = _LINE.match(text, start, start + _TOLD_BY_CHARS)
    if beginning is None or (
        scheme is None and "=" not in beginning[0] and (first is None or not is_no_word(first[0]))
    ):
        return None
    line = _LINE.match(text, start) or beginning
    end = start + len(line[0].rstrip())
    return _unless_nothing(text, FoundValue(rule, key_start, start, end, False, ""))


def _unless_nothing(text: str, found: FoundValue) -> FoundValue | None:
    return None if is_nothing(text[found.start : found.end]) else found
