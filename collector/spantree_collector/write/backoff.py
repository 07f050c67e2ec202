"""How long to wait before the next attempt: growing, bounded, and never in step with others."""

from __future__ import annotations

import random


class Backoff:
    """Delays that double from `first_s` to `cap_s`, each drawn from its upper half.

    The jitter keeps many collectors from meeting a database in the same instant when it is back.
    """

    def __init__(self, first_s: float, cap_s: float, source: random.Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._source = source
        self._next_s = first_s

    def next_s(self) -> float:
        """The delay before the next attempt."""
        delay_s = self._next_s * self._source.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._cap_s)
        return delay_s

    def reset(self) -> None:
        """Start again from the first delay, after a success."""
        self._next_s = self._first_s
