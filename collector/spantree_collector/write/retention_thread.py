"""Retention beside a collector's other work: of any number of collectors one does it, by a lock in the database."""

from __future__ import annotations

import logging
import threading
from typing import Final

from spantree_exporter.errors import SpantreeError
from spantree_exporter.retention.policy import Policy
from spantree_exporter.retention.run import drop_own_audit, run

log = logging.getLogger(__name__)

# A collector that starts has more urgent things to do.
_FIRST_S: Final = 10.0


class RetentionThread:
    """Runs retention now and then until it is stopped; what stopping cuts off, the next run goes on with."""

    def __init__(self, database_url: str, policy: Policy | None, audit_days: int, interval_s: float) -> None:
        """Without a policy every day stays; of the own audit all, where `audit_days` is 0."""
        self._database_url = database_url
        self._policy = policy
        self._audit_days = audit_days
        self._interval_s = interval_s
        self._stop = threading.Event()
        # A daemon: a run may be reading a day for minutes, and can be cut off anywhere.
        self._thread = threading.Thread(target=self._run, name="spantree-retention", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """No further run; one that is under way is given a second to end."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        wait_s = min(_FIRST_S, self._interval_s)
        while not self._stop.wait(wait_s):
            wait_s = self._interval_s
            try:
                if self._policy is not None:
                    run(self._database_url, self._policy, lambda sentence: log.info("retention: %s", sentence))
                if self._audit_days and (months := drop_own_audit(self._database_url, self._audit_days)):
                    log.info("retention: %d months of the own audit are dropped", months)
            except SpantreeError as error:
                log.warning("retention is tried again in %.0f s: %s", wait_s, error)
            except Exception:
                log.exception("retention is tried again in %.0f s: a defect", wait_s)
