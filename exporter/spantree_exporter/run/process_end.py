"""No span is lost when the process ends: by itself, by a signal, by `os._exit`, with the collector away.

    normal end, exception, sys.exit    `atexit`, in place of the SDK's own, which waits for up to 15 s
    SIGTERM, SIGHUP                    in place of the default: then the process dies of the signal, as it would have
    os._exit                           wrapped: children of multiprocessing, billiard (Celery) and gunicorn end so
    os.execv, os.execve                wrapped: entry points of containers and reloaders become another program; all
                                       other functions of the kind call these two

What is still open then is told as cancelled, else it would look as if it ran. A handler that the program installs is
its own: it ends the process by one of the other two, or, as uvicorn, restores the default and raises the signal again,
which leads here. The work is done by a thread that is there from the start: none can be started any more when the
interpreter ends, and a signal may interrupt whoever holds the lock of a span.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode

from spantree_exporter import attributes as names
from spantree_exporter.autolive import exporters_behind
from spantree_exporter.run.process_span import ProcessSpan

logger = logging.getLogger(__name__)

FLUSH_S: Final = 1.5
"""What the end of a process waits for a collector that does not answer; one that does takes milliseconds."""
_BREAK_OFF_S: Final = 0.5
_LOCK_S: Final = 0.05
_LOOK_S: Final = 0.01
_SIGNALS: Final = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)


class WatchesOpenSpans(Protocol):
    """Whoever knows which spans have begun and not ended."""

    def open_spans(self) -> list[Span]:
        """In the order of their start."""
        ...


class OpenSpans(SpanProcessor):
    """Knows the spans that have begun and not ended."""

    def __init__(self) -> None:
        self._open: dict[int, Span] = {}
        if hasattr(os, "register_at_fork"):
            weak_self = weakref.ref(self)

            def forget_in_child() -> None:
                if (processor := weak_self()) is not None:
                    processor._open = {}

            os.register_at_fork(after_in_child=forget_in_child)

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Remember the span."""
        self._open[span.get_span_context().span_id] = span

    def on_end(self, span: ReadableSpan) -> None:
        """Forget the span."""
        if span.context is not None:
            self._open.pop(span.context.span_id, None)

    def open_spans(self) -> list[Span]:
        """In the order of their start."""
        return list(self._open.values())


