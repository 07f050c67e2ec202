"""Apache Airflow 3 with `[traces] otel_on`, seen with 3.3: `dag_run.<dag>` -> `task_run.<task>` -> `worker.<task>`.

The API server ends a `task_run` span at each change of state and gives all of one task the same span id; its time
includes queueing. `worker` has the time of the work and no state. The span status is OK for success and ERROR for all
else, so the state attribute is what counts.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, whole_number
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import Span

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


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
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
    facts.setdefault("name", task)
    facts.setdefault("kind", "task")
    facts.setdefault("step", True)
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
    state = a.get("airflow.task_instance.state")
    if isinstance(state, str) and (status := _STATES.get(state.lower())) is not None:
        facts.setdefault("status", status)
        if state in _TELLING:
            facts.setdefault("status_reason", state)
        if status == "retried":
            # Airflow retries only by the task's own `retries`.
            facts.setdefault("retry_expected", True)


CONVENTION = Convention("airflow", _read, keys=("airflow.dag_id", "airflow.task_id", "airflow.dag_run.run_id"))
