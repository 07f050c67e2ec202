"""Turns at work in the background, which one of all processes on a database does for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.sql import statements

_SQL: Final = statements("upkeep")

# A process asks the database so often at most; a hundred of them are a hundred updates a second that find nothing.
_LOOK_S: Final = 1.0
# What a turn took counts for no longer a rest: its process may have been stopped meanwhile.
_REST_MAX_S: Final = 600.0


class Turns:
    """The turns of one process at one kind of work, over one connection. Nobody else has one meanwhile.

    All processes together take no more than `share` of the time, unless a turn ends with `more` to do: whoever had one
    of a second at a share of 0.02 leaves the work alone for 50 s. A turn that `end` never ended, since the process died
    or the work failed, is over `retry_s` after it began: the work itself must bear to be done by two. The database is
    asked every `look_s` at most.
    """

    def __init__(
        self, connection: StoreConnection, work: str, *, share: float, retry_s: float, look_s: float = _LOOK_S
    ) -> None:
        self._connection = connection
        self._work = work
        self._share = share
        self._retry_s = retry_s
        self._look_s = look_s
        self._look_at_s = 0.0
        self._begun_s = 0.0

    def begin(self, is_wanted: Callable[[], bool] = lambda: True) -> bool:
        """Whether there is a turn now; then `end` is to be called. Raises psycopg.Error.

        There is none where the work is not wanted, which is asked before anything is written.
        """
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + self._look_s
        if not is_wanted():
            return False
        taken = self._connection.open().execute(
            _SQL["take_turn"],
            {"work": self._work, "retry_s": self._retry_s, "longest_s": max(self._retry_s, _REST_MAX_S)},
        )
        self._begun_s = time.monotonic()
        return taken.fetchone() is not None

    def end(self, *, rest_s: float = 0.0, more: bool = False) -> None:
        """The work is done, and due again in `rest_s`, or later if it took long; with `more` at once, whatever it took.

        Raises psycopg.Error.
        """
        ended_s = time.monotonic()
        rest_s = 0.0 if more else min(max(rest_s, (ended_s - self._begun_s) / self._share), _REST_MAX_S)
        self._look_at_s = ended_s + min(rest_s, self._look_s)
        self._connection.open().execute(_SQL["end_turn"], {"work": self._work, "rest_s": rest_s})
