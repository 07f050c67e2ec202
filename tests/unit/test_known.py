"""What a writer knows to be stored is bounded, and who has most is forgotten first."""

from __future__ import annotations

from spantree_exporter.postgres.known import Known


def test_beyond_the_bound_whoever_has_most_is_forgotten_and_the_others_are_not() -> None:
    known: Known[int] = Known(100)
    known.add(1, range(60))
    known.add(2, range(40))
    known.add(2, range(40))
    assert (len(known), len(known.of(1)), len(known.of(2)), known.of(3)) == (100, 60, 40, frozenset())
    known.add(3, [7])
    assert (len(known), known.of(1), len(known.of(2)), known.of(3)) == (41, frozenset(), 40, {7})
    # What was forgotten counts no more: there is room again, up to the same bound.
    known.add(1, range(59))
    assert (len(known), len(known.of(1)), len(known.of(2))) == (100, 59, 40)
    known.forget()
    assert (len(known), known.of(1)) == (0, frozenset())


def test_one_that_alone_is_too_much_is_forgotten_itself() -> None:
    known: Known[int] = Known(10)
    known.add(1, range(11))
    assert (len(known), known.of(1)) == (0, frozenset())
