"""The status of an execution (docs/conventions.md, "Status of an execution").

`status_of_run` decides it. Which failures count is `unhandled_failures`'s to say: every step that failed for good and
whose failure was neither passed on to a failed step around it nor handled by somebody who could.
"""

from __future__ import annotations

import re

from spantree_exporter.assemble.failure import comes_right_after
from spantree_exporter.assemble.parents import PARENT_MISSING
from spantree_exporter.assemble.step import DETAIL_KINDS, WIRE_KINDS, Step, is_above
from spantree_exporter.facts.exception_types import is_answer, short_name
from spantree_exporter.span import KIND_CONSUMER

_ENDED = frozenset({"completed", "failed", "skipped", "cancelled", "timed_out", "retried"})
# A client's failed request that says: there is no such thing, or there is one already. Callers ask to find out.
_EXPECTED_MISSES = frozenset({"404", "409", "410", "412", "NOT_FOUND", "ALREADY_EXISTS"})
# The same of a database, by its words or by those of its client, which end what it says.
_NOT_THERE = re.compile(r"(?:no rows in result set|no documents in result|record not found)\Z", re.IGNORECASE)
# The same of AWS, by the code that botocore's ClientError and the SDK for Go quote.
_AWS_MISSES = re.compile(
    r"\((?:ConditionalCheckFailedException|NoSuchKey|NoSuchBucket|ResourceNotFoundException|ParameterNotFound"
    r"|ResourceInUseException|EntityAlreadyExists|BucketAlreadyOwnedByYou|40[49]|412)\) when calling the "
    r"|\bapi error (?:ConditionalCheckFailedException|NoSuchKey|NoSuchBucket|NotFound|ResourceNotFoundException"
    r"|ParameterNotFound|ResourceInUseException|EntityAlreadyExists|BucketAlreadyOwnedByYou): "
)
# The same by the class, of the SDKs that have one for each: AWS' for Java, JavaScript and .NET, Azure's, Google's.
_MISS_CLASSES = frozenset(
    {
        "ConditionalCheckFailed", "NoSuchKey", "NoSuchBucket", "NotFound", "ResourceNotFound", "ParameterNotFound",
        "ResourceInUse", "EntityAlreadyExists", "BucketAlreadyOwnedByYou", "ResourceExists", "AlreadyExists",
        "BlobNotFound", "KeyNotFound",
    }
)  # fmt: skip
_CLIENTS = frozenset({"rpc", "db", "http_client"})
# A unique key that is there already, by the codes of PostgreSQL, MySQL, SQL Server and MongoDB.
_DUPLICATES = frozenset({"23505", "1062", "2601", "2627", "11000"})
# A client that is asked who it is asks again, with its name (NTLM, Digest, a token that has run out).
_CHALLENGES = frozenset({"401", "407"})
# What a framework calls to answer a request, where nothing else is said of it.
_HANDLER = "function"
# How far above a failure the server is looked for that answered with it.
_LOOKED_ABOVE = 64
# How many chains, each in the next, are looked through for the model that they ask.
_LOOKED_BELOW = 4
_ALREADY_THERE = re.compile(
    r"unique constraint|primary key violation|duplicate (key|entry)|uniqueviolation|already exists", re.IGNORECASE
)
# Clients of Redis tell a server their name and version, and go on with one that is too old to know of that (7.0).
_NOT_KNOWN_YET = re.compile(r"unknown subcommand 'setinfo'", re.IGNORECASE)


def status_of_run(run: Step, main: Step, ordered: list[Step], unhandled: list[Step]) -> str:
    """The execution's status, by the first rule that speaks.

    1. the run's own word; 2. a step waits for somebody; 3. still open; 4. it, or the request that called it, failed;
    5. a failure that nobody handled: failed if nobody waited for that step, partial if the run lived with it, and
       running as long as what is around the run may yet live with it or not;
    6. a step goes on after the run's end, or all that came has ended but its parent has not come: running.
    `main` is the outermost step around the run, `unhandled` what `unhandled_failures` found.
    """
    said = run.facts.get("run_status")
    if said is not None and not (said in {"running", "pending"} and run.end_ns is not None):
        return said
    if run.status in {"cancelled", "timed_out", "skipped"}:
        return run.status
    waiting = [step for step in ordered if step.status == "waiting"]
    if waiting and run.status != "failed" and _waits(run, waiting, ordered):
        return "waiting"
    if run.end_ns is None:
        return "running"
    if run.status == "failed" or main.failed:
        return "failed"
    if unhandled:
        if any(_fails_the_run(step, run, main) for step in unhandled):
            return "failed"
        return "running" if main.end_ns is None else "partial"
    if any(s.status == "running" and _is_own_step(s, run) for s in ordered) or is_rootless(run):
        return "running"
    return "completed"


