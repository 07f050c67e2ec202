"""A watched job as spans: one execution, a node for each attempt, and in it `queued` and `running`.

Their ids and times follow from the stored job alone, so that a watcher that is started again goes on with the very
spans that the one before it had open: what a restart left behind and what comes after it are versions of one span.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, StatusCode, TraceFlags

from spantree_exporter import attributes as names
from spantree_exporter.polling.results import Result
from spantree_exporter.polling.states import FINAL, Job, Rules
from spantree_exporter.tracing.planned_id import as_planned
from spantree_exporter.tracing.span import context_of_ticket, own_tracer
from spantree_exporter.tracing.value import json_text, plain_text

logger = logging.getLogger(__name__)

SIGN_OF_LIFE_S: Final = 600.0
"""An execution that is silent for an hour counts as lost: a watcher that lives says so six times as often."""
_STATUS: Final = {"CANCELLED": names.CANCELLED, "TIMEOUT": names.TIMED_OUT}
_OUTPUT_CHARS: Final = 500


class JobSpans:
    """The open spans of watched jobs. Never raises: a job is watched whether or not it can be told."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._open: dict[str, list[Span]] = {}  # by key: the execution, its attempt, the attempt's phase
        self._signed_at_s: dict[str, float] = {}

    def begin(self, job: Job) -> None:
        """Open the spans of a job that is not over: newly watched, or read from the file after a restart."""
        with _logged(job):
            self._open[job.key] = [self._root(job)]
            self._signed_at_s[job.key] = job.state_since_s
            self._begin_attempt(job)
            if job.state in FINAL:
                # Whoever saw it may have been killed before that was sent; sent again it is the same.
                self._end_attempt(job)

    def change(self, before: Job, after: Job, result: Result | None) -> None:
        """Tell that the job went from one state to another."""
        with _logged(after):
            spans = self._open.get(after.key)
            if spans is None:
                return
            at_ns = _ns(after.state_since_s)
            spans[0].add_event("job.state", {"job.from": before.state, "job.to": after.state}, timestamp=at_ns)
            if after.state == "RUNNING":
                spans.pop().end(at_ns)
                spans.append(self._phase(after, "running", after.state_since_s))
            elif after.state in FINAL:
                self._end_attempt(after)
                if after.is_over:
                    self._end(spans[0], after, result)
                    del self._open[after.key]
            else:
                self._begin_attempt(after)

    def tell_end(self, job: Job, result: Result | None) -> None:
        """Tell of a job that is over, for the same reason."""
        self.begin(job)
        with _logged(job):
            self._end(self._open.pop(job.key)[0], job, result)

    def reject(self, job: Job, rejected: str, now_s: float) -> None:
        """Tell that a transition was ignored."""
        with _logged(job):
            if spans := self._open.get(job.key):
                spans[0].add_event("job.state.rejected", {"job.transition": rejected}, timestamp=_ns(now_s))

    def sign_of_life(self, job: Job, now_s: float) -> None:
        """Show that the job is still watched, where nothing was sent of it for ten minutes."""
        if now_s - self._signed_at_s.get(job.key, now_s) < SIGN_OF_LIFE_S:
            return
        self._signed_at_s[job.key] = now_s
        with _logged(job):
            if spans := self._open.get(job.key):
                said: dict[str, Any] = {names.SPAN_TYPE: names.NOTE_SPAN, "job.polls": job.polls}
                context = trace.set_span_in_context(spans[0])
                note = own_tracer().start_span("watched", context=context, attributes=said, start_time=_ns(now_s))
                note.end(_ns(now_s))

    def _root(self, job: Job) -> Span:
        return self._start(job, job.name, "execution", job.watched_at_s, self._of_execution(job), None)

    def _begin_attempt(self, job: Job) -> None:
        said = {
            names.NODE_NAME: "attempt",
            names.NODE_KIND: "task",
            names.TASK_KEY: job.key,
            names.ATTEMPT: job.attempt,
            names.RETRY_MAX_ATTEMPTS: self._rules.max_retries + 1 if self._rules.can_retry else 1,
            names.RETRY_EXPECTED: True,
        }
        attempt = self._start(job, "attempt", f"attempt {job.attempt}", job.attempt_since_s, said, "execution")
        self._open[job.key].append(attempt)
        phase = self._phase(job, "queued", job.attempt_since_s)
        running_since_s = job.state_since_s if job.state == "RUNNING" else job.running_since_s
        if running_since_s is not None:
            # ended before; sent again it is the same span
            phase.end(_ns(running_since_s))
            phase = self._phase(job, "running", running_since_s)
        self._open[job.key].append(phase)

    def _end_attempt(self, job: Job) -> None:
        spans = self._open[job.key]
        while len(spans) > 1:
            _finish(spans.pop(), job, names.NODE_STATUS, _ns(job.state_since_s))

    def _phase(self, job: Job, name: str, start_s: float) -> Span:
        said = {names.NODE_NAME: name, names.NODE_KIND: "step"}
        return self._start(job, name, f"{name} {job.attempt}", start_s, said, f"attempt {job.attempt}")

    def _start(
        self, job: Job, name: str, role: str, start_s: float, attributes: dict[str, Any], parent: str | None
    ) -> Span:
        trace_id = int(job.trace_id, 16)
        if parent is None:
            above: Span = trace.INVALID_SPAN
        else:
            parent_id = _span_id(job, parent)
            above = NonRecordingSpan(SpanContext(trace_id, parent_id, is_remote=False, trace_flags=TraceFlags(1)))
        said: dict[str, Any] = {**attributes, names.OUTLIVES_PROCESS: True}
        links = []
        if parent is None and job.link is not None and (asked_by := context_of_ticket(job.link)) is not None:
            links.append(trace.Link(asked_by))
        with as_planned(trace_id, _span_id(job, role)):
            return own_tracer().start_span(
                name,
                context=trace.set_span_in_context(above),
                attributes=said,
                links=links,
                start_time=_ns(start_s),
            )

    def _of_execution(self, job: Job) -> dict[str, Any]:
        said = {names.EXECUTION_NAME: job.name, names.RUN_ID: job.key, "job.key": job.key}
        if job.detail != "null":
            said[names.INPUT] = job.detail
        return said

    def _end(self, root: Span, job: Job, result: Result | None) -> None:
        root.set_attribute("job.polls", job.polls)
        root.set_attribute("job.retries", job.retry_count)
        root.set_attribute("job.rejected_transitions", job.rejected_count)
        if result is not None:
            told = {
                "format": result.format,
                "rows": result.rows,
                "bytes": result.size_bytes,
                "duration_s": result.duration_s,
                "beginning": result.content[:_OUTPUT_CHARS],
            }
            root.set_attribute(names.OUTPUT, json_text(told)[0])
        _finish(root, job, names.EXECUTION_STATUS, _ns(job.state_since_s))


def _finish(span: Span, job: Job, status_attribute: str, at_ns: int) -> None:
    reason = plain_text(job.error or "")
    if (status := _STATUS.get(job.state)) is not None:
        span.set_attribute(status_attribute, status)
        if reason:
            span.set_attribute(f"{status_attribute}_reason", reason)
    if job.state in {"FAILED", "TIMEOUT"}:
        span.set_attribute(names.ERROR_TYPE, job.error_class or "UNKNOWN")
        span.set_status(Status(StatusCode.ERROR, reason))
    span.end(at_ns)


def _span_id(job: Job, role: str) -> int:
    digest = blake2b(f"{job.trace_id}/{role}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") or 1


def _ns(time_s: float) -> int:
    return int(time_s * 1_000_000) * 1_000


@contextlib.contextmanager
def _logged(job: Job) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("could not tell of job %s in spans; it is watched all the same", job.key)
