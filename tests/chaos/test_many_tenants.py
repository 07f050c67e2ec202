"""A short run of `python -m tests.chaos.many_tenants`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.many_tenants import run


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_spans_of_fifty_tenants_through_two_collectors_and_kills_are_each_stored_once_in_their_own(
    tmp_path: Path,
) -> None:
    outcome = run(tmp_path, 20_000, 50, 3)
    assert (outcome.spans, outcome.kills) == (26_000, 3)
