"""The handles that people hold inside a `with execution(...)` or `with node(...)`, and how a span begins and ends.

A handle travels in the OpenTelemetry context beside its span, so whatever carries the one (tasks, threads under
opentelemetry-instrumentation-threading) carries the other.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any, Final, Self, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from spantree_exporter import attributes as names
from spantree_exporter.tracing.given import Id, id_given, several, text_given
from spantree_exporter.tracing.planned_id import as_planned, tell_response, with_planned_ids
from spantree_exporter.tracing.steps import DeclaredStep, step_texts
from spantree_exporter.tracing.value import json_text, plain_text

logger = logging.getLogger(__name__)

SCOPE_NAME: Final = "spantree"
_HANDLE_KEY: Final = otel_context.create_key("spantree-handle")
_RECORDED: Final = "__spantree_recorded__"
"""Key in an exception's ``__dict__``: the ids of the span that recorded it and of all spans around that one."""

M = TypeVar("M", bound="Marked")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a span is to begin. `name_attribute` says in the span what the name names."""

    name: str
    name_attribute: str
    attributes: Mapping[str, Any]
    links: tuple[trace.Link, ...]
    input: object = None

    def named(self, name: str) -> Plan:
        """The same plan under another name."""
        return replace(self, name=name, attributes={**self.attributes, self.name_attribute: name})

    def given(self, **changes: Any) -> Plan:
        """The same plan with more attributes; underscores in `changes` are no dots: pass names by ``**{...}``."""
        return replace(self, attributes={**self.attributes, **changes})


class Marked:
    """A running span of ours. When nothing is recorded, and after the end, every method does nothing."""

    def __init__(self, span: Span, name: str, parent: Marked | None, path: str) -> None:
        self.span = span
        """The OpenTelemetry span, for attributes and events of your own."""
        self.name = name
        self._parent = parent
        self._path = path
        self._calls: dict[str, itertools.count[int]] = {}
        self._context = otel_context.set_value(_HANDLE_KEY, self, trace.set_span_in_context(span))
        self._token: contextvars.Token[otel_context.Context] | None = None
        self._never_ran: tuple[str, ...] = ()

    @classmethod
    def begin(cls, plan: Plan, trace_id: int | None = None) -> Self:
        """Start the span below the current one; it becomes current by `attach`.

        With a `trace_id` that is not the current span's it is the root of that trace.
        """
        parent = _current()
        attributes = dict(plan.attributes)
        _name_for_gen_ai(plan.name, attributes)
        if trace_id is None or trace_id == trace.get_current_span().get_span_context().trace_id:
            span = own_tracer().start_span(plan.name, attributes=attributes, links=plan.links)
        else:
            parent = None
            alone = trace.set_span_in_context(trace.INVALID_SPAN)
            with as_planned(trace_id):
                span = own_tracer().start_span(plan.name, context=alone, attributes=attributes, links=plan.links)
        handle = cls(span, plan.name, parent, _path(parent, plan.name))
        if plan.input is not None:
            handle.set_input(plan.input)
        return handle

    @property
    def trace_id(self) -> str:
        """32 hex digits: the execution's id in spantree; 32 zeros when nothing is recorded."""
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    @property
    def ticket(self) -> str:
        """This span as a W3C traceparent: what `execution(resumed_step=...)` takes, in whatever process that runs."""
        context = self.span.get_span_context()
        span_id = trace.format_span_id(context.span_id)
        return f"00-{trace.format_trace_id(context.trace_id)}-{span_id}-{context.trace_flags & 1:02x}"

    def set_input(self, value: object) -> None:
        """Store what went in, as JSON text."""
        self._set_value(names.INPUT, names.INPUT_CUT_FROM_CHARS, value)

    def set_output(self, value: object) -> None:
        """Store what came out, as JSON text."""
        self._set_value(names.OUTPUT, names.OUTPUT_CUT_FROM_CHARS, value)

    def fail(self, reason: object) -> None:
        """Mark as failed where no exception passes through; `reason` is a text, or an exception that was handled."""
        if isinstance(reason, Exception):
            self._describe(reason)
        else:
            self.span.set_status(Status(StatusCode.ERROR, text_given(reason)))

    def never_ran(self, *node_names: str | Iterable[str]) -> None:
        """Name nodes that did not run and have no span: they show as skipped. May be called again with others."""
        self._never_ran += tuple(text_given(name) for given in node_names for name in several(given))
        self.span.set_attribute(names.SKIPPED_NODES, self._never_ran)

    def attach(self) -> None:
        """Make this span the current one."""
        self._token = otel_context.attach(self._context)

    def detach(self) -> None:
        """Make the span current again that was before `attach`."""
        token, self._token = self._token, None
        if token is None:
            return
        try:
            token.var.reset(token)
        except Exception:
            # A generator that a framework runs on threads (a dependency of FastAPI, a response that streams) begins and
            # ends in copies of one context: nothing is left to restore. OpenTelemetry's `detach` logs a traceback.
            logger.debug("span %r ended in another context than it began in", self.name)

    def end(self, exception: BaseException | None = None) -> None:
        """End the span, with what `exception` means for it. Never raises."""
        try:
            if exception is not None:
                self._describe(exception)
        finally:
            self.span.end()

    def next_call(self, name: str) -> int:
        """How many nodes of that name were begun below this one, the new one included."""
        return next(self._calls.setdefault(name, itertools.count(1)))

    def _mark(self, status: str, reason: str) -> None:
        raise NotImplementedError

    def _set_value(self, attribute: str, cut_attribute: str, value: object) -> None:
        if not self.span.is_recording():
            return
        text, cut_from_chars = json_text(value)
        self.span.set_attribute(attribute, text)
        if cut_from_chars is not None:
            self.span.set_attribute(cut_attribute, cut_from_chars)

    def _describe(self, exception: BaseException) -> None:
        try:
            if self.span.is_recording():
                self._note(exception)
        except Exception:
            logger.exception("could not describe an exception on span %r; the span goes out without it", self.name)

    def _note(self, exception: BaseException) -> None:
        if isinstance(exception, (asyncio.CancelledError, KeyboardInterrupt)):
            self._mark(names.CANCELLED, plain_text(str(exception)) or type(exception).__name__)
            return
        if isinstance(exception, GeneratorExit) or (isinstance(exception, SystemExit) and exception.code in (None, 0)):
            return
        own_id = self.span.get_span_context().span_id
        first_here = own_id not in exception.__dict__.get(_RECORDED, ())
        self.span.set_attribute(names.ERROR_TYPE, _type_name(exception))
        self.span.set_status(Status(StatusCode.ERROR, text_given(exception)))
        self._mark_failed(timed_out=first_here and isinstance(exception, TimeoutError))
        if first_here:
            exception.__dict__[_RECORDED] = tuple(self._span_ids())
            self.span.record_exception(exception)

    def _mark_failed(self, *, timed_out: bool) -> None:
        raise NotImplementedError

    def _span_ids(self) -> list[int]:
        ids, handle = [], self
        while True:
            ids.append(handle.span.get_span_context().span_id)
            if handle._parent is None:
                return ids
            handle = handle._parent


