"""A failure report and what is different from the last good run -> why it failed, by rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spantree_api.answers.analysis import (
    AnalysedNode,
    AnalysisAnswer,
    ChangedStep,
    LastGoodDifference,
    RetrySummary,
    SameCauseSummary,
    ServiceVersions,
)
from spantree_api.answers.diff import DiffAnswer, DiffNode
from spantree_api.answers.failures import FailureAnswer, RetriedTask
from spantree_api.failures.known_errors import Advice
from spantree_api.rendering import rfc3339

_CHANGES_MAX: Final = 20
_NAMED_MAX: Final = 5
_MESSAGE_CHARS: Final = 500
_NAME_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class LastGood:
    """The last good run: what is different from it (`a` the analysed one), and the versions of services by name."""

    started_ns: int
    diff: DiffAnswer
    versions: Mapping[str, str | None]
    good_versions: Mapping[str, str | None]


def rules_analysis(
    report: FailureAnswer,
    advice: Advice,
    last_good: LastGood | None,
    same_cause: SameCauseSummary | None,
    created_ns: int,
    last_seen_ns: int,
) -> AnalysisAnswer:
    """Why it failed. An execution without failed nodes has a `message` instead of a cause."""
    first = report["first_failed_node"]
    error = report["error"]
    answer: AnalysisAnswer = {
        "execution_id": report["execution_id"],
        "by": "rules",
        "model": None,
        "fallback": None,
        "message": None,
        "root_cause": None,
        "first_failed_node": None,
        "category": None if error is None else error["category"],
        "known_error": None,
        "suggestion": None,
        "cascade": report["cascade"],
        "failed_by": report["failed_by"],
        "retries": _retries(report["retries"]),
        "differs_from_last_good": None if last_good is None else _difference(last_good),
        "fixes": [],
        "prevention": [],
        "same_cause": same_cause,
        "created_at": rfc3339(created_ns),
        "tokens": None,
        "last_seen_at": rfc3339(last_seen_ns),
        "stale": False,
    }
    if first is None:
        said = "" if error is None or not error["message"] else f"; it says: {_cut(error['message'], _MESSAGE_CHARS)}"
        answer["message"] = f"no failed nodes: the execution is {report['status']}{said}"
        return answer
    answer["root_cause"] = _root_cause(report)
    node: AnalysedNode = {"id": first["id"], "name": first["name"], "why": _why(report, first["id"], last_good)}
    answer["first_failed_node"] = node
    answer["known_error"] = advice.name
    answer["suggestion"] = advice.suggestion
    answer["fixes"] = list(advice.fixes) or [advice.suggestion]
    answer["prevention"] = list(advice.prevention)
    return answer


def _root_cause(report: FailureAnswer) -> str:
    first, error, steps = report["first_failed_node"], report["error"], report["cascade_nodes"]
    name, kind, verb = (first and first["name"]) or "a step", "", "failed"
    if steps:
        name, kind = steps[0]["name"], f" ({steps[0]['kind']})"
        verb = "timed out" if steps[0]["status"] == "timed_out" else "failed"
    said = []
    if error is not None:
        said = [text for text in (error["type"], _cut(error["message"] or "", _MESSAGE_CHARS)) if text]
    text = f"{_cut(name, _NAME_CHARS)}{kind} {verb} " + (f"with {': '.join(said)}" if said else "without saying why")
    failed = [step["name"] for step in steps[1:] if step["status"] in ("failed", "timed_out")]
    if failed:
        named = ", ".join(_cut(one, _NAME_CHARS) for one in failed[:_NAMED_MAX])
        more = f" and {len(failed) - _NAMED_MAX} more" if len(failed) > _NAMED_MAX else ""
        text += f"; with it failed {named}{more}"
    return text


def _why(report: FailureAnswer, first_id: str, last_good: LastGood | None) -> str:
    said = ["nothing failed before it" if not report["handled"] else _handled(report)]
    if report["failed_by"] == "a step below":
        said.append("the steps above it failed of it")
    for task in report["retries"]:
        ids = [attempt["id"] for attempt in task["attempts"]]
        if first_id in ids or not set(ids).isdisjoint(report["cascade"]):
            foreseen = "as its policy foresaw" if task["expected"] else "which no policy foresaw"
            said.append(f"{_cut(task['attempts'][0]['name'], _NAME_CHARS)} was attempted {len(ids)} times, {foreseen}")
    step = _step_of(first_id, last_good)
    if last_good is not None and step is None:
        said.append("the last good run had no such step")
    if step is not None:
        said.append(_compared(step))
    return "; ".join(said)


def _handled(report: FailureAnswer) -> str:
    names = ", ".join(_cut(one["name"], _NAME_CHARS) for one in report["handled"][:_NAMED_MAX])
    return f"what failed before it was handled ({names})"


def _step_of(first_id: str, last_good: LastGood | None) -> DiffNode | None:
    if last_good is None:
        return None
    return next(
        (step for step in last_good.diff["nodes"] if step["a_id"] == first_id and step["b_id"] is not None), None
    )


def _compared(step: DiffNode) -> str:
    here, good = step["duration_ms"]
    said = f"in the last good run it {step['status'][1]}"
    if step["slower_or_faster"] and here is not None and good is not None:
        said += f" in {good:.0f} ms, here it took {here:.0f} ms"
    return said + (" of another input" if step["inputs_differ"] else "")


def _retries(tasks: Sequence[RetriedTask]) -> RetrySummary:
    expected = sum(task["expected"] for task in tasks)
    gave_up = sum(task["outcome"] in ("failed", "timed_out") for task in tasks)
    return {"expected": expected, "unexpected": len(tasks) - expected, "gave_up": gave_up}


def _difference(last_good: LastGood) -> LastGoodDifference:
    nodes = last_good.diff["nodes"]
    changed = [node for node in nodes if node["change"] != "same" and node["differs"] != ["input"]]
    return {
        "execution_id": last_good.diff["b"],
        "started_at": rfc3339(last_good.started_ns),
        "first_difference": last_good.diff["first_difference"],
        "changes": [_changed_step(node) for node in changed[:_CHANGES_MAX]],
        "changed_count": len(changed),
        "inputs_differ_count": sum(node["inputs_differ"] for node in nodes),
        "versions": _versions(last_good),
    }


def _changed_step(node: DiffNode) -> ChangedStep:
    return {
        "path": node["path"],
        "change": node["change"],
        "differs": node["differs"],
        "status": node["status"],
        "duration_ms": node["duration_ms"],
        "attempts": node["attempts"],
    }


def _versions(last_good: LastGood) -> list[ServiceVersions]:
    here, good = last_good.versions, last_good.good_versions
    return [
        {"service": service, "version": [here[service], good[service]]}
        for service in sorted(here.keys() & good.keys())
        if here[service] != good[service]
    ]


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"