def is_rootless(run: Step) -> bool:
    """Whether the run's own parent never came: it goes on, unless nothing of it has been heard for long.

    That is decided when the execution is read, as `lost` is: no step shows a sign of running.
    """
    return run.parent is None and PARENT_MISSING in run.anomalies


def unhandled_failures(run: Step, ordered: list[Step]) -> list[Step]:
    """The steps whose failure was neither passed on to a failed step around them nor handled, in sequence order."""
    if not any(step.failed for step in ordered):
        return []
    found: list[Step] = []
    made_good: set[Step] = set()  # in an attempt that was tried again, or told to a tool's caller
    answers = _Answers()
    for step in ordered:
        above = step.parent
        if above is not None and (above in made_good or above.status == "retried" or _answers_for_all(above)):
            made_good.add(step)
        elif (
            step.failed
            and not (above is not None and above.failed)
            and step is not run
            and not _is_handled(step, answers)
        ):
            found.append(step)
    return found


class _Answers:
    """What callers were answered after one of their calls had failed; each caller's calls are gone through once."""

    __slots__ = ("_last_ns",)

    def __init__(self) -> None:
        self._last_ns: dict[Step, dict[str, int]] = {}

    def after(self, step: Step) -> bool:
        """Whether the caller of `step` was answered by a model after it, or made the same request again and was."""
        caller = step.parent
        if caller is None:
            return False
        last_ns = self._last_ns.get(caller)
        if last_ns is None:
            last_ns = self._last_ns[caller] = {}
            for child in caller.children:
                call = _call_in(child)
                if call.status == "completed" and call.kind in _ASKED_AGAIN:
                    asked = _asked(call)
                    last_ns[asked] = max(child.start_ns, last_ns.get(asked, 0))
        return last_ns.get(_asked(step), -1) >= step.last_ns


_ASKED_AGAIN = frozenset({"llm", "http_client"})


def _call_in(step: Step) -> Step:
    """The call that `step` is made of, where it is what a chain does around one model's call (DSPy's predictors)."""
    for _ in range(_LOOKED_BELOW):
        if step.kind != "chain" or step.status != "completed" or step.facts.get("step") or not step.children:
            break
        step = step.children[-1]
    return step


def _asked(call: Step) -> str:
    """Of models any is as good as another, also to be told of a tool; a request is the same by its name."""
    return f"{call.kind} {call.name}" if call.kind == "http_client" else ""


def _answers_for_all(step: Step) -> bool:
    """Whether who called the step heard of every failure in it: a tool or model that ended well, what says so."""
    return (step.kind in {"tool", "llm"} and not step.failed) or bool(step.facts.get("declared_handled"))


def _is_handled(step: Step, answers: _Answers) -> bool:
    """Whether the failure of `step`, below a step that did not fail, was dealt with there.

    A step of a workflow, an agent, a function: only where that is declared, or where its exception is the refusal that
    the server around it answered with. A call (a model, a tool, a request) is its
    caller's business where the caller is a step or an agent, and so is a miss that a client asks for to find out. A
    model or tool that failed was handled where its caller asked a model after it and was answered, and a client that
    was asked who it is where it asked again and was.
    """
    if step.facts.get("declared_handled"):
        return True
    if step.facts.get("breaks_run"):
        return False
    if _is_told_to_client(step):
        return True
    if step.kind not in DETAIL_KINDS or step.facts.get("step"):
        return False
    if step.kind in WIRE_KINDS and _is_expected_miss(step):
        return True
    if (step.kind in {"llm", "tool"} or (step.kind == "http_client" and _is_challenge(step))) and answers.after(step):
        return True
    above = step.parent
    while above is not None and above.kind in DETAIL_KINDS and not above.facts.get("step"):
        above = above.parent
    return above is not None and above.is_step


