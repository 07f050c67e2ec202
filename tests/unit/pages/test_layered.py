"""Layouts: every box in a place of its own, layers from left to right, cycles led back, few crossings."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from spantree_api.pages.layered import HEIGHT, WIDTH, Layout, layout


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    boxes = draw(st.integers(0, 12))
    one = st.integers(0, max(0, boxes - 1))
    edges = draw(st.lists(st.tuples(one, one), max_size=30)) if boxes else []
    return boxes, edges


def columns(found: Layout) -> list[int]:
    return [round(place.x / (WIDTH + 64)) for place in found.places]


def test_a_chain_is_one_line() -> None:
    found = layout(3, [(0, 1), (1, 2)])
    assert columns(found) == [0, 1, 2]
    assert {place.y for place in found.places} == {0.0}
    assert [way.points for way in found.ways] == [[(172.0, 22.0), (236.0, 22.0)], [(408.0, 22.0), (472.0, 22.0)]]
    assert (found.width, found.height) == (3 * WIDTH + 2 * 64, HEIGHT)


def test_a_join_comes_after_the_longest_way_to_it() -> None:
    assert columns(layout(4, [(0, 1), (1, 2), (2, 3), (0, 3)])) == [0, 1, 2, 3]


def test_an_edge_over_several_layers_goes_past_the_boxes_between() -> None:
    found = layout(4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    long_way = found.ways[3].points
    assert len(long_way) == 6, "begin, in and out of each layer between, end"
    for x, y in long_way[1:-1]:
        inside = [place for place in found.places if place.x <= x <= place.x + WIDTH and place.y < y < place.y + HEIGHT]
        assert inside == []


def test_an_edge_that_closes_a_cycle_leads_back() -> None:
    found = layout(3, [(0, 1), (1, 2), (2, 0)])
    assert [way.turned for way in found.ways] == [False, False, True]
    assert found.ways[2].points[0][0] > found.ways[2].points[-1][0]


def test_parallel_ways_that_need_not_cross_do_not() -> None:
    found = layout(6, [(0, 5), (1, 4), (2, 3)])
    left, right = ([found.places[box].y for box in boxes] for boxes in ((0, 1, 2), (5, 4, 3)))
    assert sorted(range(3), key=left.__getitem__) == sorted(range(3), key=right.__getitem__)


def test_nothing_is_a_layout_too() -> None:
    assert layout(0, []) == Layout([], [], 0.0, 0.0)


@given(graphs())
def test_no_two_boxes_overlap_and_no_edge_is_lost(graph: tuple[int, list[tuple[int, int]]]) -> None:
    boxes, edges = graph
    found = layout(boxes, edges)
    assert len(found.places) == boxes
    assert len(found.ways) == len(edges)
    for one, other in itertools.combinations(found.places, 2):
        assert one.x != other.x or abs(one.y - other.y) >= HEIGHT
    for place in found.places:
        assert 0 <= place.x <= found.width - WIDTH
        assert -0.01 <= place.y <= found.height - HEIGHT + 0.01
    for (a, b), way in zip(edges, found.ways, strict=True):
        begins, ends = (b, a) if way.turned else (a, b)
        x, y = found.places[begins].x + WIDTH, found.places[begins].y + HEIGHT / 2
        first, last = (way.points[-1], way.points[0]) if way.turned else (way.points[0], way.points[-1])
        assert first == (x, y)
        assert last == (found.places[ends].x, found.places[ends].y + HEIGHT / 2)
    assert layout(boxes, edges) == found, "equal input, equal layout"


@given(graphs())
def test_what_is_not_led_back_goes_to_the_right(graph: tuple[int, list[tuple[int, int]]]) -> None:
    boxes, edges = graph
    found = layout(boxes, edges)
    at = columns(found)
    for (a, b), way in zip(edges, found.ways, strict=True):
        if a != b:
            assert (at[b] < at[a]) if way.turned else (at[a] < at[b])
