"""What is kept for listeners has no gap and an end."""

from __future__ import annotations

from spantree_api.streams.log import Part, StreamLog


def part(start: int, end: int) -> Part:
    return Part.to_reload(start, end, "a part")


def kept(log: StreamLog) -> tuple[int, int, list[tuple[int, int]]]:
    """Its bounds, and those of each part that is found in it."""
    found, at = [], log.start
    while at < log.end:
        one = log.after(at)
        found.append((one.start, one.end))
        at = one.end
    return log.start, log.end, found


def test_parts_follow_each_other_and_one_of_before_is_left_out() -> None:
    log = StreamLog()
    log.begin(10)
    log.add(part(10, 20), 1.0)
    log.add(part(10, 20), 2.0)
    log.add(part(20, 25), 3.0)
    assert kept(log) == (10, 25, [(10, 20), (20, 25)])
    assert [(log.after(at).start, log.after(at).end) for at in (10, 19, 20, 24)] == [
        (10, 20),
        (10, 20),
        (20, 25),
        (20, 25),
    ]


def test_what_was_missed_is_put_before_where_it_still_ends_at_the_beginning() -> None:
    log = StreamLog()
    log.begin(10)
    log.add(part(10, 20), 3.0)
    log.put_before([], 4.0)
    log.put_before([part(2, 5), part(5, 9)], 4.0)
    assert kept(log) == (10, 20, [(10, 20)])
    log.put_before([part(2, 5), part(5, 10)], 4.0)
    assert kept(log) == (2, 20, [(2, 5), (5, 10), (10, 20)])


def test_the_oldest_go_by_bytes_and_by_time_and_the_newest_part_by_time_alone() -> None:
    log = StreamLog()
    log.begin(0)
    for end in (1, 2, 3):
        log.add(part(end - 1, end), float(end))
    log.trim(10**9, since_s=2.0)
    assert kept(log) == (1, 3, [(1, 2), (2, 3)])
    # Parts without events have no bytes: less than none is wanted.
    log.trim(-1, since_s=0.0)
    assert kept(log) == (2, 3, [(2, 3)])
    log.trim(10**9, since_s=3.5)
    assert kept(log) == (3, 3, [])
