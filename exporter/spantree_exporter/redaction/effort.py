"""How much work the secrets of one request, one span or one log record may be."""

from __future__ import annotations

from typing import Final

PLACES_MAX: Final = 200_000
"""Some ten microseconds each (measured): two seconds. A megabyte of text that is about passwords has a thousand."""
TOO_MANY: Final = "too_many"
"""The kind of a text that went as a whole since there were more places to look at."""


class TooManyPlaces(Exception):
    """More places look like a secret than are looked at; what else looks like one goes with the text around it."""


class Effort:
    """Counts the places that were looked at since they look like a secret's, whether they were or not."""

    def __init__(self) -> None:
        self._left = PLACES_MAX

    def spend(self) -> None:
        """Look at one more. Raises TooManyPlaces, from then on each time."""
        if self._left <= 0:
            raise TooManyPlaces
        self._left -= 1
