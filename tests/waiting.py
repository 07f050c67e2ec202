"""Waiting for a condition instead of sleeping, and ports that are free."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable

_POLL_S = 0.02

# Below those that systems give to connections and to whoever asks for any (32768 on Linux, 49152 elsewhere). Each
# process of tests begins elsewhere and goes on from there: none gets what another was told and has not bound yet.
_PORTS = range(12_000, 32_000)
_next_ports = itertools.islice(itertools.cycle(_PORTS), os.getpid() * 97 % len(_PORTS), None)


def wait_until(predicate: Callable[[], object], timeout_s: float, what: str) -> None:
    """Return as soon as `predicate()` is true; fail the test after `timeout_s` with the sentence `what`."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(_POLL_S)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on and that no other call was answered with."""
    for port in itertools.islice(_next_ports, len(_PORTS)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
    raise AssertionError(f"every port from {_PORTS.start} to {_PORTS.stop - 1} is taken")
