"""Which writer has which bodies of the spool: each body goes to one writer, and to another when that one dies."""

from __future__ import annotations

import logging
import threading
from bisect import insort
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from spantree_collector.spool import Spool, SpooledBody

log = logging.getLogger(__name__)

# A writer that dies takes whole batches with it, so a body is suspected at the second death only, and from then on it
# travels alone; three deaths alone are its own.
_SUSPECT_AFTER_DEATHS = 2
_LEFT_AFTER_DEATHS = 5


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


class SpoolShares:
    """Hands the bodies of one spool out to several pumps, in the order of acknowledgement as far as none is redone."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.lock = threading.Lock()
        self._position = 0
        self._again: list[int] = []  # handed out before and not written; in order
        self._deaths: Counter[int] = Counter()

    def share(self) -> Share:
        """The way of one more pump to the bodies."""
        return Share(self)

    def next_bodies(self, is_alone: bool, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        """What to hand out next; with the lock held. `is_alone`: whoever asks has nothing else in hand."""
        if self._again:
            if not self.is_suspect(self._again[0]):
                return self._once_more(max_bodies, max_bytes)
            return self._once_more(1, max_bytes) if is_alone else []
        taken = self.spool.take(self._position, max_bodies=max_bodies, max_bytes=max_bytes)
        if taken:
            self._position = taken[-1].id
        return taken

    def _once_more(self, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        run = self._again[:1]
        for body_id in self._again[1:max_bodies]:
            if body_id != run[-1] + 1 or self.is_suspect(body_id):
                break
            run.append(body_id)
        taken = self.spool.take(run[0] - 1, max_bodies=len(run), max_bytes=max_bytes)
        del self._again[: len(taken)]
        return taken

    def is_suspect(self, body_id: int) -> bool:
        """Whether writers died over it repeatedly."""
        return self._deaths[body_id] >= _SUSPECT_AFTER_DEATHS

    def may_have_some(self) -> bool:
        """Whether there are bodies to hand out a second time; with the lock held."""
        return bool(self._again)

    def position(self) -> int:
        """The last body that was handed out for the first time; with the lock held."""
        return self._position

    def forget(self, ids: Iterable[int]) -> None:
        """These need no watching any more; with the lock held."""
        if self._deaths:
            for body_id in ids:
                self._deaths.pop(body_id, None)

    def give_back(self, ids: Iterable[int]) -> None:
        """Hand these out once more; with the lock held."""
        for body_id in ids:
            insort(self._again, body_id)

    def mourn(self, ids: set[int]) -> set[int]:
        """Count a writer's death against `ids`; those to be left alone from now on. With the lock held."""
        self._deaths.update(ids)
        return {body_id for body_id in ids if self._deaths[body_id] >= _LEFT_AFTER_DEATHS}


class Share:
    """What one pump has of the spool. `held` are the bodies that it took and has not removed."""

    def __init__(self, shares: SpoolShares) -> None:
        self._shares = shares
        self._held: set[int] = set()

    def take(self, *, max_bodies: int, max_bytes: int) -> list[SpooledBody]:
        """The next bodies; none while a suspected one is in hand, for that one is tried alone."""
        with self._shares.lock:
            if any(map(self._shares.is_suspect, self._held)):
                return []
            taken = self._shares.next_bodies(not self._held, max_bodies, max_bytes)
            self._held.update(spooled.id for spooled in taken)
            return taken

    def wait(self, timeout_s: float) -> bool:
        """Wait until there may be a body to take."""
        with self._shares.lock:
            if self._shares.may_have_some():
                return True
            position = self._shares.position()
        return self._shares.spool.wait(position, timeout_s)

    def remove(self, ids: Iterable[int]) -> None:
        """Drop bodies that PostgreSQL has committed."""
        removed = list(ids)
        self.leave(removed)
        self._shares.spool.remove(removed)

    def leave(self, ids: Iterable[int]) -> None:
        """Neither remove nor take them again."""
        left = list(ids)
        with self._shares.lock:
            self._held.difference_update(left)
            self._shares.forget(left)

    def rewind(self) -> None:
        """Hand out once more what this pump has in hand."""
        with self._shares.lock:
            self._shares.give_back(self._held)
            self._held.clear()

    def give_back_of_the_dead(self) -> int:
        """Hand out once more what a writer had that died; how many bodies are left alone, because they kill writers."""
        with self._shares.lock:
            left = self._shares.mourn(self._held)
            self._shares.give_back(self._held - left)
            self._held.clear()
        for body_id in sorted(left):
            log.error(
                "writers die over body %d of the spool; it stays there until the next start, and the rest goes on",
                body_id,
            )
        return len(left)