def _is_told_to_client(step: Step) -> bool:
    """Whether the server around the step answered with the very refusal (a 4xx) that the step's exception names.

    Or that it answered with one as soon as the handler right below it had raised: exceptions of one's own become a 4xx
    in filters and advices (open-telemetry/opentelemetry-java-instrumentation#6377, DataDog/dd-trace-java#7141).
    """
    above: Step | None = step
    for _ in range(_LOOKED_ABOVE):
        if above is None or (above.span is not None and above.span.kind == KIND_CONSUMER):
            return False
        if above.kind == "http_server" and above is not step:
            reason = above.facts.get("status_reason", "")
            if not reason.startswith("HTTP 4"):
                return False
            facts = step.facts
            if is_answer(facts.get("error_type"), facts.get("error_message"), reason[-3:]):
                return True
            return step.parent is above and step.kind == _HANDLER and comes_right_after(above, step)
        above = above.parent
    return False


def _is_challenge(step: Step) -> bool:
    facts = step.facts
    return facts.get("error_type") in _CHALLENGES or (facts.get("error_message") or "")[-3:] in _CHALLENGES


def _is_expected_miss(step: Step) -> bool:
    facts = step.facts
    message = facts.get("error_message") or ""
    if facts.get("error_type") in _EXPECTED_MISSES or message.rpartition(" ")[2] in _EXPECTED_MISSES:
        return True
    if _AWS_MISSES.search(message) is not None:
        return True
    name = short_name(facts.get("error_type") or "").removesuffix("Exception").removesuffix("Error")
    if name in _MISS_CLASSES and step.kind in _CLIENTS:
        return True
    if step.kind != "db":
        return False
    if facts.get("error_type") in _DUPLICATES:
        return True
    said = f"{facts.get('error_type')} {message[:1000]}"
    return any(sign.search(said) is not None for sign in (_ALREADY_THERE, _NOT_THERE, _NOT_KNOWN_YET))


def _fails_the_run(step: Step, run: Step, main: Step) -> bool:
    """Whether the run did not survive the failure, or nobody waited for the step and so nobody can have handled it."""
    if step.facts.get("breaks_run") and is_above(run, step):
        return True
    if step.kind in DETAIL_KINDS and not step.facts.get("step"):
        return False
    if step.span is not None and step.span.kind == KIND_CONSUMER:
        return True
    is_after_the_end = main.end_ns is not None and step.start_ns >= main.end_ns
    return is_after_the_end and is_above(main, step) and _is_own_step(step, run)


def _is_own_step(step: Step, run: Step) -> bool:
    """Whether the step is one of the run's own, and no detail of one."""
    if step.kind in DETAIL_KINDS and not step.facts.get("step"):
        return False
    return step.is_step or step.parent is run or step.parent is None


def _waits(run: Step, waiting: list[Step], ordered: list[Step]) -> bool:
    """Whether the last word of some step is that it waits."""
    last_start: dict[tuple[str | Step | None, str], int] = {}
    for other in ordered:
        if other.status in _ENDED and (key := _taken_up_as(other)) is not None:
            last_start[key] = max(other.start_ns, last_start.get(key, other.start_ns))
    for step in waiting:
        if _is_over(step, run):
            continue
        later = step.next_attempt
        while later is not None and later.status == "waiting":
            later = later.next_attempt
        if later is not None:
            continue
        key = _taken_up_as(step)
        taken_up = last_start.get(key) if key is not None else None
        if taken_up is None or taken_up < step.last_ns:
            return True
    return False


def _taken_up_as(step: Step) -> tuple[str | Step | None, str] | None:
    """What a step that waited and the one that goes on with it have in common: their task, else place and name.

    A call, as of a tool that a person has to approve, is made again for other reasons, too: it needs a task.
    """
    if step.task_key is not None:
        return step.task_key, step.name
    return None if step.kind in DETAIL_KINDS else (step.parent, step.name)


def _is_over(step: Step, run: Step) -> bool:
    """Whether the engine says of a step around one that waited that it has ended."""
    if step is run:
        return False
    above = step.parent
    while above is not None and above is not run:
        if above.facts.get("status") in _ENDED:
            return True
        above = above.parent
    return False
