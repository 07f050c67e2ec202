"""What the commands print on: results on standard output, steps and faults on standard error."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

from rich.console import Console, RenderableType

# Of trees and tables in a file or a pipe, which have no width of their own.
_PIPE_WIDTH = 160


def _console(stream: TextIO, *, stderr: bool) -> Console:
    # Ids, URLs and OTEL_* lines are there to be copied: no highlighting, no wrapping in their middle.
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=None if stream.isatty() else _PIPE_WIDTH)


out = _console(sys.stdout, stderr=False)
err = _console(sys.stderr, stderr=True)


def step(text: str) -> None:
    """A line of progress."""
    err.print(f"• {text}", style="bright_black", markup=False)


def block(renderable: RenderableType) -> None:
    """A tree or a table: folded into the terminal's width, so that its lines stay lines."""
    out.print(renderable, soft_wrap=False)


def fault(text: str) -> None:
    """A sentence about what went wrong."""
    err.print(f"spantree: {text}", style="red", markup=False)


def log_to_stderr(level: int) -> None:
    """Let the libraries' and servers' own messages through from `level` on."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    # It tells of each attempt to reach a database that is away, several a second.
    logging.getLogger("psycopg.pool").addFilter(_Seldom())


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
