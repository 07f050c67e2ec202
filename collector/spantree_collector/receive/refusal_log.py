"""Refused requests in the log: at the first one, once a minute while it lasts, and when it is over.

Metrics count every one of them (spantree_collector_requests_refused_total); this is for whoever reads a log.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from spantree_collector.receive.status import Refusal

log = logging.getLogger(__name__)

_INTERVAL_S = 60.0
# A trouble is over when a request is taken and none was refused for so long: beside a full spool small requests that
# still fit are taken all the time.
_QUIET_S = 5.0


@dataclass(slots=True)
class _Trouble:
    began_s: float
    logged_s: float
    last_s: float
    refused: int = 0
    unlogged: int = 0


class RefusalLog:
    """What was refused lately, by reason. Any thread may use it; `clock` is seconds of any origin."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._troubles: dict[str, _Trouble] = {}

    def refused(self, transport: str, refusal: Refusal, fault: Exception | None = None) -> None:
        """Note one refusal; of a `fault` of our own the traceback is logged. `refusal.reason` has few values."""
        now_s = self._clock()
        with self._lock:
            trouble = self._troubles.get(refusal.reason)
            if trouble is None:
                trouble = self._troubles[refusal.reason] = _Trouble(now_s, float("-inf"), now_s)
            trouble.last_s = now_s
            trouble.refused += 1
            trouble.unlogged += 1
            if now_s - trouble.logged_s < _INTERVAL_S:
                return
            trouble.logged_s = now_s
            count, trouble.unlogged = trouble.unlogged, 0
        level = logging.ERROR if _is_ours(refusal) else logging.WARNING
        others = "" if count == 1 else f" and {count - 1} more within the last minute"
        log.log(
            level,
            "a request over %s%s got %d: %s",
            transport,
            others,
            refusal.http_status,
            refusal.message[:500],
            exc_info=fault,
        )

    def accepted(self) -> None:
        """A request was taken: what has kept others out may be over."""
        if not self._troubles:
            return
        now_s = self._clock()
        with self._lock:
            over = {reason: one for reason, one in self._troubles.items() if now_s - one.last_s >= _QUIET_S}
            for reason in over:
                del self._troubles[reason]
        for reason, one in over.items():
            lasted_s = one.last_s - one.began_s
            log.info(
                "requests are not refused any more for the reason %s; %d were, within %.0f s",
                reason,
                one.refused,
                lasted_s,
            )


def _is_ours(refusal: Refusal) -> bool:
    """Whether the collector, and not the sender, is the one that somebody should look at."""
    return refusal.http_status >= 500
