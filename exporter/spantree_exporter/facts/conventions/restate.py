"""Restate: its server's spans of services (read from restate 1.7, `tracing-instrumentation`) and its SDKs' hooks.

    ingress Checkout/process                who asked for it; `ingress_kafka`, `restart-as-new`
      invocation-start Checkout/process     begins and is sent at once: the run, until its end comes
        invocation-attempt ...              each time that the service was called: OK, ERROR `transient failure`, or
                                            unset with an event that it was suspended or made way
          attempt Checkout/process          (an SDK's hook) the same, seen from the service
            run (charge)                    a closure
        invocation-end Checkout/process     how it ended

A service that an invocation calls has its own `invocation-start` below the caller's attempt. Older servers sent
`invoke` and `background_invoke` in the place of starts and attempts.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, status_of, text_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import STATUS_UNSET, Span

# What asks for an invocation, each called `<what> <target>`.
_ASKS: Final = frozenset({"ingress", "ingress_kafka", "ingress_http", "restart-as-new"})
_INVOKES: Final = frozenset({"invoke", "background_invoke"})
_START: Final = "invocation-start"
_TRIES: Final = "invocation-attempt"
_END: Final = "invocation-end"
_GOES_ON_LATER: Final = frozenset({"restate.invocation.lifecycle.suspended", "restate.invocation.lifecycle.yielded"})
# errors.rs: of code 409, as is an invocation that somebody killed or cancelled.
_ABORTED: Final = "409"
_CANCELLED: Final = frozenset({"killed", "canceled", "cancelled"})


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    invocation = text_of(a.get("restate.invocation.id"))
    if closure := text_of(a.get("restate.run.name")):
        facts.setdefault("name", closure)
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        return
    if invocation:
        facts.setdefault("run_id", invocation)
    target = text_of(a.get("restate.invocation.target"))
    if target is None:
        return
    what = span.name.partition(" ")[0]
    facts.setdefault("name", target)
    facts.setdefault("kind", "workflow")
    if what == _END:
        facts.setdefault("fold", "event")
        facts.setdefault("closes", True)
        if status := _result(span):
            facts.setdefault("status", status)
        return
    if what == _TRIES:
        _put_attempt(span, invocation, facts)
        return
    facts.setdefault("boundary", "run")
    facts.setdefault("workflow_name", target)
    if what in _ASKS:
        facts.setdefault("entry", span.name)
        facts.setdefault("fold", "outer")
        if invocation:
            facts.setdefault("task_key", invocation)
    elif what == _START:
        facts.setdefault("open_ended", True)
        if invocation:
            facts.setdefault("task_key", invocation)
    elif what in _INVOKES:
        facts.setdefault("entry", span.name)
    else:
        _put_attempt(span, invocation, facts)
        facts.setdefault("fold", "nested")


def _put_attempt(span: Span, invocation: str | None, facts: Facts) -> None:
    if invocation:
        facts.setdefault("task_key", f"{invocation}/attempt")
    facts.setdefault("retry_expected", True)
    if span.status_code == STATUS_UNSET and any(event.name in _GOES_ON_LATER for event in span.events):
        facts.setdefault("status", "waiting")


def _result(span: Span) -> Status | None:
    a = span.attributes
    if text_of(a.get("restate.invocation.error.code")) == _ABORTED and text_of(a.get("error.message")) in _CANCELLED:
        return "cancelled"
    return status_of(a.get("restate.invocation.result"))


CONVENTION = Convention(
    "restate", _read, keys=("restate.invocation.id", "restate.invocation.target", "restate.run.name")
)
