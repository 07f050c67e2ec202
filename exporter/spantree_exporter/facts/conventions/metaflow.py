"""Metaflow with `METAFLOW_OTEL_ENDPOINT`, tried with 2.19: each command that it runs is a span, with its command line.

    cli/run                 the flow, by its scheduler; `cli/resume`
      cli/step              a process for each attempt of a task; `cmd` tells its step, its run, what led to it
      kubernetes/step       who waits for one that runs in a pod
        cli/step

A task is `<run>/<step>/<task>`. Several that led to it are told as `<run>/:check/2,price/3`, behind what they share.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_RUNS: Final = frozenset({"cli/run", "cli/resume", "cli/spin"})
_STEP: Final = "cli/step"
_REMOTE: Final = frozenset({"kubernetes/step", "batch/step"})
# What a command line has room for, and what of one is looked at.
_COMMAND_CHARS: Final = 16_384
_TASKS: Final = 1_000
_PARAMETERS: Final = "/_parameters/"
_COMPRESSED: Final = "!"


def _read(span: Span, facts: Facts) -> None:
    command = text_of(span.attributes.get("cmd"))
    if command is None or not (span.name == _STEP or span.name in _RUNS or span.name in _REMOTE):
        return
    words = command[:_COMMAND_CHARS].split()
    flow = words[0].rpartition("/")[2].removesuffix(".py") if words else ""
    if flow:
        facts.setdefault("workflow_name", flow)
    if span.name in _RUNS:
        facts.setdefault("boundary", "run")
        facts.setdefault("kind", "workflow")
        if flow:
            facts.setdefault("name", flow)
        return
    options = dict(pairwise(words))
    if "step" in words[:-1]:
        facts.setdefault("name", words[words.index("step") + 1])
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
    if span.name in _REMOTE:
        facts.setdefault("fold", "outer")
    run_id, task_id = options.get("--run-id"), options.get("--task-id")
    if run_id:
        facts.setdefault("run_id", run_id)
        if task_id and "name" in facts:
            facts.setdefault("task_key", f"{run_id}/{facts['name']}/{task_id}")
    if "--split-index" in options:
        facts.setdefault("mapped", True)
    if (retries := whole_number(options.get("--retry-count"))) is not None:
        facts.setdefault("attempt", retries + 1)
    if most := whole_number(options.get("--max-user-code-retries")):
        facts.setdefault("max_attempts", most + 1)
        facts.setdefault("retry_expected", True)
    if after := _tasks_in(options.get("--input-paths", "")):
        facts.setdefault("depends_on", after)


def _tasks_in(paths: str) -> list[str]:
    if paths.startswith(_COMPRESSED):
        return []
    shared, colon, rest = paths.partition(":")
    tasks = [f"{shared}{task}" for task in rest.split(",")] if colon else paths.split(",")
    return [task for task in tasks[:_TASKS] if task and _PARAMETERS not in task]


CONVENTION = Convention("metaflow", _read, scopes=("metaflow.tracing",))
