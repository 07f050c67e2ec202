"""The dispatcher: which writer has which bodies of the spool, and what becomes of those that writers end over.

    handed out   each body to one writer, a tenant's in the order of acknowledgement; again when that writer ends. What
                 is handed out together is shared evenly by the tenants that have bodies, in turns: a flood of one does
                 not keep the others waiting, and many that send little fill a batch together
    suspect      after two crashes, or one that the watchdog had to make: alone, nothing else in the writer's hands
    divided      after a crash with it alone: read only, then in halves, down to the span that does it
    dead letter  that span, without another attempt to write it; the whole body where reading it alone does it

A crash counts only where the writer was not waiting for PostgreSQL.
"""

from __future__ import annotations

import logging
import threading
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import zip_longest
from typing import Protocol

from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spooled_body import Part, SpooledBody

log = logging.getLogger(__name__)

_SUSPECT_AFTER_CRASHES = 2
# Finding one span of 200,000 takes 18 more; a body that goes on after this many becomes a dead letter as a whole.
_MOST_CRASHES = 60


class BodyQueue(Protocol):
    """Where a pump gets its bodies. Taking does not remove: what was not removed is taken again after a crash."""

    def take(self, *, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        """The oldest bodies that nobody has yet, at least one where there is one; they are this pump's from now on."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until there may be a body to take; False when there is none after `timeout_s`."""
        ...

    def remove(self, ids: Iterable[int]) -> None:
        """Drop bodies that PostgreSQL has committed."""
        ...

    def leave(self, ids: Iterable[int]) -> None:
        """Do not take these again before the next start; they stay in the spool."""
        ...

    def rewind(self) -> None:
        """Take again whatever was taken and not removed."""
        ...


class SpoolDispatcher:
    """Hands the bodies of one spool out to several pumps. `count_spans` tells how many spans a body has."""

    def __init__(self, spool: Spool, count_spans: Callable[[SpooledBody], int]) -> None:
        self.spool = spool
        self.lock = threading.Lock()
        self._count_spans = count_spans
        self._positions: dict[int, int] = {}  # of each tenant: the last body that was handed out for the first time
        self._turns: deque[int] = deque()  # tenants that have bodies to be handed out, in the order of their turns
        self._last_ids: dict[int, int] = {}  # the last body of each of them
        self._all_handed_out = 0  # up to this id nothing is left of any tenant
        self._again: list[int] = []  # handed out before and not written; in order
        self._crashes: Counter[int] = Counter()
        self._parts: dict[int, list[Part]] = {}  # what is still to be handed out of a divided body, the next one first
        self._kept: set[int] = set()  # bodies of which a part has to stay in the spool

    def lease(self) -> BodyLease:
        """The way of one more pump to the bodies."""
        return BodyLease(self)

    def next_bodies(self, is_alone: bool, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        """What to hand out next; with the lock held. `is_alone`: whoever asks has nothing else in hand."""
        if self._again:
            if not self.is_suspect(self._again[0]):
                return self._once_more(max_bodies, max_bytes)
            return self._once_more(1, max_bytes) if is_alone else []
        last_id, arrivals = self.spool.arrivals()
        self._turns.extend(sorted(arrivals.keys() - self._last_ids.keys()))
        self._last_ids |= arrivals
        taken: list[list[SpooledBody]] = []
        left_bodies, left_bytes = max_bodies, max_bytes
        # Whoever asks has room for more than that where one is alone or some have little, and asks again.
        each_bytes = max_bytes // max(len(self._turns), 1)
        for _ in range(len(self._turns)):
            if left_bytes <= 0 or left_bodies <= 0:
                break
            try:
                some = self._of_tenant(self._turns[0], left_bodies, min(each_bytes, left_bytes))
            except Exception:
                if not taken:
                    raise
                # What was taken is handed out, and the fault met again.
                break
            taken.append(some)
            left_bodies -= len(some)
            left_bytes -= sum(len(one.body.payload) for one in some)
        if not any(taken):
            self._all_handed_out = last_id
        # The first of each, then the second: what comes after the end of a batch waits for the next.
        return [one for in_turn in zip_longest(*taken) for one in in_turn if one is not None]

    def _of_tenant(self, tenant_id: int, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        """The next bodies of the tenant whose turn it is, one at least; its next turn comes after the others'."""
        position = self._positions.get(tenant_id, 0)
        taken = self.spool.take(position, max_bodies=max_bodies, max_bytes=max_bytes, tenant_id=tenant_id)
        if taken:
            position = self._positions[tenant_id] = taken[-1].id
        if position < self._last_ids[tenant_id]:
            self._turns.rotate(-1)
        else:
            self._turns.popleft()
            del self._last_ids[tenant_id]
        return taken

    def _once_more(self, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        run = self._again[:1]
        for body_id in self._again[1:max_bodies]:
            if body_id != run[-1] + 1 or self.is_suspect(body_id):
                break
            run.append(body_id)
        taken = self.spool.take(run[0] - 1, max_bodies=len(run), max_bytes=max_bytes)
        del self._again[: len(taken)]
        return [replace(one, part=self._parts[one.id][0]) if one.id in self._parts else one for one in taken]

    def is_suspect(self, body_id: int) -> bool:
        """Whether writers ended over it repeatedly."""
        return self._crashes[body_id] >= _SUSPECT_AFTER_CRASHES

    def may_have_some(self) -> bool:
        """Whether there are bodies to hand out a second time; with the lock held."""
        return bool(self._again)

    def all_handed_out(self) -> int:
        """The id up to which no body is left to be handed out for the first time; with the lock held."""
        return self._all_handed_out

    def done(self, ids: Iterable[int], *, keep: bool) -> list[int]:
        """Those of `ids` of which no part is left to be written, and none has to stay; with the lock held."""
        done = []
        for body_id in ids:
            if keep:
                self._kept.add(body_id)
            parts = self._parts.get(body_id, [])
            if len(parts) > 1:
                del parts[0]
                insort(self._again, body_id)
                continue
            self._parts.pop(body_id, None)
            self._crashes.pop(body_id, None)
            if body_id not in self._kept:
                done.append(body_id)
        return done

    def give_back(self, ids: Iterable[int]) -> None:
        """Hand these out once more; with the lock held."""
        for body_id in ids:
            insort(self._again, body_id)

    def record_crash(self, held: list[SpooledBody], why: str, *, suspect: bool) -> None:
        """A writer ended with these in hand, and they may be why. Without the lock: it may read a body."""
        culprit = held[0] if len(held) == 1 and self.is_suspect(held[0].id) else None
        parts = self._divided(culprit, why) if culprit is not None else []
        with self.lock:
            for spooled in held:
                least = _SUSPECT_AFTER_CRASHES if suspect else 0
                self._crashes[spooled.id] = max(self._crashes[spooled.id] + 1, least)
            if culprit is not None:
                self._parts[culprit.id] = parts + self._parts.get(culprit.id, [])[1:]
            self.give_back(spooled.id for spooled in held)

    def _divided(self, culprit: SpooledBody, why: str) -> list[Part]:
        """What to do with the part of a body, or all of it, that a writer ended over while it had nothing else."""
        part = culprit.part
        verdict = f"writer processes end over it again and again; the last one {why}"
        log.error("body %d of the spool is tried in smaller parts, for a writer %s over it", culprit.id, why)
        try:
            if part is None:
                count = self._count_spans(culprit)
                # Reading alone first: where that is it, no half can pass.
                return [Part(0, 0), *_halves(0, count)]
        except Exception:
            log.exception("body %d of the spool cannot be read", culprit.id)
            return [Part(0, 0, verdict)]
        if part.verdict or part.first == part.end or self._crashes[culprit.id] >= _MOST_CRASHES:
            self._parts[culprit.id] = []
            return [Part(0, 0, verdict)]
        if part.end - part.first == 1:
            return [Part(part.first, part.end, verdict)]
        return _halves(part.first, part.end)


class BodyLease:
    """The bodies that one pump has been handed and has not finished."""

    def __init__(self, dispatcher: SpoolDispatcher) -> None:
        self._dispatcher = dispatcher
        self._held: dict[int, SpooledBody] = {}  # taken and not removed

    def take(self, *, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        """The next bodies; none while a suspect is in hand, for that one is tried alone."""
        with self._dispatcher.lock:
            if any(map(self._dispatcher.is_suspect, self._held)):
                return []
            taken = self._dispatcher.next_bodies(not self._held, max_bodies, max_bytes)
            self._held.update((spooled.id, spooled) for spooled in taken)
            return taken

    def wait(self, timeout_s: float) -> bool:
        """Wait until there may be a body to take."""
        with self._dispatcher.lock:
            if self._dispatcher.may_have_some():
                return True
            handed_out = self._dispatcher.all_handed_out()
        return self._dispatcher.spool.wait(handed_out, timeout_s)

    def remove(self, ids: Iterable[int]) -> None:
        """Drop bodies, or parts of bodies, that PostgreSQL has committed."""
        self._dispatcher.spool.remove(self._release(ids, keep=False))

    def leave(self, ids: Iterable[int]) -> None:
        """Neither remove nor take them again."""
        self._release(ids, keep=True)

    def rewind(self) -> None:
        """Hand out once more what this pump has in hand."""
        with self._dispatcher.lock:
            self._dispatcher.give_back(self._held)
            self._held.clear()

    def crashed(self, why: str, *, suspect: bool = False) -> None:
        """Hand out once more what a writer had that crashed, and count that against it.

        `suspect`: it is likely that one of these did it, because the watchdog ended it.
        """
        with self._dispatcher.lock:
            held = list(self._held.values())
            self._held.clear()
        self._dispatcher.record_crash(held, why, suspect=suspect)

    def _release(self, ids: Iterable[int], *, keep: bool) -> list[int]:
        released = list(ids)
        with self._dispatcher.lock:
            for body_id in released:
                self._held.pop(body_id, None)
            return self._dispatcher.done(released, keep=keep)


def _halves(first: int, end: int) -> list[Part]:
    if end - first <= 1:
        return [Part(first, end)]
    middle = (first + end) // 2
    return [Part(first, middle), Part(middle, end)]
