"""A client of the API's streams, as a browser's EventSource is one: it comes back with the number of its last event."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.waiting import wait_until


@dataclass(frozen=True)
class Told:
    """One event."""

    number: int
    kind: str
    data: dict[str, Any]


@dataclass
class Follower:
    """Reads a stream in a thread; `url` is asked for at each attempt. `events` has all but the first of each."""

    url: Callable[[], str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    after: int | None = None
    events: list[Told] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    stopping: bool = False

    def read(self) -> None:
        """Until `stopping`, over any number of connections."""
        while not self.stopping:
            headers = {} if self.after is None else {"Last-Event-ID": str(self.after)}
            with contextlib.suppress(httpx.HTTPError):
                timeout = httpx.Timeout(5, read=0.5)
                with httpx.stream(
                    "GET", self.url(), params=self.parameters, headers=headers, timeout=timeout
                ) as answer:
                    if answer.status_code == 200:
                        self._read(answer.iter_lines())

    def _read(self, lines: Iterator[str]) -> None:
        fields: dict[str, str] = {}
        for line in lines:
            if self.stopping:
                return
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            if "event" in fields:
                told = Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                self.after = told.number
                if told.kind == "position":
                    self.positions.append(told.number)
                else:
                    self.events.append(told)
            fields = {}


@contextlib.contextmanager
def following(url: str | Callable[[], str], **parameters: Any) -> Iterator[Follower]:
    """A follower of /api/v1/..., which listens from the begin of the block on."""
    after = parameters.pop("last_event_id", None)
    follower = Follower(url if callable(url) else lambda: url, parameters, after)
    thread = threading.Thread(target=follower.read, name="follower")
    thread.start()
    try:
        wait_until(lambda: follower.positions, 20, "the stream has begun")
        yield follower
    finally:
        follower.stopping = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the follower did not end within 10 s"
