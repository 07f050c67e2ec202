"""Changes in rows of the database, and which events they come to."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from spantree_api.streams.changes import ChangeRow, PlannedEvent, first_of, planned_events
from spantree_exporter.changes import NAMED_NODES, ChangedTrace, Changes, decoded

A, B = bytes(15) + b"a", bytes(15) + b"b"
UUID_A, UUID_B = UUID(bytes=A), UUID(bytes=B)
X, Y, Z = (1, 0), (2, 0), (-3, 1)


def row(position: int, *traces: tuple[bytes, int | list[tuple[int, int]]]) -> ChangeRow:
    changes = Changes()
    for trace_id, nodes in traces:
        if isinstance(nodes, int):
            changes.add_new(trace_id, nodes)
        else:
            changes.add_changed(trace_id, nodes)
    return ChangeRow(position, changes.events, changes.encoded())


def test_a_transaction_is_read_as_it_was_written() -> None:
    one = row(107, (A, 3), (B, [X, Z]))
    assert one.events == 7
    assert list(one.traces()) == [
        ChangedTrace(A, 101, 3, None, many=False),
        ChangedTrace(B, 105, 2, (Z, X), many=False),
    ]


def test_of_more_nodes_than_can_be_named_one_event_is_made() -> None:
    one = row(4, (A, NAMED_NODES + 1), (B, [(number, 0) for number in range(NAMED_NODES + 1)]))
    assert [(trace.first, trace.last, trace.many) for trace in one.traces()] == [(1, 2, True), (3, 4, True)]
    assert planned_events([one], [], 0) == [
        PlannedEvent(1, UUID_A),
        PlannedEvent(2, UUID_A, many=True),
        PlannedEvent(3, UUID_B),
        PlannedEvent(4, UUID_B, many=True),
    ]


def test_each_execution_and_node_is_told_where_it_changed_last() -> None:
    rows = [row(3, (A, [X, Y])), row(5, (B, [X])), row(7, (A, [Y]))]
    assert planned_events(rows, [], 0) == [
        PlannedEvent(2, UUID_A, X),
        PlannedEvent(4, UUID_B),
        PlannedEvent(5, UUID_B, X),
        PlannedEvent(6, UUID_A),
        PlannedEvent(7, UUID_A, Y),
    ]


def test_what_is_not_numbered_yet_is_left_for_then() -> None:
    assert planned_events([row(3, (A, [X, Y]))], [row(0, (A, [Y]))], 0) == [PlannedEvent(2, UUID_A, X)]
    assert planned_events([row(3, (A, [X, Y]))], [row(0, (A, 2))], 0) == []


def test_nodes_of_a_new_execution_are_told_but_for_those_that_changed_since() -> None:
    rows = [row(4, (A, 3)), row(6, (A, [Y]))]
    assert planned_events(rows, [], 0) == [
        PlannedEvent(2, UUID_A, new_nodes=3, except_keys=frozenset({Y})),
        PlannedEvent(5, UUID_A),
        PlannedEvent(6, UUID_A, Y),
    ]


def test_a_position_inside_a_transaction_is_gone_on_from() -> None:
    rows = [row(6, (A, [X, Y]), (B, [X, Y]))]
    # 1 A, 2 A.x, 3 A.y, 4 B, 5 B.x, 6 B.y
    assert [event.number for event in planned_events(rows, [], 2)] == [3, 4, 5, 6]
    assert planned_events(rows, [], 6) == []


def test_only_the_traces_asked_for_are_planned() -> None:
    assert planned_events([row(4, (A, [X]), (B, [X]))], [], 0, frozenset({UUID_B})) == [
        PlannedEvent(3, UUID_B),
        PlannedEvent(4, UUID_B, X),
    ]


def test_a_part_is_as_large_as_its_events_are_when_told() -> None:
    events = [PlannedEvent(1, UUID_A), PlannedEvent(2, UUID_A, new_nodes=50), PlannedEvent(52, UUID_B)]
    assert [len(first_of(events, limit)) for limit in (1, 2, 51, 52, 99)] == [1, 2, 2, 3, 3]


KEYS = st.lists(st.sampled_from([X, Y, Z]), unique=True)
ROWS = st.lists(st.lists(st.tuples(st.sampled_from([A, B]), KEYS), min_size=1, max_size=3), max_size=6)


@given(ROWS, st.integers(0, 30))
def test_wherever_a_client_left_off_it_is_told_the_rest_and_each_thing_once(
    written: list[list[tuple[bytes, list[tuple[int, int]]]]], after: int
) -> None:
    rows: list[ChangeRow] = []
    position = 0
    for traces in written:
        one = row(0, *traces)
        position += one.events
        rows.append(ChangeRow(position, one.events, one.changed))
    changes = [trace for one in rows for trace in decoded(one.changed, one.position - one.events + 1)]
    last: dict[tuple[UUID, tuple[int, int] | None], int] = {}
    last |= {(UUID(bytes=change.trace_id), None): change.first for change in changes}
    for change in changes:
        for number, key in enumerate(change.keys or (), start=change.first + 1):
            last[UUID(bytes=change.trace_id), key] = number
    events = planned_events([one for one in rows if one.position > after], [], after)
    assert {(event.trace_id, event.key): event.number for event in events} == {
        thing: number for thing, number in last.items() if number > after
    }
    assert [event.number for event in events] == sorted({event.number for event in events})
