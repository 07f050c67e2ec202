r"""Go's regular expressions, in which TraceQL is written, as PostgreSQL reads them. Pure.

https://github.com/google/re2/wiki/Syntax and https://www.postgresql.org/docs/current/functions-matching.html: most of
both is written alike, and some of it means something else. `\b` is a boundary of words in one and a backspace in the
other, `\x53ELECT` begins with one character or with another one. What has no counterpart is refused by name. A pattern
has to match all of a text, and its points match line ends, as those of TraceQL do.
"""

from __future__ import annotations

import re
from typing import Final

CHARS_MAX: Final = 256
# PostgreSQL counts up to 255 in one repetition; Go lets repetitions within each other come to 1,000.
_REPEATED_MAX: Final = 255
_REPEATED_IN_ALL_MAX: Final = 1_000
_DEPTH_MAX: Final = 32

_FLAGS: Final = re.compile(r"\(\?([is]+)\)")
_GROUP: Final = re.compile(r"\((?:\?(?::|P?<[A-Za-z_]\w*>))?(?!\?)")
_COUNT: Final = re.compile(r"\{(\d{1,6})(?:,(\d{0,6}))?\}", re.ASCII)
_CODE: Final = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})")
_NAMED: Final = re.compile(r"\[:\^?[a-z]+:\]")
# What both have after a backslash, and what is written otherwise.
_SAME: Final = frozenset("dDwWsSafnrtv")
_OTHERWISE: Final = {"b": r"\y", "B": r"\Y", "A": r"\A", "z": r"\Z"}
# Classes of characters that may stand within brackets; their opposites may not.
_IN_BRACKETS: Final = frozenset("dwsafnrtv")
_SPECIAL: Final = frozenset("\\^$.|?*+()[]{}-")


def whole_text_pattern(pattern: str) -> str:
    """The pattern of PostgreSQL's that matches texts of which `pattern` matches all. Raises ValueError, saying why."""
    if len(pattern) > CHARS_MAX:
        raise ValueError(f"it has {len(pattern)} characters: {CHARS_MAX} is the most")
    flags = _FLAGS.match(pattern)
    at = flags.end() if flags else 0
    # PostgreSQL takes flags at the very beginning only.
    head = f"(?{flags[1]})" if flags else ""
    return f"{head}^(?:{_Translation(pattern, at).all()})$"


class _Translation:
    def __init__(self, pattern: str, at: int) -> None:
        self._pattern = pattern
        self._at = at
        self._told: list[str] = []
        # How often what has been read last is repeated, and for each open parenthesis the most of what is in it.
        self._last = 0
        self._most = [1]

    def all(self) -> str:
        while self._at < len(self._pattern):
            self._one()
        if len(self._most) > 1:
            raise ValueError("a parenthesis is not closed")
        return "".join(self._told)

    def _one(self) -> None:
        sign = self._pattern[self._at]
        if sign == "\\":
            self._escape()
        elif sign == "[":
            self._put(self._brackets())
        elif sign == "(":
            self._open()
        elif sign == ")":
            self._close()
        elif sign in "*+?" or (sign == "{" and _COUNT.match(self._pattern, self._at)):
            self._repeat()
        elif sign in "|^$":
            self._told.append(sign)
            self._at, self._last = self._at + 1, 0
        else:
            self._put(sign if sign not in "{}]" else "\\" + sign)
            self._at += 1

    def _put(self, atom: str) -> None:
        self._told.append(atom)
        self._last = 1

    def _open(self) -> None:
        found = _GROUP.match(self._pattern, self._at)
        if found is None:
            raise ValueError(
                f"{self._pattern[self._at : self._at + 5]!r} is not served: groups are, and (?i) at the beginning"
            )
        if len(self._most) > _DEPTH_MAX:
            raise ValueError(f"parentheses nest deeper than {_DEPTH_MAX}")
        self._told.append("(?:")
        self._most.append(1)
        self._at, self._last = found.end(), 0

    def _close(self) -> None:
        if len(self._most) == 1:
            raise ValueError("a parenthesis is closed that was not opened")
        self._told.append(")")
        self._at, self._last = self._at + 1, self._most.pop()
        self._most[-1] = max(self._most[-1], self._last)

    def _repeat(self) -> None:
        if not self._last:
            raise ValueError("there is nothing to repeat")
        count = _COUNT.match(self._pattern, self._at)
        if count is not None:
            bounds = [int(text) for text in (count[1], count[2]) if text]
            if max(bounds) > _REPEATED_MAX or bounds != sorted(bounds):
                raise ValueError(f"{count[0]} is not served: {_REPEATED_MAX} is the most")
            times = max(1, *bounds) if len(bounds) > 1 else max(1, bounds[0])
            self._told.append(count[0])
            self._at = count.end()
        else:
            times = 1
            self._told.append(self._pattern[self._at])
            self._at += 1
        if self._last * times > _REPEATED_IN_ALL_MAX:
            raise ValueError(f"repetitions within each other come to more than {_REPEATED_IN_ALL_MAX}")
        self._most[-1] = max(self._most[-1], self._last * times)
        if self._pattern[self._at : self._at + 1] == "?":
            self._told.append("?")
            self._at += 1
        self._last = 0  # Go repeats no repetition

    def _escape(self) -> None:
        sign = self._pattern[self._at + 1 : self._at + 2]
        if sign == "Q":
            text, _, _ = self._pattern[self._at + 2 :].partition(r"\E")
            for character in text:
                self._put(_literal(character))
            self._at = min(len(self._pattern), self._at + 2 + len(text) + 2)
        elif sign in _OTHERWISE:
            self._told.append(_OTHERWISE[sign])
            self._at, self._last = self._at + 2, 0
        else:
            self._put(self._escaped(_SAME))

    def _escaped(self, same: frozenset[str]) -> str:
        """What is written for the escape here, one character or a class of them."""
        sign = self._pattern[self._at + 1 : self._at + 2]
        code = _CODE.match(self._pattern, self._at + 1)
        if code is not None:
            self._at = code.end()
            return _literal(_character(int(code[1] or code[2], 16)))
        self._at += 2
        if sign in same and sign:
            return "\\" + sign
        if sign and not sign.isalnum():
            return _literal(sign)
        raise ValueError(f"{chr(92) + sign} is not served")

    def _brackets(self) -> str:
        pattern = self._pattern
        told = ["["]
        self._at += 1
        if pattern[self._at : self._at + 1] == "^":
            told.append("^")
            self._at += 1
        is_first = True
        while True:
            sign = pattern[self._at : self._at + 1]
            if not sign:
                raise ValueError("a bracket is not closed")
            if sign == "]" and not is_first:
                self._at += 1
                return "".join(told) + "]"
            is_first = False
            named = _NAMED.match(pattern, self._at)
            if named is not None:
                if "^" in named[0]:
                    raise ValueError(f"{named[0]} is not served")
                told.append(named[0])
                self._at = named.end()
            elif sign == "\\":
                told.append(self._escaped(_IN_BRACKETS))
            else:
                # In PostgreSQL's brackets [. and [= begin something else.
                told.append("\\" + sign if sign in "[]" else sign)
                self._at += 1


def _literal(character: str) -> str:
    return "\\" + character if character in _SPECIAL else character


def _character(code: int) -> str:
    if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise ValueError(f"{code:x} is the code of no character that a stored text has")
    return chr(code)
