"""Write what a spool holds and end: for the volume of a collector that is gone and takes nothing in any more."""

from __future__ import annotations

import contextlib
import threading
import time

from spantree_collector.config import CollectorConfig
from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.intake import count_spans
from spantree_collector.spool.spool import Spool
from spantree_collector.write.dispatcher import SpoolDispatcher
from spantree_collector.write.garbage_collection import tune_garbage_collector
from spantree_collector.write.watchdog import Watchdog
from spantree_collector.write.writers import WriterProcess, new_writers
from spantree_exporter.rules import facts_reader

_LOOK_S = 0.1


def drain(config: CollectorConfig, timeout_s: float, stop: threading.Event) -> int:
    """Write the spool of `config` until it is empty, `timeout_s` are over or `stop` is set; how many requests are left.

    Idempotent: what is left is written by the next one. Raises ConfigError for wrong rules, SpoolFailed.
    """
    tune_garbage_collector()
    reader = facts_reader(config.rules)
    metrics = CollectorMetrics()
    with contextlib.ExitStack() as stack:
        spool = Spool(config.spool_path, max_bytes=config.spool_max_bytes, reserve_bytes=config.spool_reserve_bytes)
        stack.callback(spool.close)
        writers = new_writers(config, reader, SpoolDispatcher(spool, count_spans), metrics)
        for writer in writers:
            writer.start()
        watchdog = Watchdog([writer for writer in writers if isinstance(writer, WriterProcess)])
        watchdog.start()
        deadline_s = time.monotonic() + timeout_s
        while spool.stats().bodies and time.monotonic() < deadline_s and not stop.wait(_LOOK_S):
            if spool.failure is not None:
                raise spool.failure
        watchdog.stop()
        for writer in writers:
            writer.ask_to_stop(0.0)
        for writer in writers:
            writer.join()
        return spool.stats().bodies
