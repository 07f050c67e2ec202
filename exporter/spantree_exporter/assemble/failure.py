"""Which step failed first and is the cause, and what it says (docs/conventions.md, "The cause of a failure").

`_passed_on_by` decides: a failed step below a failed one is its cause where both tell the same exception, or the one
around was raised from it, or tells none of its own, or fails right after it. One that went on and raised something
else later failed by itself: what failed below it was handled on the way.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.assemble.step import DETAIL_KINDS, Step
from spantree_exporter.facts.exception_types import short_name

# Exceptions that only say that something below them failed; by the class, without its module.
_WRAPPERS: Final = frozenset(
    {
        "ExceptionGroup", "BaseExceptionGroup", "MultiError", "AggregateError", "AggregateException",
        "CompletionException", "ExecutionException", "InvocationTargetException", "UndeclaredThrowableException",
        "RetryError", "MaxRetryError", "MaxRetriesExceeded", "RetriesExceeded", "ActivityError", "ActivityFailure",
        "ChildWorkflowError", "ChildWorkflowFailure", "WorkflowFailureError", "WorkflowFailedError", "UnfinishedRun",
        "FailedRun", "PipelineRuntimeError", "TaskFailed", "TaskError", "StepError", "JobError", "ToolError",
        "ToolExecutionError", "DBOSMaxStepRetriesExceeded", "UnexpectedModelBehavior",
    }
)  # fmt: skip
# What fails of a failure below it does so at once: rolling back and reporting take no longer.
_RIGHT_AFTER_NS: Final = 100_000_000
_ALWAYS_RIGHT_AFTER_NS: Final = 10_000_000
_SHARE_OF_DURATION: Final = 5
# Texts that only repeat that it failed: a code of HTTP, what Jenkins and GitHub call a result.
_ANSWERED: Final = re.compile(r"HTTP \d{3}|\d{3}|fail(?:ed|ure)?|error|unstable", re.IGNORECASE)
_URL_GOES_ON: Final = re.compile(r"\.?[\w/%~-]")
_ANSWER_DIGITS: Final = 3  # HTTP's and gRPC's codes; a longer one is a database's own word
_TOLD_CHARS: Final = 8  # a shorter message is found in others by chance


def first_failed(ordered: list[Step], starts: list[Step]) -> Step | None:
    """The step whose failure is the cause of that of `starts`, which failed; None for no starts.

    Of several starts the one whose cause ended first. `ordered` is in sequence order.
    """
    if not starts:
        return None
    below = _failed_below(ordered)
    causes = [_cause_of(start, below) for start in starts]
    return min(causes, key=lambda s: (s.last_ns, -s.depth, s.start_ns, s.order))


def any_failed(ordered: list[Step]) -> list[Step]:
    """The outermost steps that failed for good, whoever dealt with it."""
    found: list[Step] = []
    made_good: set[Step] = set()
    for step in ordered:
        above = step.parent
        if above is not None and (above.status == "retried" or above in made_good):
            made_good.add(step)
        elif step.failed and not (above is not None and above.failed):
            found.append(step)
    return found


def _failed_below(ordered: list[Step]) -> dict[Step, list[Step]]:
    """Of each failed step those that failed for good below it, with none that failed in between.

    What failed below one that waited is below the one that took it up, too, if that failed.
    """
    below: dict[Step, list[Step]] = {}
    around: dict[Step, Step | None] = {}
    made_good: set[Step] = set()
    for step in ordered:
        above = step.parent
        if above is None:
            continue
        if above.status == "retried" or above in made_good:
            made_good.add(step)
            continue
        nearest = above if above.failed else around.get(above)
        if nearest is None and above.status == "waiting":
            last = above.last_of_task
            nearest = last if last is not None and last.failed else None
        around[step] = nearest
        if step.failed and nearest is not None:
            below.setdefault(nearest, []).append(step)
    return below


def _cause_of(start: Step, below: dict[Step, list[Step]]) -> Step:
    step = start
    error = step
    while step in below:
        found = _passed_on_by(step, error, below[step])
        if found is None:
            break
        step = found
        if has_own_error(step):
            error = step
    return step


def _passed_on_by(step: Step, error: Step, failed: list[Step]) -> Step | None:
    """Which of the steps that `failed` below `step` is what `step` failed of; None where it failed by itself.

    `error` is the step whose exception `step` is known to have passed on: itself, or one around it that told it.
    """
    same = [s for s in failed if has_own_error(s) and is_same_error(s, error)]
    if same:
        return min(same, key=_ended)
    if causes := error.facts.get("caused_by"):
        raised_from = [s for s in failed if any(_is_named(s, cause) for cause in causes)]
        if raised_from:
            return min(raised_from, key=_ended)
    if asked := [s for s in failed if s.kind == "http_client" and _is_asked_for(s, error)]:
        return max(asked, key=_ended)
    beneath = [s for s in failed if s.parent is step]
    if not beneath:
        # A step between that was not marked handled a call or a tool; of steps it may know nothing at all.
        steps = [] if has_own_error(step) else [s for s in failed if s.kind not in DETAIL_KINDS or s.facts.get("step")]
        return min(steps, key=_ended) if steps else None
    if not has_own_error(step) or _is_wrapper(step):
        steps = [s for s in beneath if s.kind not in DETAIL_KINDS or s.facts.get("step")]
        # Of steps the first to fail; of calls the last, after which nothing more was tried.
        return min(steps, key=_ended) if steps else max(beneath, key=_ended)
    last = max(beneath, key=_ended)
    return last if comes_right_after(step, last) else None


def _ended(step: Step) -> tuple[int, int, int]:
    return step.last_ns, step.start_ns, step.order


def comes_right_after(step: Step, failed: Step) -> bool:
    """Whether `step` ended at once when `failed`, below it, had, and did nothing else in between."""
    gap_ns = step.last_ns - failed.last_ns
    allowed_ns = max((step.last_ns - step.start_ns) // _SHARE_OF_DURATION, _ALWAYS_RIGHT_AFTER_NS)
    if gap_ns > min(allowed_ns, _RIGHT_AFTER_NS):
        return False
    return not any(child.start_ns >= failed.last_ns and child is not failed for child in step.children)


def has_own_error(step: Step) -> bool:
    """Whether the step tells an exception or a message of its own: the code that it was answered with is neither."""
    facts = step.facts
    kind, message = facts.get("error_type"), facts.get("error_message")
    if kind is None or (kind.isdigit() and len(kind) <= _ANSWER_DIGITS):
        return message is not None and _ANSWERED.fullmatch(message) is None
    return True


def _is_named(step: Step, cause: str) -> bool:
    """Whether the exception of `step` is `cause`, one that a stack trace names as `Class: message`."""
    facts = step.facts
    kind, message = facts.get("error_type"), facts.get("error_message")
    if step.kind == "http_client" and not has_own_error(step):
        # All that is told of the call is its code: `HttpServerErrorException: 500 : ...`, `HTTPError: 500 Server ...`.
        code = (message or kind or "")[-3:]
        return code.isdigit() and re.search(rf"\b{code}\b", cause) is not None
    if kind is None:
        return message is not None and len(message) >= _TOLD_CHARS and message in cause
    named, _, said = cause.partition(": ")
    return short_name(named) == short_name(kind) and said.startswith((message or "")[: len(said)])


def _is_asked_for(call: Step, error: Step) -> bool:
    """Whether the exception of `error` names what the call asked for, as those of `requests`, httpx and aiohttp do."""
    message = error.facts.get("error_message")
    url = call.facts.get("input") or call.name.partition(" ")[2]
    if message is None or len(url) < _TOLD_CHARS:
        return False
    _, found, rest = message.partition(url)
    # Of `/orders/1` nothing is told by one that names `/orders/12`.
    return bool(found) and _URL_GOES_ON.match(rest) is None


def _is_wrapper(step: Step) -> bool:
    """Whether the step only says that something below it failed: by its class, or as a run by its engine's word."""
    facts = step.facts
    if facts.get("run_status") == "failed" and "error_message" not in facts:
        return True
    return (facts.get("error_type") or "").rpartition(".")[2] in _WRAPPERS


