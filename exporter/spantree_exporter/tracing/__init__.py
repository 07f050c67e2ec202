"""What a person writes in their own service: executions and nodes as decorators and context managers.

    with execution("order", run_id=order_id, user_id=user) as run:
        with node("price", input=basket) as step:
            step.set_output(price(basket))

    @node(kind="tool", max_attempts=3, retry_on=PaymentTimeout)
    async def charge(amount: int) -> str: ...

Everything becomes attributes of ordinary OpenTelemetry spans (the names are in ``attributes``), made through the
OpenTelemetry API alone: any backend can read them, and where no SDK is configured nothing happens. An exception of the
host passes through unchanged and is recorded once, on the innermost span; a mistake in here is logged, never raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar, cast, overload

from opentelemetry import trace
from opentelemetry.util.types import AttributeValue

from spantree_exporter import attributes as names
from spantree_exporter.tracing.given import Id, exceptions_given, id_given, several, text_given
from spantree_exporter.tracing.planned_id import tell_response
from spantree_exporter.tracing.retry import Attempts, RetryPolicy
from spantree_exporter.tracing.span import (
    Execution,
    Marked,
    Plan,
    Step,
    context_of_ticket,
    current_execution,
    current_marked,
    current_step,
    new_trace_id,
)
from spantree_exporter.tracing.steps import DeclaredStep, step_texts
from spantree_exporter.tracing.wrap import is_decorated, name_of, wrapped

__all__ = [
    "Attempts",
    "DeclaredStep",
    "Execution",
    "Step",
    "attempts",
    "current_execution",
    "current_step",
    "execution",
    "node",
]

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H", bound=Marked)

_GEN_AI_OPERATIONS = {
    "llm": "chat",
    "embedding": "embeddings",
    "retrieval": "retrieval",
    "tool": "execute_tool",
    "agent": "invoke_agent",
}
"""gen_ai.operation.name of each kind that the GenAI conventions know, so that other tools understand the span too."""


class Marking(Generic[H]):
    """What `execution` and `node` return: a context manager (``with`` and ``async with``) and a decorator.

    As a decorator it takes functions, coroutine functions, generators and async generators; the name defaults to the
    function's. One object may be entered again, also by several tasks and threads at a time: a span each.
    """

    def __init__(self, make: type[H], plan: Plan, policy: RetryPolicy, *, capture: bool) -> None:
        self._make = make
        self._plan = plan
        self._policy = policy
        self._capture = capture
        self._open: list[H] = []
        self._trace_id: int | None = None
        self._has_begun = False

    @property
    def id(self) -> str:
        """The id of the execution that this object begins next, or has begun: 32 hex digits, known before it starts.

        Give it to a caller and start later, in another thread or task if need be. Inside a traced request it is the
        request's trace. 32 zeros where nothing is recorded. A decorated function's runs have ids of their own.
        """
        if self._trace_id is None:
            around = trace.get_current_span().get_span_context()
            self._trace_id = around.trace_id if around.is_valid else new_trace_id()
        told = trace.format_trace_id(self._trace_id)
        if self._trace_id:
            tell_response(told)
        return told

    def __call__(self, function: F, /) -> F:
        if isinstance(function, (classmethod, staticmethod)):
            return cast(F, type(function)(self(function.__func__)))
        plan = self._plan if self._plan.name else self._plan.named(name_of(function))
        return cast(F, wrapped(function, self._make, plan, self._policy, capture=self._capture))

    def __enter__(self) -> H:
        plan = self._plan if self._plan.name else self._plan.named("unnamed")
        if self._trace_id and not self._has_begun:
            handle = self._make.begin(plan, self._trace_id)
        else:
            handle = self._make.begin(plan)
        self._has_begun = True
        self._trace_id = handle.span.get_span_context().trace_id
        handle.attach()
        self._open.append(handle)
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        handle = self._innermost_open()
        handle.detach()
        handle.end(exception)

    def _innermost_open(self) -> H:
        # Several tasks or threads may be inside: each leaves the one that is current where it is.
        current = current_marked()
        for at, handle in enumerate(self._open):
            if handle is current:
                return self._open.pop(at)
        return self._open.pop()

    async def __aenter__(self) -> H:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, exception, traceback)


@overload
def execution(name: F, /) -> F: ...
@overload
def execution(
    name: str | None = None,
    *,
    workflow: str | None = None,
    run_id: Id | None = None,
    conversation_id: Id | None = None,
    user_id: Id | None = None,
    project: Id | None = None,
    input: object = None,
    steps: Iterable[str | Mapping[str, Any] | DeclaredStep] = (),
    resumes: Id | None = None,
    resumed_step: str | None = None,
    lost_after_s: float | None = None,
    capture: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Marking[Execution]: ...
def execution(
    name: F | str | None = None,
    *,
    workflow: str | None = None,
    run_id: Id | None = None,
    conversation_id: Id | None = None,
    user_id: Id | None = None,
    project: Id | None = None,
    input: object = None,  # noqa: A002 - the word people look for
    steps: Iterable[str | Mapping[str, Any] | DeclaredStep] = (),
    resumes: Id | None = None,
    resumed_step: str | None = None,
    lost_after_s: float | None = None,
    capture: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> F | Marking[Execution]:
    """Mark one run of something: a DAG run, a conversation turn, a request that is a workflow.

    Args:
        name: What it is called in every list; equal for all its runs. A decorated function gives its own by default.
        workflow: The definition it is a run of, where that has another name.
        run_id: Your own id of the run. Traces with the same one are read together, so give one to what can wait.
        conversation_id: Becomes ``session.id``.
        user_id: Becomes ``user.id``.
        project: A free grouping of workflows.
        input: Any value; stored as JSON text, cut at 32,768 characters.
        steps: What is to run: names, `DeclaredStep`s or dicts of their fields. Each is a node from the start, `pending`
            until it runs and `skipped` where the execution ended without it. 500 at most.
        resumes: The run id of a waiting execution that this one takes up; it becomes the run id unless one is given.
        resumed_step: What `Step.waiting` returned: makes a span link to the very step that waited.
        lost_after_s: Without a sign of life for so long, a run that has not ended counts as lost.
        capture: A decorated function's arguments and result become input and output.
        attributes: More span attributes.
    """
    if is_decorated(name):
        return execution()(name)
    given_name = None if name is None else text_given(name)
    span_attributes = _present(
        {
            **(attributes or {}),
            names.EXECUTION_NAME: given_name,
            names.WORKFLOW_NAME: id_given(workflow),
            names.RUN_ID: id_given(run_id if run_id is not None else resumes),
            names.CONVERSATION_ID: id_given(conversation_id),
            names.USER_ID: id_given(user_id),
            names.PROJECT: id_given(project),
            names.RESUMES: id_given(resumes),
            names.LOST_AFTER_S: None if lost_after_s is None else float(lost_after_s),
            names.DECLARED_STEPS: step_texts(steps) or None,
        }
    )
    links = []
    if resumed_step is not None and (context := context_of_ticket(text_given(resumed_step))) is not None:
        links.append(trace.Link(context, {names.LINK_TYPE: names.LINK_RESUME}))
    plan = Plan(given_name or "", names.EXECUTION_NAME, span_attributes, tuple(links), input)
    return Marking(Execution, plan, RetryPolicy(), capture=capture)


@overload
def node(name: F, /) -> F: ...
@overload
def node(
    name: str | None = None,
    *,
    kind: str = "step",
    input: object = None,
    depends_on: Iterable[str | Step] | Step = (),
    chosen_by: Step | str | None = None,
    condition: object = None,
    iteration: int | None = None,
    model: str | None = None,
    task_key: Id | None = None,
    attempt: int | None = None,
    max_attempts: int = 1,
    retry_on: type[Exception] | Iterable[type[Exception]] = Exception,
    delay_s: float = 0.0,
    backoff: float = 1.0,
    capture: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Marking[Step]: ...
def node(
    name: F | str | None = None,
    *,
    kind: str = "step",
    input: object = None,  # noqa: A002 - the word people look for
    depends_on: Iterable[str | Step] | Step = (),
    chosen_by: Step | str | None = None,
    condition: object = None,
    iteration: int | None = None,
    model: str | None = None,
    task_key: Id | None = None,
    attempt: int | None = None,
    max_attempts: int = 1,
    retry_on: type[Exception] | Iterable[type[Exception]] = Exception,
    delay_s: float = 0.0,
    backoff: float = 1.0,
    capture: bool = False,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> F | Marking[Step]:
    """Mark one step of a run.

    Args:
        name: What the step is called; a decorated function gives its own by default.
        kind: One of ``attributes.KINDS`` or a word of your own.
        input: Any value; stored as JSON text, cut at 32,768 characters.
        depends_on: The nodes whose results this one needs. A `Step` gives the exact edge (a span link), a name the
            node of that name. Several make a join.
        chosen_by: The step that decided for this branch; its decision is the condition unless `condition` is given.
        condition: The value that led here.
        iteration: 1 for the first pass of a loop.
        model: The model's name, for a node of kind llm.
        task_key: Identity over attempts that you make yourself; `max_attempts` gives one where none is given.
        attempt: The number of this attempt, 1 for the first, where you make the attempts yourself.
        max_attempts: A decorated function is called so many times at most, each attempt a sibling span of its own. On a
            context manager, which cannot run its block again, it only declares the policy: `attempts` is for blocks.
        retry_on: The exceptions after which another attempt is made.
        delay_s: The wait before the second attempt.
        backoff: The factor by which that wait grows.
        capture: A decorated function's arguments and result become input and output.
        attributes: More span attributes.
    """
    if is_decorated(name):
        return node()(name)
    given_name = None if name is None else text_given(name)
    decider = chosen_by.name if isinstance(chosen_by, Step) else chosen_by
    if condition is None and isinstance(chosen_by, Step):
        condition = chosen_by.decision
    span_attributes = _present(
        {
            **(attributes or {}),
            names.NODE_NAME: given_name,
            names.NODE_KIND: kind,
            names.ITERATION: iteration,
            names.TASK_KEY: id_given(task_key),
            names.ATTEMPT: attempt,
            names.RETRY_MAX_ATTEMPTS: max_attempts if max_attempts > 1 else None,
            names.EDGE_FROM: decider,
            names.EDGE_CONDITION: None if condition is None else Step.condition_text(condition),
            names.GEN_AI_OPERATION_NAME: _GEN_AI_OPERATIONS.get(kind),
            names.GEN_AI_REQUEST_MODEL: model,
        }
    )
    needs = several(depends_on)
    if needs:
        span_attributes[names.DEPENDS_ON] = tuple(
            need.name if isinstance(need, Step) else text_given(need) for need in needs
        )
    links = tuple(
        trace.Link(need.span.get_span_context(), {names.LINK_TYPE: names.LINK_DEPENDENCY})
        for need in needs
        if isinstance(need, Step)
    )
    plan = Plan(given_name or "", names.NODE_NAME, span_attributes, links, input)
    policy = RetryPolicy(max_attempts, exceptions_given(retry_on), delay_s, backoff)
    return Marking(Step, plan, policy, capture=capture)


def attempts(
    name: str,
    *,
    max_attempts: int,
    kind: str = "step",
    retry_on: type[Exception] | Iterable[type[Exception]] = Exception,
    delay_s: float = 0.0,
    backoff: float = 1.0,
    input: object = None,  # noqa: A002 - the word people look for
    task_key: Id | None = None,
    depends_on: Iterable[str | Step] | Step = (),
    iteration: int | None = None,
) -> Attempts:
    """Make attempts of one task out of a block; each is a sibling span, the last one's exception passes through.

        for attempt in attempts("charge", max_attempts=3, retry_on=PaymentTimeout):
            with attempt as step:
                step.set_output(charge(order))

    ``async for`` waits between attempts with `asyncio.sleep`, ``for`` with `time.sleep`.
    """
    marking = node(
        name,
        kind=kind,
        input=input,
        depends_on=depends_on,
        iteration=iteration,
        task_key=task_key,
        max_attempts=max_attempts,
        retry_on=retry_on,
        delay_s=delay_s,
        backoff=backoff,
    )
    return Attempts(marking._plan, marking._policy)


def _present(candidates: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in candidates.items() if value is not None}
