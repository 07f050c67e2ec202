"""Clocks of several machines: what a server did lies within the call that asked for it, so a skew can be measured.

    client   |------------------|          on one machine
    server         |------|                on another: began after the call did, answered before it was answered

A server's span outside its client's tells that the two clocks differ. As in Jaeger's adjuster, the server's span is put
in the middle of the client's, and what ran below it on its machine moves with it. What lasted longer than the call (the
client gave up, the answer is streamed) tells no more than that it cannot have begun before it. Nor does one that begins
within the call and ends hardly after it: a server ends its span once the answer is out, and the client may be faster.

A time in 1970 is none: a start that was never set, micro- or milliseconds sent as nanoseconds. It is put where the span
around it began; the other spans of the trace tell when that was, or the first end where none of them has a start.
"""

from __future__ import annotations

import re

from spantree_exporter.assemble.step import Step
from spantree_exporter.span import KIND_CLIENT, STATUS_ERROR

CLOCK_SKEW = "clock_skew"
TIME_UNKNOWN = "time_unknown"
# What tells of a failed call only that it was answered so; the codes by which proxies answer for a server.
_ANSWERED = re.compile(r"(?:HTTP )?(\d{3})")
_GAVE_UP = frozenset({"408", "499", "502", "503", "504"})
# Microseconds of any year that is meant, taken for nanoseconds, end up in January 1970.
_FIRST_NS = 365 * 86_400 * 1_000_000_000
_UNMEANT_NS = 4_102_444_800 * 1_000_000_000  # 2100
# What a bigint holds: a span can claim any time, and what another machine's clock adds to it must still be storable.
_LAST_NS = 2**63 - 1
# How much longer than its call a server's span may last on one clock: a tenth of the call, and no more than this.
_AFTER_ANSWER_NS = 5_000_000


def correct(parents_first: list[Step], entries: list[Step]) -> None:
    """Move the steps of machines whose clock is off; the first of each says so by an anomaly.

    `entries`: the servers and consumers among `parents_first` below the call or message that asked for them.
    """
    if not any(_measure(entry, 0) for entry in entries):
        return
    is_entry = set(entries)
    for step in parents_first:
        above = step.parent
        if above is None:
            continue
        if step in is_entry:
            step.skew_ns = _measure(step, above.skew_ns)
            if step.skew_ns:
                step.anomalies.append(CLOCK_SKEW)
        elif above.skew_ns and step.service == above.service:
            step.skew_ns = above.skew_ns
        if step.skew_ns:
            step.start_ns = moved(step.start_ns, step.skew_ns)
            if step.end_ns is not None:
                step.end_ns = moved(step.end_ns, step.skew_ns)


def is_unknown(time_ns: int) -> bool:
    """Whether `time_ns` is so early that nobody meant it."""
    return time_ns < _FIRST_NS


def place_unknown(parents_first: list[Step]) -> None:
    """Give steps that say no time of this century one that fits those that do; nothing is done where none does."""
    starts_ns = [step.start_ns for step in parents_first]
    if not is_unknown(min(starts_ns)):
        return
    known_ns = [start_ns for start_ns in starts_ns if not is_unknown(start_ns)]
    known_ns = known_ns or [end for step in parents_first if _FIRST_NS <= (end := step.end_ns or 0) < _UNMEANT_NS]
    if not known_ns:
        return
    earliest_ns = min(known_ns)
    for step in parents_first:
        if not is_unknown(step.start_ns):
            continue
        began_ns = step.parent.start_ns if step.parent is not None else earliest_ns
        if step.end_ns is None or not is_unknown(step.end_ns):
            step.start_ns = began_ns if step.end_ns is None else min(began_ns, step.end_ns)
        else:
            step.end_ns = began_ns + step.end_ns - step.start_ns
            step.start_ns = began_ns
        step.anomalies.append(TIME_UNKNOWN)


def moved(time_ns: int, by_ns: int) -> int:
    """`time_ns` on a clock that is off by `by_ns`, within the times that can be stored."""
    return min(max(time_ns + by_ns, 0), _LAST_NS)


def _is_waited_for(entry: Step, call: Step) -> bool:
    """Whether `call` ends when `entry` has ended: not where it only starts a run, or where markers tell of the work."""
    lasted_ns, called_ns = (entry.end_ns or 0) - entry.start_ns, (call.end_ns or 0) - call.start_ns
    if not 0 < lasted_ns <= called_ns:
        return False
    return "fold" not in entry.facts and call.facts.get("boundary") != "run"


def _was_answered(call: Step) -> bool:
    """Whether the server itself answered the call that failed: not somebody between who gave up on it."""
    facts = call.facts
    told = _ANSWERED.fullmatch(facts.get("error_message") or facts.get("error_type") or "")
    return told is not None and told[1] not in _GAVE_UP


def _measure(entry: Step, inherited_ns: int) -> int:
    """What to add to the times of `entry`, whose parent has its own already; 0 where both fit."""
    call = entry.parent
    if call is None or call.span is None:
        return 0
    if entry.service == call.service and inherited_ns:
        return inherited_ns
    if call.span.kind != KIND_CLIENT or entry.kind == "task":
        # Nothing bounds when a message is taken up, but that it was sent before.
        return max(call.start_ns - entry.start_ns, 0)
    if call.end_ns is None or entry.end_ns is None or not _is_waited_for(entry, call):
        return max(call.start_ns - entry.start_ns, 0)
    after_ns = min((call.end_ns - call.start_ns) // 10, _AFTER_ANSWER_NS)
    if call.start_ns <= entry.start_ns and entry.end_ns <= call.end_ns + after_ns:
        return 0
    if call.span.status_code == STATUS_ERROR and entry.start_ns >= call.start_ns and not _was_answered(call):
        # A client that gave up bounds no end.
        return 0
    margin_ns = ((call.end_ns - call.start_ns) - (entry.end_ns - entry.start_ns)) // 2
    return call.start_ns + margin_ns - entry.start_ns
