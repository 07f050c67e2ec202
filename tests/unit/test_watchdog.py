"""What the watchdog counts."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tests.waiting import wait_until

from spantree_collector.write.watchdog import SilenceClock, Watchdog, WorkClock, resident_bytes


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


@contextlib.contextmanager
def child(program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", f"print(flush=True); {program}"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_process_that_waits_for_anything_but_a_processor_is_silent_all_the_time() -> None:
    with child("import time; time.sleep(60)") as process:
        wait_until(lambda: state_of(process.pid) == "S", 20, "it sleeps")
        asleep, stopped = SilenceClock(), SilenceClock()
        for _ in range(3):
            asleep.step(process.pid, 0.5)
        assert asleep.silent_s == 1.5
        asleep.heard()
        assert asleep.silent_s == 0
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(process.pid) == "T", 20, "it is stopped")
        for _ in range(3):
            stopped.step(process.pid, 0.5)
        assert stopped.silent_s == 1.5


def test_of_a_process_that_would_run_only_what_it_gets_counts_as_silence() -> None:
    clock = SilenceClock()
    with child("\nwhile True: pass") as process:
        wait_until(lambda: state_of(process.pid) == "R", 20, "it runs")
        began_s = used_s(process.pid)
        # Steps of an hour: what is counted of them is what it got, however little that is on a busy machine.
        clock.step(process.pid, 0.0)
        for _ in range(20):
            time.sleep(0.01)
            clock.step(process.pid, 3600.0)
        assert clock.silent_s <= used_s(process.pid) - began_s + 1e-9


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_a_file_to_open_silence_is_counted_as_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "glob", none_left)
    clock = SilenceClock()
    for _ in range(3):
        clock.step(os.getpid(), 0.25)
    assert clock.silent_s == 0.75


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
