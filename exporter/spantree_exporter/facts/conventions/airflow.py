"""Apache Airflow 3 with `[traces] otel_on`, seen with 3.3: `dag_run.<dag>` -> `task_run.<task>` -> `worker.<task>`.

The API server ends a `task_run` span at each change of state and gives all of one task the same span id; its time
includes queueing. `worker` has the time of the work and no state. The span status is OK for success and ERROR for all
else, so the state attribute is what counts.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import JsonValue, Span

# airflow/utils/state.py: TaskInstanceState.
_STATES: Final[dict[str, Status]] = {
    "success": "completed",
    "failed": "failed",
    "skipped": "skipped",
    "upstream_failed": "skipped",
    "removed": "skipped",
    "up_for_retry": "retried",
    "restarting": "retried",
    "deferred": "waiting",
    "awaiting_input": "waiting",
    "up_for_reschedule": "waiting",
    "scheduled": "pending",
    "queued": "pending",
    "running": "running",
}
# States that a status alone does not tell.
_TELLING: Final = frozenset(
    {"upstream_failed", "removed", "restarting", "deferred", "awaiting_input", "up_for_reschedule"}
)
# airflow/utils/state.py: DagRunState; only newer releases send it.
_RUN_STATES: Final[dict[str, Status]] = {
    "success": "completed",
    "failed": "failed",
    "running": "running",
    "queued": "pending",
}


# 3.0 and 3.1 (`DagRun.set_dagrun_span_attrs`, `set_ti_span_attrs`); 2.10 and 2.11 have the same names without prefixes.
_CATEGORIES: Final = {"airflow.category": ("airflow.dag_run.", "airflow.task."), "category": ("", "")}
_RUNS: Final = "DAG runs"
_TASKS: Final = "scheduler"


def _read_earlier(span: Span, facts: Facts) -> None:
    """Read a run or a task of releases before 3.2, which call them for the DAG and the task alone."""
    a = span.attributes
    for key, (of_run, of_task) in _CATEGORIES.items():
        category = a.get(key)
        if category == _RUNS and (dag := text_of(a.get(f"{of_run}dag_id"))):
            facts.setdefault("boundary", "run")
            facts.setdefault("kind", "workflow")
            facts.setdefault("name", dag)
            facts.setdefault("workflow_name", dag)
            if run_id := text_of(a.get(f"{of_run}run_id")):
                facts.setdefault("run_id", run_id)
            if status := _RUN_STATES.get(_word(a.get(f"{of_run}state"))):
                facts.setdefault("run_status", status)
        elif (
            category == _TASKS
            and (task := text_of(a.get(f"{of_task}task_id")))
            and (dag := text_of(a.get(f"{of_task}dag_id")))
        ):
            _put_task(facts, task)
            # A trace is a run, which the task's span does not name.
            facts.setdefault("task_key", f"{dag}/{task}")
            facts.setdefault("task_scope", "trace")
            if (attempt := whole_number(a.get(f"{of_task}try_number"))) is not None and attempt > 0:
                facts.setdefault("attempt", attempt)
            _put_state(facts, _word(a.get(f"{of_task}state")))


def _word(state: JsonValue) -> str:
    """`DagRunState.FAILED` and `failed` alike."""
    return state.rpartition(".")[2].lower() if isinstance(state, str) else ""


def _put_task(facts: Facts, task: str) -> None:
    facts.setdefault("name", task)
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)


def _put_state(facts: Facts, state: str) -> None:
    if (status := _STATES.get(state)) is None:
        return
    facts.setdefault("status", status)
    if state in _TELLING:
        facts.setdefault("status_reason", state)
    if status == "retried":
        # Airflow retries only by the task's own `retries`.
        facts.setdefault("retry_expected", True)


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if any(a.get(key) in {_RUNS, _TASKS} for key in _CATEGORIES):
        _read_earlier(span, facts)
        return
    dag = text_of(a.get("airflow.dag_id"))
    run_id = text_of(a.get("airflow.dag_run.run_id"))
    if dag:
        facts.setdefault("workflow_name", dag)
    if run_id:
        facts.setdefault("run_id", run_id)
    task = text_of(a.get("airflow.task_id"))
    if task is None:
        if run_id and (dag is None or span.name.startswith("dag_run.") or "airflow.dag_run.run_type" in a):
            facts.setdefault("boundary", "run")
            facts.setdefault("kind", "workflow")
            state = a.get("airflow.dag_run.state")
            if isinstance(state, str) and (status := _RUN_STATES.get(state.lower())) is not None:
                facts.setdefault("run_status", status)
        return
    if span.name.startswith("worker."):
        facts.setdefault("fold", "inner")
    elif not span.name.startswith("task_run."):
        # What operators and hooks do inside a task carries its ids as well.
        return
    else:
        facts.setdefault("covers_queue", True)
    _put_task(facts, task)
    map_index = whole_number(a.get("airflow.task_instance.map_index"))
    # -1 is Airflow's "not mapped".
    if map_index is not None and map_index >= 0:
        facts.setdefault("mapped", True)
    if run_id:
        # Not the task instance's id: each try has another.
        instance = "" if map_index is None or map_index < 0 else f"[{map_index}]"
        facts.setdefault("task_key", f"{dag or ''}/{run_id}/{task}{instance}")
    if (attempt := whole_number(a.get("airflow.task_instance.try_number"))) is not None and attempt > 0:
        facts.setdefault("attempt", attempt)
    _put_state(facts, _word(a.get("airflow.task_instance.state")))


CONVENTION = Convention(
    "airflow", _read, keys=("airflow.dag_id", "airflow.task_id", "airflow.dag_run.run_id", *_CATEGORIES)
)