class ProcessEnd:
    """Ends the open spans, sends what waits and closes `provider`, once, whatever ends the process."""

    def __init__(
        self, provider: TracerProvider, open_spans: WatchesOpenSpans, process_span: ProcessSpan | None = None
    ) -> None:
        self._provider = provider
        self._open_spans = open_spans
        self._process_span = process_span
        self._restore_default: Callable[[int], object] = lambda number: signal.signal(number, signal.SIG_DFL)
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._reason: str | None = None
        self._until_s = 0.0
        self._signal: int | None = None
        self._exit_code: int | None = None
        self._becomes: str | None = None
        self._asked = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=self._work, args=(self._asked, self._done), name="spantree-end", daemon=True
        )
        self._thread.start()

    def install(self) -> None:
        """Take over the provider's end, in the main thread."""
        atexit.unregister(self._provider.shutdown)
        # Registered before the program begins, so that it runs after everything that the program registers.
        atexit.register(self.end, "the process ended")
        os._exit = _stand_in("os", "_exit", self._exit_after(os._exit))
        os.execv = _stand_in("os", "execv", self._exec_after(os.execv))
        os.execve = _stand_in("os", "execve", self._exec_after(os.execve))
        self._stand_for_the_default()

    def _stand_for_the_default(self) -> None:
        """Handle a signal wherever its handler is the default, now or later; the program goes on seeing the default."""
        set_handler, get_handler = signal.signal, signal.getsignal
        die = self._die

        def signal_(number: Any, handler: Any, /) -> Any:
            # `uvicorn` workers of gunicorn and the pool of Celery set it anew in every child.
            before = set_handler(number, die if handler == signal.SIG_DFL and number in _SIGNALS else handler)
            return signal.SIG_DFL if before == die else before

        def getsignal(number: Any, /) -> Any:
            found = get_handler(number)
            return signal.SIG_DFL if found == die else found

        self._restore_default = lambda number: set_handler(number, signal.SIG_DFL)
        signal.signal = _stand_in("signal", "signal", signal_)
        signal.getsignal = _stand_in("signal", "getsignal", getsignal)
        for number in _SIGNALS:
            # nohup ignores SIGHUP: it is to stay that way.
            if get_handler(number) is signal.SIG_DFL:
                set_handler(number, die)

    def end(
        self,
        reason: str,
        *,
        signal_number: int | None = None,
        exit_code: int | None = None,
        becomes: str | None = None,
    ) -> None:
        """Send everything, once; returns when that is done, at the latest after FLUSH_S and a little.

        Whoever calls while that is being done waits as long: `timeout` and process groups send a signal twice.
        """
        if self._reason is not None:
            # Without the event's lock, which the call that a signal has interrupted may hold.
            while not self._done.is_set() and time.monotonic() < self._until_s:
                time.sleep(_LOOK_S)
            return
        self._until_s = time.monotonic() + FLUSH_S + _BREAK_OFF_S
        self._reason, self._signal, self._exit_code, self._becomes = reason, signal_number, exit_code, becomes
        self._asked.set()
        if self._done.wait(FLUSH_S):
            return
        # An exporter that is closed breaks off its retries; being closed once more, by its processor, it complains.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        for exporter in exporters_behind(self._provider):
            _quietly(exporter.shutdown)
        self._done.wait(_BREAK_OFF_S)

    def _die(self, number: int, frame: FrameType | None) -> None:
        self.end(signal.Signals(number).name, signal_number=number)
        self._restore_default(number)
        os.kill(os.getpid(), number)

    def _exit_after(self, exit_now: Callable[[int], Any]) -> Callable[[int], Any]:
        def exit_(status: int) -> Any:
            try:
                self.end("the process ended", exit_code=status)
            finally:
                exit_now(status)

        return exit_

    def _exec_after(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def execute_(path: Any, /, *more: Any, **named: Any) -> Any:
            # Along PATH it is tried with files that are not there, and the process goes on.
            if _can_execute(path):
                self.end("the process became another program", becomes=os.fsdecode(path))
            return execute(path, *more, **named)

        return execute_

    def _work(self, asked: threading.Event, done: threading.Event) -> None:
        asked.wait()
        try:
            for span in reversed(self._open_spans.open_spans()):
                if names.OUTLIVES_PROCESS in (span.attributes or ()):
                    continue
                if self._process_span is None or not self._process_span.is_same(span):
                    _quietly(lambda span=span: self._cancel(span))  # type: ignore[misc]
            if self._process_span is not None:
                process_span = self._process_span
                _quietly(lambda: process_span.finish(self._signal, self._exit_code, self._becomes))
            self._provider.shutdown()
        except Exception:
            logger.warning("spans may be lost at the end of this process", exc_info=True)
        finally:
            done.set()

    def _cancel(self, span: Span) -> None:
        # The thread that the signal interrupted may hold it; a span that is not told as cancelled is the smaller harm.
        lock = getattr(span, "_lock", None)
        if lock is not None:
            if not lock.acquire(timeout=_LOCK_S):
                return
            lock.release()
        if span.status.status_code is StatusCode.ERROR:
            # Its instrumentation told how it failed and forgot to end it.
            span.end()
            return
        span.set_attribute(names.NODE_STATUS, names.CANCELLED)
        span.set_attribute(names.NODE_STATUS_REASON, self._reason or "")
        if span.parent is None or span.parent.is_remote:
            span.set_attribute(names.EXECUTION_STATUS, names.CANCELLED)
            span.set_attribute(names.EXECUTION_STATUS_REASON, self._reason or "")
        span.end()


def _stand_in(module: str, name: str, function: Callable[..., Any]) -> Any:
    """`function` under the name that it is put in the place of, by which pickle (pools of processes) finds it."""
    function.__module__, function.__qualname__, function.__name__ = module, name, name
    return function


def _can_execute(path: Any) -> bool:
    try:
        return Path(os.fsdecode(path)).is_file() and os.access(path, os.X_OK)
    except (OSError, TypeError, ValueError):
        return False


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception:
        logger.debug("at the end of the process", exc_info=True)
