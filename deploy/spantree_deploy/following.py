"""What the API's streams tell, for commands that go on showing: read by a thread, over any number of connections."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from spantree_deploy.client import ApiClient, NotAnswered

# The API was stopped, or lets go a client that does not keep up: both are over soon.
_AGAIN_S: Final = 2.0
# Further events of the same moment are waited for.
_TOGETHER_S: Final = 0.1
# Without a stream the API is asked again after this time.
_POLL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event: `position`, `execution`, `node` or `reload`."""

    kind: str
    data: Any


class EventLines:
    """Bytes of a stream -> its events. `last` is the number of the last one."""

    def __init__(self) -> None:
        self.last: str | None = None
        self._rest = b""

    def feed(self, part: bytes) -> list[StreamEvent]:
        """The events that are whole with `part`."""
        *blocks, self._rest = (self._rest + part).split(b"\n\n")
        found: list[StreamEvent] = []
        for block in blocks:
            lines = (line.partition(b": ") for line in block.split(b"\n"))
            fields = {name.decode(): value for name, _, value in lines}
            if "event" in fields and "data" in fields:
                self.last = fields["id"].decode() if "id" in fields else self.last
                found.append(StreamEvent(fields["event"].decode(), json.loads(fields["data"])))
        return found


class _Ended(Exception):
    """The block has ended, and nobody wants more."""


class Following:
    """The events of a stream from the begin of the block on. Where the API is in this process there are none."""

    def __init__(self, api: ApiClient, path: str, parameters: Mapping[str, Any]) -> None:
        self._api = api
        self._path = path
        self._parameters = dict(parameters)
        self._events: queue.SimpleQueue[StreamEvent] = queue.SimpleQueue()
        self._lines = EventLines()
        self._ended = False

    def __enter__(self) -> Following:
        if self._api.streams:
            threading.Thread(target=self._read, name="spantree-following", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True

    def wait(self, timeout_s: float) -> list[StreamEvent]:
        """The events that have come, once there is one or the time is over; without a stream after a second."""
        if not self._api.streams:
            time.sleep(min(timeout_s, _POLL_S))
            return []
        found: list[StreamEvent] = []
        wait_s = timeout_s
        while True:
            try:
                found.append(self._events.get(timeout=wait_s))
            except queue.Empty:
                return found
            wait_s = _TOGETHER_S if len(found) < 1_000 else 0.0

    def _read(self) -> None:
        while not self._ended:
            try:
                after = {} if self._lines.last is None else {"after": self._lines.last}
                self._api.copy(self._path, self._parameters | after, self._take)
            except _Ended:
                return
            except (NotAnswered, OSError, ValueError):
                pass
            time.sleep(_AGAIN_S)

    def _take(self, part: bytes) -> None:
        if self._ended:
            raise _Ended
        for event in self._lines.feed(part):
            self._events.put(event)
