"""Argo Workflows from 4.1 on, its own tracing (argoproj/argo-workflows, `util/telemetry/builder/values.yaml`).

    workflow                  (scope `workflows-controller`)
      node                    one for each node of the graph, side by side whatever the graph is
        nodePhase             each phase it was in
        createWorkflowPod
          runMainContainer    (scope `argoexec`, in the pod) what people's own spans are below
      reconcileWorkflow ...   what the controller does about it, over and over

A node tells its type and an id, which is a hash, and neither its own name nor its template's: that is in the name of
the pod (`<workflow>-<template>-<hash>`), the host of what runs in it. Skipped nodes are ended as ERROR
`Unexpected phase`. Which workflow a span of the controller is about stands in its trace state.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, STATUS_OK, Span

_CONTROLLER: Final = "workflows-controller"
_EXECUTOR: Final = "argoexec"
_K8S_CALL: Final = "k8s.verb"
# What Kubernetes appends to a `generateName`, of an alphabet without vowels, and a CronWorkflow the time.
_OF_THE_RUN: Final = re.compile(r"-(?:[bcdfghjklmnpqrstvwxz2456789]{5}|\d{10})\Z")
# util/podname: a hash of the node's name.
_POD_HASH: Final = re.compile(r"-\d+\Z")
_UNFINISHED: Final = "Unexpected phase"
_TRACE_STATE: Final = "workflow="


def _read(span: Span, facts: Facts) -> None:
    if span.scope.name == _CONTROLLER:
        _read_controller(span, facts)
    elif span.scope.name == _EXECUTOR:
        if span.name == "runMainContainer":
            _put_main_container(span, facts)
        else:
            _leave_out(span, facts)
    elif _K8S_CALL in span.attributes:
        _leave_out(span, facts)


def _leave_out(span: Span, facts: Facts) -> None:
    """What Argo does for itself, unless it failed: part of what it did that for, or of nothing.

    The controller holds a lease by a call every few seconds; and workflows that it did not see begin are of no trace.
    """
    if span.status_code != STATUS_ERROR:
        facts.setdefault("fold", "parent")
        if span.parent_span_id is None:
            facts.setdefault("hidden", True)


def _read_controller(span: Span, facts: Facts) -> None:
    a = span.attributes
    if span.name == "workflow":
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        _put_run(text_of(a.get("name")), facts)
        if span.status_code == STATUS_OK:
            # Its nodes that failed were tried again, or were to be let go on from.
            facts.setdefault("run_status", "completed")
        elif span.status_code == STATUS_ERROR:
            facts.setdefault("run_status", "failed")
    elif span.name == "node":
        _put_node(span, facts)
        _put_run(text_of(a.get("name")), facts)
    elif span.name == "nodePhase":
        # What comes before is waiting for room, for an image, for a lock.
        facts.setdefault("fold", "inner" if a.get("node_phase") == "Running" else "parent")
    else:
        _leave_out(span, facts)
        if "fold" in facts and (workflow := _workflow_in(span.trace_state)):
            # While the workflow runs, these are all that is there of it.
            facts.setdefault("step", True)
            _put_run(workflow, facts)


def _put_run(workflow: str | None, facts: Facts) -> None:
    if workflow is not None:
        facts.setdefault("run_id", workflow)
        facts.setdefault("workflow_name", _OF_THE_RUN.sub("", workflow) or workflow)


def _put_node(span: Span, facts: Facts) -> None:
    node_type = text_of(span.attributes.get("node_type"))
    facts.setdefault("kind", "step")
    facts.setdefault("step", True)
    facts.setdefault("covers_queue", True)
    if node_type:
        facts.setdefault("name", node_type)
    if node_id := text_of(span.attributes.get("node_id")):
        facts.setdefault("task_key", node_id)
    if span.status_code == STATUS_ERROR and span.status_message == _UNFINISHED:
        # The other ones that end so were still going on when the workflow ended.
        facts.setdefault("status", "skipped" if node_type == "Skipped" else "cancelled")


def _put_main_container(span: Span, facts: Facts) -> None:
    workflow = text_of(span.attributes.get("name"))
    pod = text_of(span.resource.attributes.get("host.name"))
    facts.setdefault("fold", "inner")
    facts.setdefault("kind", "step")
    _put_run(workflow, facts)
    if workflow and pod and pod.startswith(f"{workflow}-"):
        template = _POD_HASH.sub("", pod[len(workflow) :]).removeprefix("-")
        if template:
            facts.setdefault("name", template)
            facts.setdefault("names_outer", True)


def _workflow_in(trace_state: str) -> str | None:
    """`hello-x7k2p` of `workflow=prod/hello-x7k2p`."""
    for member in trace_state.split(",") if _TRACE_STATE in trace_state else ():
        if member.strip().startswith(_TRACE_STATE):
            return member.rpartition("/")[2].strip() or None
    return None


CONVENTION = Convention("argo", _read, scopes=(_CONTROLLER, _EXECUTOR), keys=(_K8S_CALL,))
