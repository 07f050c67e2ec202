"""Jenkins, as its OpenTelemetry plugin tells it: `BUILD <job>` -> phases -> agents, stages and steps.

Read from the plugin's attribute names (`ExtendedJenkinsAttributes`) and its issues; no recording of it has been seen. A
stage that was skipped for an earlier failure, and what was interrupted, have the span status ERROR and the exception of
the failure like the step that failed (jenkinsci/opentelemetry-plugin#281, #926): only the result tells them apart. The
status of the build is ERROR for all results but SUCCESS.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of, texts_of
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import Span

# hudson.model.Result, and GenericStatus of the pipeline's graph.
_RESULTS: Final[dict[str, Status]] = {
    "SUCCESS": "completed",
    "UNSTABLE": "partial",
    "FAILURE": "failed",
    "ABORTED": "cancelled",
    "NOT_BUILT": "skipped",
    "NOT_EXECUTED": "skipped",
    "PAUSED_PENDING_INPUT": "waiting",
    "IN_PROGRESS": "running",
    "QUEUED": "pending",
}
_INTERRUPTION: Final = "jenkins.pipeline.step.interruption.causes"
_TIMED_OUT: Final = "ExceededTimeout"
_STAGE: Final = "Stage: "
_BUILD: Final = "BUILD "


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if "jenkins.pipeline.step.type" in a or "jenkins.pipeline.step.result" in a:
        if span.name.startswith(_STAGE):
            facts.setdefault("name", span.name.removeprefix(_STAGE))
        facts.setdefault("kind", "step")
        facts.setdefault("step", True)
        if (told := text_of(a.get("jenkins.pipeline.step.result"))) and (status := _RESULTS.get(told)):
            if any(_TIMED_OUT in cause for cause in texts_of(a.get(_INTERRUPTION))):
                status = "timed_out"
            facts.setdefault("status", status)
            facts.setdefault("status_reason", told)
        return
    if not span.name.startswith(_BUILD):
        return
    facts.setdefault("boundary", "run")
    facts.setdefault("kind", "workflow")
    if job := text_of(a.get("ci.pipeline.id")) or text_of(a.get("ci.pipeline.name")):
        facts.setdefault("workflow_name", job)
        if number := text_of(a.get("ci.pipeline.run.number")):
            facts.setdefault("run_id", f"{job}#{number}")
    if status := _RESULTS.get(text_of(a.get("ci.pipeline.run.result")) or ""):
        facts.setdefault("run_status", status)


CONVENTION = Convention(
    "jenkins",
    _read,
    keys=("jenkins.pipeline.step.type", "jenkins.pipeline.step.result", "ci.pipeline.run.number"),
)
