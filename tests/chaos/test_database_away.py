"""A short form of `python -m tests.chaos.database_away`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.database_away import run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_spans_that_come_while_postgresql_is_away_are_taken_and_stored_once(tmp_path: Path) -> None:
    outcome = run(tmp_path, 3.0, 400.0)
    assert outcome.lost_or_twice() == []
    assert outcome.waiting_spans > 0
