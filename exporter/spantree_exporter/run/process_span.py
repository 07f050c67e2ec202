"""The span of a process that `spantree run` started: that a job failed is known without a line of code in it.

a script     one span from start to end, the parent of all that has no other: one execution a run
a server     none: it would never end. What listens or is known to serve ends the span, or never gets one
either       that ends badly (exit code, exception) has a failed one, so a crash at start-up is told too
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from spantree_exporter import attributes as names
from spantree_exporter.run.main_module import Outcome, program_of
from spantree_exporter.tracing.given import text_given

# Of the semantic conventions, on every such span.
_PID: Final = "process.pid"
_HOST: Final = "host.name"

# Those that wait for requests or messages by what they are called; None: whatever follows. The rest listens, which is
# seen when it does.
_SERVERS: Final[dict[str, tuple[str, ...] | None]] = {
    "uvicorn": None,
    "gunicorn": None,
    "hypercorn": None,
    "daphne": None,
    "granian": None,
    "waitress-serve": None,
    "waitress": None,
    "uwsgi": None,
    "flask": ("run",),
    "fastapi": ("run", "dev"),
    "manage": ("runserver", "runserver_plus", "qcluster"),
    "django": ("runserver",),
    "celery": ("worker", "beat", "flower", "events"),
    "flower": None,
    "rq": ("worker", "worker-pool"),
    "rqworker": None,
    "dramatiq": None,
    "arq": None,
    "huey_consumer": None,
    "taskiq": ("worker", "scheduler"),
    "faststream": ("run",),
    "prefect": ("server", "worker", "agent"),
    "airflow": ("scheduler", "webserver", "api-server", "triggerer", "celery", "standalone", "dag-processor"),
    "dagster-daemon": None,
    "streamlit": ("run",),
    "jupyter": None,
    "jupyter-lab": None,
    "langgraph": ("dev", "up"),
    "mlflow": ("server", "ui"),
    "http.server": None,
}
# Those whose first argument says which of many jobs it is; without it all of them are one.
_WITH_COMMANDS: Final = frozenset({"alembic", "dbt", "django", "django-admin", "flask", "manage"})
_COMMAND: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SECRET: Final = re.compile(r"(pass(word|wd)?|secret|token|api[-_]?key|credential|auth)", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"(://[^/\s:@]*):[^/\s@]*@")
_MAX_COMMAND_CHARS: Final = 1000
# What a command line holds after an option that is named like a secret.
_HIDDEN: Final = "***"


def name_of(arguments: Sequence[str]) -> str:
    """What the process is called: its script or module, and the command of it where it has commands."""
    called, words = _program_name(arguments), list(arguments)
    program = program_of(words)[1]
    if called not in _WITH_COMMANDS or program not in words:
        return called
    command = "".join(words[words.index(program) + 1 :][:1])
    return f"{called} {command}" if _COMMAND.fullmatch(command) else called


def _program_name(arguments: Sequence[str]) -> str:
    how, program = program_of(arguments)
    match how:
        case "script":
            return PurePath(program).stem or program
        case "-m":
            return program.removesuffix(".__main__").rpartition(".")[2]
        case _:
            return PurePath(arguments[0]).name if arguments else "python"


def is_server(arguments: Sequence[str]) -> bool:
    """Whether this command line starts what waits for requests or messages, as far as its name tells."""
    how, program = program_of(arguments)
    called = program if how == "-m" else _program_name(arguments)
    if called not in _SERVERS:
        called = called.partition(".")[0]
    if called not in _SERVERS:
        return False
    words = _SERVERS[called]
    return words is None or any(word in words for word in arguments)


def command_line(arguments: Sequence[str]) -> str:
    """The command line without what is named like a secret, and without passwords in URLs."""
    shown: list[str] = []
    hide_next = False
    for word in arguments:
        if hide_next and not word.startswith("-"):
            shown.append(_HIDDEN)
            hide_next = False
            continue
        option, equals, _ = word.partition("=")
        is_secret = word.startswith("-") and _SECRET.search(option) is not None
        hide_next = is_secret and not equals
        shown.append(f"{option}={_HIDDEN}" if is_secret and equals else _USER_INFO.sub(rf"\1:{_HIDDEN}@", word))
    return " ".join(shown)[:_MAX_COMMAND_CHARS]


class _CurrentSpan:
    """The span as the current one of the main thread's context, and of all copies of it, until `withdraw`.

    To `trace.get_current_span` a value that is no Span is none at all, and that is what this one turns into: requests
    of a server must not become children of what started it, and instrumentations look for INVALID_SPAN itself.
    """

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._is_withdrawn = False

    def withdraw(self) -> None:
        self._is_withdrawn = True

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return _CurrentSpan if self._is_withdrawn else trace.Span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


class ProcessSpan:
    """The span of this process, whose command line is `arguments`, interpreter first."""

    def __init__(self, tracer: trace.Tracer, arguments: Sequence[str]) -> None:
        self.outcome = Outcome()
        """To be told how the program ended."""
        self._tracer = tracer
        self._name = name_of(arguments)
        self._is_server = is_server(arguments)
        self._start_ns = time.time_ns()
        self._pid = os.getpid()
        self._span: trace.Span | None = None
        self._current: _CurrentSpan | None = None
        self._attributes: dict[str, str | int] = {
            names.PROCESS_COMMAND_LINE: command_line(arguments),
            _PID: self._pid,
            _HOST: socket.gethostname(),
        }

    def begin(self) -> None:
        """Start the span of a script and make it the current one of the calling thread."""
        if self._is_server:
            return
        self._span = self._started()
        self._current = _CurrentSpan(self._span)
        otel_context.attach(trace.set_span_in_context(self._current))  # type: ignore[arg-type]
        self._watch_for_listening()

    def is_same(self, span: object) -> bool:
        """Whether `span` is the one of the process."""
        return self._span is span

    def serves(self) -> None:
        """It is a server after all: end the span, and let nothing more become its child."""
        span, self._span, self._is_server = self._span, None, True
        if self._current is not None:
            self._current.withdraw()
        if span is not None and os.getpid() == self._pid:
            span.set_attribute(names.PROCESS_SERVES, True)
            span.end()

    def finish(
        self, signal_number: int | None = None, exit_code: int | None = None, becomes: str | None = None
    ) -> None:
        """End the span as the process ends: by a signal, by becoming another program, else by an exit code.

        The code is that of `outcome` where none is given; what becomes another program has none.
        A child that was forked has no part in it, though what it does may have the span as its parent.
        """
        if os.getpid() != self._pid:
            return
        error = self.outcome.error if exit_code is None else None
        code = self.outcome.exit_code if exit_code is None else exit_code
        cause = self.outcome.cause if error is not None and code else None
        is_cancelled = signal_number is not None or isinstance(cause, KeyboardInterrupt)
        if self._span is None:
            if not code or is_cancelled:
                return
            self._span = self._started()
        span, self._span = self._span, None
        if is_cancelled:
            reason = signal.Signals(signal_number or signal.SIGINT).name
            span.set_attribute(names.PROCESS_SIGNAL, reason)
            for status, why in (
                (names.NODE_STATUS, names.NODE_STATUS_REASON),
                (names.EXECUTION_STATUS, names.EXECUTION_STATUS_REASON),
            ):
                span.set_attribute(status, names.CANCELLED)
                span.set_attribute(why, reason)
        elif becomes is not None:
            span.set_attribute(names.NODE_STATUS_REASON, f"became {PurePath(becomes).name}")
        else:
            span.set_attribute(names.PROCESS_EXIT_CODE, code)
            if code:
                _fail(span, code, error, cause)
        span.end()

    def _started(self) -> trace.Span:
        return self._tracer.start_span(
            self._name, context=otel_context.Context(), attributes=self._attributes, start_time=self._start_ns
        )

    def _watch_for_listening(self) -> None:
        listen = socket.socket.listen

        def listen_and_tell(sock: socket.socket, *backlog: int) -> None:
            listen(sock, *backlog)
            # Unix sockets are how the processes of one program talk to each other.
            if self._span is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
                self.serves()

        with contextlib.suppress(AttributeError, TypeError):
            socket.socket.listen = listen_and_tell  # type: ignore[method-assign, assignment]


def _fail(span: trace.Span, code: int, error: BaseException | None, cause: BaseException | None) -> None:
    said = f"exit code {code}" if cause is None else text_given(cause)
    if isinstance(error, SystemExit) and isinstance(error.code, str):
        said = text_given(error.code)
    span.set_status(Status(StatusCode.ERROR, said))
    span.set_attribute(names.ERROR_TYPE, f"exit code {code}" if cause is None else type(cause).__qualname__)
    if cause is not None:
        span.record_exception(cause)
