"""TraceQL's text -> its tokens: strings, lengths of time, numbers, words, signs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from spantree_api.errors import InvalidParameter
from spantree_api.span_search.query import bounded_ns

CHARS_MAX: Final = 4_096

_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
    |(?P<length>-?(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|[smhdwy]))+(?![\w.]))
    |(?P<number>-?(?:\d+(?:\.\d+)?|\.\d+(?![\w.]))(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][\w.:/-]*(?:"(?:[^"\\]|\\.)*")?|\.[\w./-]*(?:"(?:[^"\\]|\\.)*")?)
    |(?P<sign>!>>|!<<|&>>|&<<|&&|\|\||=~|!~|!=|!>|!<|&>|&<|&~|>=|<=|>>|<<|=|>|<|[{}()|!+*/%^~,-])
    )""",
    re.VERBOSE,
)
# As Go's strings have them, in which Tempo writes its language.
_ESCAPE: Final = re.compile(r"\\(?:(?P<code>u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2})|(?P<sign>.))", re.DOTALL)
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HOUR_NS: Final = 3_600 * 10**9
_UNIT_NS: Final = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": _HOUR_NS, "d": 24 * _HOUR_NS,
    "w": 168 * _HOUR_NS, "y": 8_760 * _HOUR_NS,
}  # fmt: skip
_LENGTH_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(\D+)")


class Tokens:
    """What a text is made of, taken one by one, each as its kind and its text. Raises InvalidParameter."""

    def __init__(self, text: str) -> None:
        if len(text) > CHARS_MAX:
            raise refused(f"it has {len(text)} characters: {CHARS_MAX} is the most")
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._tokens)

    def peek(self) -> tuple[str, str]:
        """The next one, which stays."""
        return ("end", "the end") if self.is_over else self._tokens[self._at]

    def next(self) -> tuple[str, str]:
        """The next one."""
        token = self.peek()
        self._at += 1
        return token

    def take(self, sign: str) -> bool:
        """Whether the next one is this sign, which then is taken."""
        is_next = self.peek() == ("sign", sign)
        self._at += is_next
        return is_next

    def expect(self, sign: str) -> None:
        """Take this sign. Raises InvalidParameter where something else stands."""
        found = self.next()
        if found != ("sign", sign):
            raise refused(f"{found[1]!r} stands where {sign} is wanted")


def unquoted(text: str) -> str:
    """The text that a string stands for. Raises InvalidParameter where no stored text has it."""
    return text[1:-1] if text.startswith("`") else _ESCAPE.sub(_unescaped, text[1:-1])


def nanoseconds(length: str) -> int:
    """A length of time, in nanoseconds that a stored one can have."""
    parts = _LENGTH_PART.findall(length)
    of_all = bounded_ns(sum(float(number) * _UNIT_NS[unit] for number, unit in parts))
    return -of_all if length.startswith("-") else of_all


def refused(why: str) -> InvalidParameter:
    """The refusal of a query."""
    return InvalidParameter("q", f"this TraceQL is not understood: {why}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise refused(f"{text[at : at + 20]!r} cannot be read")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _unescaped(found: re.Match[str]) -> str:
    if found["code"] is None:
        return _ESCAPED.get(found["sign"], found["sign"])
    try:
        character = chr(int(found["code"].lstrip("uUx"), 16))
        character.encode()
    except (ValueError, OverflowError):
        raise refused(f"{found[0]} is no character") from None
    if character == "\x00":
        raise refused(f"{found[0]} is in no stored text")
    return character
