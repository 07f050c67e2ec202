"""Whose report readiness shows."""

from __future__ import annotations

from spantree_collector.write.retrying_store import StoreHealth, StoreState
from spantree_collector.write.writers import worst


def test_one_that_fails_for_good_is_not_hidden_by_one_that_comes_and_goes() -> None:
    failing = StoreHealth(StoreState.FAULT, "it ends again and again", 100.0)
    flapping = [StoreHealth(state, "", 200.0 + number) for number, state in enumerate(StoreState)]
    assert [worst([failing, other]) for other in flapping] == [failing] * len(flapping)


def test_waiting_for_a_person_is_worse_than_waiting_and_that_than_being_well() -> None:
    order = [StoreState.OK, StoreState.STARTING, StoreState.UNAVAILABLE, StoreState.OPERATOR, StoreState.FAULT]
    reports = [StoreHealth(state, "", 0.0) for state in order]
    assert [worst(reports[: number + 1]).state for number in range(len(order))] == order
