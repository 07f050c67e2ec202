"""A short form of `python -m tests.chaos.retention_kills`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.chaos.retention_kills import run


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_rules_keep_stays_where_retention_is_killed(tmp_path: Path) -> None:
    """Two rounds of a seed of today's; the message of a failure names it, CHAOS_SEED repeats it."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    assert run(tmp_path, 2, seed)["days_thinned"] >= 2
