"""What the watchdog counts."""

from __future__ import annotations

import os
import threading

from tests.waiting import wait_until

from spantree_collector.watchdog import Watchdog, WorkClock, resident_bytes


def test_work_is_processor_time_and_waiting_is_none() -> None:
    clock, begun, stop = WorkClock(), threading.Event(), threading.Event()

    def work() -> None:
        with clock:
            begun.set()
            while not stop.is_set():
                pass
        with clock:
            begun.set()
            stop.wait(10)

    assert clock.spent_s() == 0
    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: clock.spent_s() > 0.2, 20, "it has worked for a while")
        begun.clear()
        stop.set()
        assert begun.wait(10)
        stop.clear()
        assert clock.spent_s() < 0.2
    finally:
        stop.set()
        thread.join()
    assert clock.spent_s() == 0


def test_memory_is_that_of_the_process_and_none_of_one_that_is_gone() -> None:
    before = resident_bytes(os.getpid())
    held = bytearray(os.urandom(1)) * (64 * 2**20)
    assert resident_bytes(os.getpid()) - before > 48 * 2**20
    del held
    assert resident_bytes(2**30) == 0


def test_a_step_is_never_longer_than_two_although_the_machine_slept() -> None:
    steps: list[float] = []

    class One:
        def watch(self, step_s: float) -> None:
            steps.append(step_s)

    watchdog = Watchdog([One()])
    watchdog.start()
    wait_until(lambda: len(steps) >= 2, 10, "it looks")
    watchdog.stop()
    assert all(0 < step_s <= 0.5 for step_s in steps)
