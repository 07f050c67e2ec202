"""The delays between attempts."""

from __future__ import annotations

import random

from spantree_collector.write.backoff import Backoff


def test_delays_double_up_to_their_cap_and_start_again_after_a_reset() -> None:
    backoff = Backoff(0.1, 2.0, random.Random(1))
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    delays = [backoff.next_s() for _ in bounds]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    backoff.reset()
    assert 0.05 <= backoff.next_s() <= 0.1


def test_two_collectors_do_not_come_back_in_step() -> None:
    one, other = (Backoff(0.1, 2.0, random.Random(seed)) for seed in (1, 2))
    assert [one.next_s() for _ in range(5)] != [other.next_s() for _ in range(5)]
