"""What the commands print on: results on standard output, steps and faults on standard error.

A result's line is one line in a pipe or a file, whatever its length, so that grep finds it whole; a terminal folds it.
"""

from __future__ import annotations

import codecs
import contextlib
import logging
import os
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self, TextIO

Piece = tuple[str, str]
"""A text and its style: words out of `_CODES`, or nothing."""
Line = Sequence[Piece]

_CODES: Final = {
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bright_black": "90",
}
# What a terminal acts on instead of showing it: C0 and C1 controls, of which the picture is shown, and what turns the
# direction of writing. Names and messages come from whoever sends spans.
_UNSAFE: Final = (
    {code: 0x2400 + code for code in range(0x20)}
    | {0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
)
# As CSV ends its lines.
_UNSAFE_BUT_LINES: Final = _UNSAFE | {0x0A: 0x0A, 0x0D: None}
_UNSAFE_IN_JSON: Final = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NARROWEST: Final = 40


class Stream:
    """One of the standard streams, looked up at each use: tests and shells exchange them."""

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        self._stream = stream

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches."""
        return self._stream().isatty()

    def print(self, text: str = "", style: str = "") -> None:
        """A text as it is, line breaks included; ids, URLs and commands in it are there to be copied."""
        stream = self._stream()
        stream.write("\n".join(self._styled(line, style) for line in text.split("\n")) + "\n")
        stream.flush()

    def tell(self, text: str = "", style: str = "") -> None:
        """As `print`, of what nothing depends on: there may be no room for it, or whoever read it may be gone."""
        with contextlib.suppress(OSError):
            self.print(text, style)

    def leave_unwritten(self) -> None:
        """Let the end of the process not try again to write what could not be written, and not fail of it."""
        stream = self._stream()
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

    def lines(self, lines: Iterable[tuple[Line, str]]) -> None:
        """Lines with what begins each of their continuations, where the terminal is too narrow for them."""
        stream = self._stream()
        width = shutil.get_terminal_size().columns if stream.isatty() else None
        for line, hang in lines:
            for part in _folded(line, hang, width):
                stream.write("".join(self._styled(safe(t), s) for t, s in part))
                stream.write("\n")
        stream.flush()

    def clear(self) -> None:
        """Begin the terminal's page anew."""
        stream = self._stream()
        stream.write("\x1b[H\x1b[2J\x1b[3J")
        stream.flush()

    def status(self, text: str) -> _Status:
        """A line that is written over while something is under way; nothing at all where nobody watches."""
        return _Status(self._stream(), text)

    def _styled(self, text: str, style: str) -> str:
        if not style or not text or not self._is_coloured():
            return text
        return f"\x1b[{';'.join(_CODES[word] for word in style.split())}m{text}\x1b[0m"

    def _is_coloured(self) -> bool:
        # https://no-color.org
        return self._stream().isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Status:
    def __init__(self, stream: TextIO, text: str) -> None:
        self._stream = stream
        self._text = text

    def update(self, text: str) -> None:
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K• {text}")
            self._stream.flush()

    def __enter__(self) -> Self:
        self.update(self._text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()


out: Final = Stream(lambda: sys.stdout)
err: Final = Stream(lambda: sys.stderr)


def step(text: str) -> None:
    """A line of progress."""
    err.tell(f"• {text}", "bright_black")


def fault(text: str) -> None:
    """A sentence about what went wrong."""
    err.print(f"spantree: {text}", "red")


def safe(text: str) -> str:
    """A line's text that does nothing to a terminal."""
    return text.translate(_UNSAFE)


def safe_json(text: str) -> str:
    """The same JSON without what a terminal acts on: C0 is escaped in JSON already, C1 and directions are here.

    They stand within strings only, and are the same there when escaped.
    """
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class ForTerminal:
    """Writes bytes of UTF-8, in pieces of any length, to a terminal that acts on nothing in them but line ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, part: bytes) -> int:
        """Show the next part; characters that it begins are shown with the one after it."""
        self._stream.write(self._decoder.decode(part).translate(_UNSAFE_BUT_LINES))
        return len(part)


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def log_to_stderr(level: int, *, with_pool: bool = True) -> None:
    """Let the libraries' and servers' own messages through from `level` on.

    Without the API's pool of connections where a collector in the same process tells of the same outage.
    """
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(OncePerOutage())
    quiet_driver()
    # It tells of each attempt to reach a database that is away, several a second.
    logging.getLogger("psycopg.pool").addFilter(_Seldom())
    logging.getLogger("psycopg.pool").setLevel(level if with_pool else logging.ERROR)


def quiet_driver() -> None:
    """Keep what psycopg says of each connection that it gives up to itself; why is told by whoever had asked for it."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)


class OncePerOutage(logging.Filter):
    """Of the lines that every writing and projecting thread has for the same outage, and for its end, the first."""

    _INTERVAL_S = 60.0
    _AWAY = " thread waits for PostgreSQL"
    _BACK = "PostgreSQL takes the work of "

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._away_since_s: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is one that is new."""
        text = record.getMessage()
        if self._AWAY in text:
            now_s = self._clock()
            if self._away_since_s is not None and now_s < self._away_since_s + self._INTERVAL_S:
                return False
            self._away_since_s = now_s
        elif text.startswith(self._BACK):
            first, self._away_since_s = self._away_since_s is not None, None
            return first
        return True


class _Seldom(logging.Filter):
    """Lets one message through in a minute."""

    _INTERVAL_S = 60.0

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._INTERVAL_S
        return True


def _folded(line: Line, hang: str, width: int | None) -> list[list[Piece]]:
    """The line in parts that fit into `width` columns, broken at spaces where there are any."""
    if width is None or sum(cells(text) for text, _ in line) <= width:
        return [list(line)]
    width = max(width, _NARROWEST)
    parts: list[list[Piece]] = [[]]
    free = width
    for text, style in line:
        for word in re.findall(r"\s+|\S+", text):
            if cells(word) > free and not (word.isspace() and len(parts[-1]) == 1):
                parts.append([(hang, "bright_black")])
                free = max(width - cells(hang), _NARROWEST // 2)
                if word.isspace():
                    continue
            while cells(word) > free:
                cut = _prefix(word, free)
                parts[-1].append((word[:cut], style))
                parts.append([(hang, "bright_black")])
                word = word[cut:]
                free = max(width - cells(hang), _NARROWEST // 2)
            parts[-1].append((word, style))
            free -= cells(word)
    return parts


def _prefix(word: str, columns: int) -> int:
    used = 0
    for at, char in enumerate(word):
        used += cells(char)
        if used > columns:
            return max(at, 1)
    return len(word)
