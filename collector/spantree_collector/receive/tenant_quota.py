"""What one tenant may send: spans a second, and bytes that wait for PostgreSQL. Beyond it the others are not harmed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from spantree_collector.receive.status import QuotaExceeded
from spantree_exporter.tokens import Identity

# A sender's batches come in bursts: so many seconds' worth may come at once.
_BURST_S: Final = 5.0
_TENANTS_MAX: Final = 100_000


class TenantQuota:
    """Token buckets by tenant, and shares of the spool. Any thread may use it.

    `waiting_bytes` tells what of a tenant is in the spool, `free_bytes` what the spool has left, `is_shared` whether
    more than one tenant sends. A tenant without a limit of its own may have as much there as is left for all: one gets
    half of the spool, two that both send without end a third each, and whoever comes next finds room. (A. Choudhury,
    E. Hahne: Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998; the factor is one.)
    """

    def __init__(
        self,
        waiting_bytes: Callable[[int], int],
        free_bytes: Callable[[], int],
        is_shared: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting_bytes = waiting_bytes
        self._free_bytes = free_bytes
        self._is_shared = is_shared
        self._clock = clock
        self._lock = threading.Lock()
        # tenant -> (spans left, when that was); who sent last is the last.
        self._buckets: dict[int, tuple[float, float]] = {}

    def check(self, sender: Identity, spans: int, size_bytes: int) -> None:
        """Raise QuotaExceeded where `sender` has sent enough: what is refused is to be sent again.

        A body larger than the burst is taken where nothing else was sent lately, and then paid off.
        """
        if sender.spool_bytes_max is not None:
            waiting = self._waiting_bytes(sender.tenant_id)
            if waiting + size_bytes > sender.spool_bytes_max:
                raise QuotaExceeded(
                    f"{waiting} bytes of tenant {sender.tenant} wait for PostgreSQL, of at most "
                    f'{sender.spool_bytes_max} ("spantree tenant limit"); send it again a little later'
                )
        else:
            waiting = self._waiting_bytes(sender.tenant_id)
            if waiting and waiting + size_bytes > self._free_bytes() and self._is_shared():
                raise QuotaExceeded(
                    f"{waiting} bytes of tenant {sender.tenant} wait for PostgreSQL, as many as may while others need "
                    "room, too; send it again a little later"
                )
        if sender.spans_per_s_max is not None:
            self._take(sender, sender.spans_per_s_max, spans)

    def _take(self, sender: Identity, rate: int, spans: int) -> None:
        most = rate * _BURST_S
        now_s = self._clock()
        with self._lock:
            left, then_s = self._buckets.pop(sender.tenant_id, (most, now_s))
            left = min(most, left + (now_s - then_s) * rate)
            is_allowed = spans <= left or left >= most
            if len(self._buckets) >= _TENANTS_MAX:
                # Who has not sent for longest: most often that bucket is full again, as if it were new.
                del self._buckets[next(iter(self._buckets))]
            self._buckets[sender.tenant_id] = (left - spans if is_allowed else left, now_s)
        if not is_allowed:
            raise QuotaExceeded(
                f"tenant {sender.tenant} sends more than {rate} spans a second "
                '("spantree tenant limit"); send it again a little later'
            )
