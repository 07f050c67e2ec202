"""Processes that the collector starts as parts of itself, each at the other end of a pipe.

A child ends when its pipe does, and the kernel kills it with the thread that started it. Its signals are blocked: one
to the whole group is the collector's to answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from spantree_collector.write.watchdog import address_space_bytes

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Of what the kernel chooses by when memory runs out, in thousandths of all that there is (proc(5), oom_score_adj).
# Without it the collector itself, who has read a large body, was chosen while a writer began to decode it.
_SCORE = 500
_MOST_SCORE = 1000


def spawn(module: str, theirs: Connection) -> subprocess.Popen[bytes]:
    """Start `python -m module FD`, where FD is the child's end of a pipe. Raises OSError where that cannot be."""
    # It imports what this process would; -P, because the current directory is nobody's business.
    paths = [path or str(Path.cwd()) for path in sys.path]
    with _signals_blocked():
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )


def end_with_the_collector() -> None:
    """Have the kernel kill this process with the thread that serves it: one that is stopped reads no end of a pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_before_the_collector() -> None:
    """Have the kernel take this process first where memory runs out: what it has in hand is done again by another."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        path.write_text(str(min(_MOST_SCORE, int(path.read_text()) + _SCORE)))


def limit_address_space(more_bytes: int) -> None:
    """Let allocation fail beyond `more_bytes` more than are reserved now: faster than anybody can look from outside."""
    present_bytes = address_space_bytes()
    wanted_bytes = present_bytes + more_bytes
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_AS)
    if present_bytes and (hard_bytes == resource.RLIM_INFINITY or wanted_bytes <= hard_bytes):
        resource.setrlimit(resource.RLIMIT_AS, (wanted_bytes, hard_bytes))


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Children inherit the mask of blocked signals, so these are blocked in a child from its first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
