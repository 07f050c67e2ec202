"""Gives memory back to the system after a burst.

glibc keeps what was freed below something that is still in use, and grpc's core frees large slices in an order of its
own: after 24 half-sent messages of 60 MB a gigabyte stayed with the process.
"""

from __future__ import annotations

import ctypes
import sys

_BURST_BYTES = 32 * 2**20


class Burst:
    """Tells when the bytes in flight have been many and are few again."""

    def __init__(self) -> None:
        self._most_bytes = 0

    def is_over(self, in_flight_bytes: int) -> bool:
        """Whether that is so now, once for each burst."""
        self._most_bytes = max(self._most_bytes, in_flight_bytes)
        if self._most_bytes < _BURST_BYTES or in_flight_bytes > self._most_bytes // 4:
            return False
        self._most_bytes = in_flight_bytes
        return True


def trim() -> None:
    """Give back what is free, in some milliseconds, without the interpreter's lock; nothing where libc cannot."""
    if sys.platform == "linux":
        release = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if release is not None:
            release(0)
