"""A server in a thread with an event loop of its own: started, watched, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Address = TypeVar("Address")
Serve = Callable[[asyncio.Event, Callable[[Address], None]], Coroutine[Any, Any, None]]


class Background(Generic[Address]):
    """Runs `serve(stop, started)` in a thread.

    `serve` calls `started` with where it listens once it takes requests, and returns soon after `stop` is set.
    """

    def __init__(self, name: str, serve: Serve[Address], on_end: Callable[[], None] = lambda: None) -> None:
        """`on_end` is called from the thread when `serve` ends, for whatever reason."""
        self._serve = serve
        self._on_end = on_end
        self._up: Future[Address] = Future()
        self._ask_to_stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.error: BaseException | None = None

    def start(self) -> Address:
        """Where it listens, once it takes requests. Raises what `serve` raises before."""
        self._thread.start()
        return self._up.result()

    def stop(self) -> None:
        """Ask `serve` to stop and wait until it has. Idempotent."""
        self._ask_to_stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._until_asked())
        except BaseException as error:
            self.error = error
        finally:
            if not self._up.done():
                self._up.set_exception(self.error or RuntimeError(f"{self._thread.name} ended before it took requests"))
            self._on_end()

    async def _until_asked(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask() -> None:
            # Closed when it ended by itself: then there is nothing left to stop.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

        self._ask_to_stop = ask
        await self._serve(stop, self._up.set_result)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