class Execution(Marked):
    """One run of something, while it runs."""

    _declared: bool = False

    @classmethod
    def begin(cls, plan: Plan, trace_id: int | None = None) -> Self:
        """As of any span of ours; whoever answers the request that is being served learns the execution's id."""
        handle = super().begin(plan, trace_id)
        if handle.span.is_recording():
            tell_response(handle.trace_id)
        return handle

    def declare(self, steps: Iterable[str | Mapping[str, Any] | DeclaredStep]) -> None:
        """Say which steps are to run, where a plan is made only inside: they show as pending until they do.

        May be called again with further steps. What `execution(steps=...)` declared stays.
        """
        if not self.span.is_recording():
            return
        # A span of its own, which ends here: the execution's is sent only when all is over.
        attributes = {names.SPAN_TYPE: names.NOTE_SPAN, names.DECLARED_STEPS: step_texts(steps)}
        own_tracer().start_span("declare steps", context=self._context, attributes=attributes).end()

    def identify(
        self, *, run_id: Id | None = None, conversation_id: Id | None = None, user_id: Id | None = None
    ) -> None:
        """Say what became known only inside."""
        for attribute, value in (
            (names.RUN_ID, id_given(run_id)),
            (names.CONVERSATION_ID, id_given(conversation_id)),
            (names.USER_ID, id_given(user_id)),
        ):
            if value is not None:
                self.span.set_attribute(attribute, value)

    def waiting(self, reason: str) -> None:
        """The run stops here until somebody or something takes it up (`execution(resumes=...)`)."""
        self._mark(names.WAITING, reason)

    def cancelled(self, reason: str) -> None:
        """The run was called off."""
        self._mark(names.CANCELLED, reason)

    def _mark(self, status: str, reason: str) -> None:
        self._declared = True
        self.span.set_attribute(names.EXECUTION_STATUS, status)
        self.span.set_attribute(names.EXECUTION_STATUS_REASON, text_given(reason))

    def _mark_failed(self, *, timed_out: bool) -> None:
        # a declared status beats the span status when read, and an attribute cannot be taken back
        if timed_out or self._declared:
            self.span.set_attribute(names.EXECUTION_STATUS, names.TIMED_OUT if timed_out else names.FAILED)