def is_same_error(step: Step, around: Step) -> bool:
    """Whether `around` tells the exception of `step`: the same, or one that quotes it."""
    message, outer = step.facts.get("error_message"), around.facts.get("error_message")
    if message is not None and message == outer:
        return step.facts.get("error_type") == around.facts.get("error_type") or len(message) >= _TOLD_CHARS
    if message is not None and outer is not None:
        return len(message) >= _TOLD_CHARS and message in outer
    return message is outer is None and step.facts.get("error_type") == around.facts.get("error_type")


def error_text(step: Step) -> str:
    """`Class: message` of the step's failure, as much of it as the span tells."""
    kind = (step.facts.get("error_type") or "").rpartition(".")[2]
    message = step.facts.get("error_message") or ""
    # Where the class is the code of HTTP, as newer conventions have it, the message has it, too.
    if kind and message and not message.startswith((kind, f"HTTP {kind}")):
        return f"{kind}: {message}"
    return message or kind or ("timed out" if step.status == "timed_out" else "failed")


def summary(cause: Step | None, run: Step | None) -> str | None:
    """What brought the run down, the cause first; and what the run itself says where that differs."""
    if cause is None:
        return _one_line(error_text(run)) if run is not None and run.failed else None
    text = f"{cause.name}: {error_text(cause)}"
    if run is not None and run is not cause and run.failed:
        own = error_text(run)
        passed_on = run.facts.get("error_message") == cause.facts.get("error_message")
        if own != "failed" and not passed_on and error_text(cause) != own:
            text = f"{text} -> {own}"
    return _one_line(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:1000]
