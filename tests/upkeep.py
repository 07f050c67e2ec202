"""When work in the background is due again."""

from __future__ import annotations

from tests.tables import query

_DUE_IN_S = "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM spantree.upkeep WHERE work = 'fold'"


def due_in_s(url: str) -> float:
    """In how many seconds figures may be folded again."""
    [(seconds,)] = query(url, _DUE_IN_S)
    assert isinstance(seconds, float)
    return seconds