class Step(Marked):
    """One step of a run, while it runs."""

    decision: object = None
    """What `decide` was given."""
    _declared: bool = False

    def waiting(self, reason: str) -> str:
        """The step waits for somebody or something, and so does the run: leave it and return.

        Returns the step's `ticket`; keep it, and give it to `execution(resumes=run_id, resumed_step=ticket)`.
        """
        self._mark(names.WAITING, reason)
        if (run := current_execution()).span.is_recording():
            run.waiting(reason)
        return self.ticket

    def skip(self, reason: str) -> None:
        """The step had nothing to do."""
        self._mark(names.SKIPPED, reason)

    def cancelled(self, reason: str) -> None:
        """The step was called off."""
        self._mark(names.CANCELLED, reason)

    def timed_out(self, reason: str) -> None:
        """The step took too long, where no TimeoutError says so."""
        self._mark(names.TIMED_OUT, reason)
        self.fail(reason)

    def decide(self, value: object, *, not_taken: Iterable[str] = ()) -> None:
        """This step chose a branch: `value` is the condition of the edges to nodes begun with ``chosen_by=step``.

        Nodes of branches `not_taken` show as skipped.
        """
        self.decision = value
        self.span.set_attribute(names.DECISION, self.condition_text(value))
        if not_taken:
            self.never_ran(not_taken)

    def tokens(self, *, input: int | None = None, output: int | None = None) -> None:  # noqa: A002
        """Tokens that a model took in and gave out."""
        if input is not None:
            self.span.set_attribute(names.GEN_AI_USAGE_INPUT_TOKENS, input)
        if output is not None:
            self.span.set_attribute(names.GEN_AI_USAGE_OUTPUT_TOKENS, output)

    @staticmethod
    def condition_text(value: object) -> str:
        """A condition's value as an edge shows it: a string as it is, anything else as JSON."""
        return text_given(value) if isinstance(value, str) else json_text(value)[0]

    def _mark(self, status: str, reason: str) -> None:
        self._declared = True
        self.span.set_attribute(names.NODE_STATUS, status)
        self.span.set_attribute(names.NODE_STATUS_REASON, text_given(reason))

    def _mark_failed(self, *, timed_out: bool) -> None:
        # a declared status beats the span status when read, and an attribute cannot be taken back
        if timed_out or self._declared:
            self.span.set_attribute(names.NODE_STATUS, names.TIMED_OUT if timed_out else names.FAILED)


def current_execution() -> Execution:
    """The innermost execution around the caller; one that records nothing when there is none."""
    return _innermost(Execution)


def current_step() -> Step:
    """The innermost node around the caller; one that records nothing when there is none."""
    return _innermost(Step)


def context_of_ticket(ticket: str) -> SpanContext | None:
    """The span that a `ticket` (a W3C traceparent) names; None, and a log line, for anything else."""
    parts = ticket.split("-")
    try:
        context = SpanContext(int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=trace.TraceFlags(1))
    except (IndexError, ValueError):
        context = trace.INVALID_SPAN_CONTEXT
    if context.is_valid:
        return context
    logger.warning(
        "resumed_step %r is no traceparent (00-TRACE_ID-SPAN_ID-01); the run goes on without the link", ticket
    )
    return None


def task_key(parent: Marked | None, name: str) -> str:
    """A key for the attempts of one task, different for each task of a trace and readable."""
    if parent is None:
        # nobody counts the calls here
        return f"{name}~{secrets.token_hex(4)}"
    path, count = _path(parent, name), parent.next_call(name)
    return path if count == 1 else f"{path}#{count}"


def current_marked() -> Marked | None:
    """The innermost execution or node around the caller."""
    return _current()


_tracer_of: tuple[trace.TracerProvider, trace.Tracer] | None = None


def new_trace_id() -> int:
    """A trace id for an execution that begins later; 0 where no SDK makes any."""
    make = getattr(getattr(own_tracer(), "id_generator", None), "generate_trace_id", None)
    return make() if make is not None else 0


def own_tracer() -> trace.Tracer:
    """The global provider's tracer of our scope, whose ids can be planned."""
    # the SDK's get_tracer takes a lock and edits the warning filters: once for each provider is enough
    global _tracer_of
    provider = trace.get_tracer_provider()
    if _tracer_of is None or _tracer_of[0] is not provider:
        _tracer_of = (provider, with_planned_ids(provider.get_tracer(SCOPE_NAME, _version())))
    return _tracer_of[1]


def _version() -> str:
    try:
        return metadata.version("spantree")
    except metadata.PackageNotFoundError:
        return "0"


def _current() -> Marked | None:
    handle = otel_context.get_value(_HANDLE_KEY)
    return handle if isinstance(handle, Marked) else None


def _innermost(kind: type[M]) -> M:
    handle = _current()
    while handle is not None:
        if isinstance(handle, kind):
            return handle
        handle = handle._parent
    return kind(trace.INVALID_SPAN, "", None, "")


def _path(parent: Marked | None, name: str) -> str:
    if parent is not None:
        return f"{parent._path}/{name}"
    # the span that called this process tells two calls in one trace apart
    remote = trace.get_current_span().get_span_context()
    return f"{trace.format_span_id(remote.span_id)[:8]}/{name}" if remote.is_valid else name


def _name_for_gen_ai(name: str, attributes: dict[str, Any]) -> None:
    match attributes.get(names.NODE_KIND):
        case "tool":
            attributes[names.GEN_AI_TOOL_NAME] = name
        case "agent":
            attributes[names.GEN_AI_AGENT_NAME] = name


def _type_name(exception: BaseException) -> str:
    # as the SDK names it in exception.type
    kind = type(exception)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
