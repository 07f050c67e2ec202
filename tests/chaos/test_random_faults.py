"""A short run of `make chaos`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.chaos.random_faults import FAULTS, run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_random_faults_under_load_lose_nothing_and_store_nothing_twice(tmp_path: Path) -> None:
    """Six faults of a seed of today's; the message of a failure names it, CHAOS_SEED repeats it."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    assert run(tmp_path, 6, seed).endswith("none lost, none twice")


def test_every_fault_is_of_its_own_kind() -> None:
    assert len({fault.__name__ for fault in FAULTS}) == len(FAULTS) == 9
