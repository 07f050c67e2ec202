"""Events of a stream, in whatever pieces their bytes come."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from spantree_deploy.following import EventLines, StreamEvent

STREAM = (
    b'retry: 2000\nid: 4\nevent: position\ndata: {"position":"4"}\n\n: heartbeat\n\n'
    b'id: 5\nevent: execution\ndata: {"name":"a: b"}\n\nid: 6\nevent: node\ndata: {"id":"1"}\n\nid: 7\nevent: no'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_events_are_read_whole_from_any_pieces(cuts: list[int]) -> None:
    lines = EventLines()
    found: list[StreamEvent] = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        found += lines.feed(STREAM[start:end])
    assert found == [
        StreamEvent("position", {"position": "4"}),
        StreamEvent("execution", {"name": "a: b"}),
        StreamEvent("node", {"id": "1"}),
    ]
    assert lines.last == "6"
