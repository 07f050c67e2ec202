"""Attempts of one task: a policy, and the loop that makes each attempt a sibling span."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from types import TracebackType

from spantree_exporter import attributes as names
from spantree_exporter.tracing.span import Plan, Step, current_marked, task_key


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Up to `max_attempts` calls, another one after an exception of `retry_on`; waits grow by `backoff`."""

    max_attempts: int = 1
    retry_on: tuple[type[Exception], ...] = (Exception,)
    delay_s: float = 0.0
    backoff: float = 1.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}, must be at least 1")

    def wait_s(self, attempt: int) -> float:
        """The wait after that attempt (1 for the first)."""
        return self.delay_s * self.backoff ** (attempt - 1)


class Attempt:
    """One attempt, a context manager: keeps an exception back when the policy grants another attempt."""

    def __init__(self, plan: Plan, policy: RetryPolicy, number: int) -> None:
        self.number = number
        self.retry = False
        self._policy = policy
        self._plan = plan.given(**{names.ATTEMPT: number, names.RETRY_EXPECTED: True})
        self._step: Step | None = None

    def __enter__(self) -> Step:
        self._step = Step.begin(self._plan)
        self._step.attach()
        return self._step

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._step is not None:
            self._step.detach()
            self._step.end(exception)
            self._step = None
        wanted = isinstance(exception, self._policy.retry_on)
        self.retry = wanted and self.number < self._policy.max_attempts
        return self.retry


class Attempts:
    """The attempts of one task, in order, for as long as they fail and the policy grants another. Goes round once."""

    def __init__(self, plan: Plan, policy: RetryPolicy) -> None:
        key = plan.attributes.get(names.TASK_KEY) or task_key(current_marked(), plan.name)
        self._plan = plan.given(**{names.TASK_KEY: key, names.RETRY_MAX_ATTEMPTS: policy.max_attempts})
        self._policy = policy
        self._last: Attempt | None = None

    def __iter__(self) -> Iterator[Attempt]:
        return self

    def __next__(self) -> Attempt:
        if self._last is not None:
            if not self._last.retry:
                raise StopIteration
            time.sleep(self._policy.wait_s(self._last.number))
        return self._another()

    def __aiter__(self) -> AsyncIterator[Attempt]:
        return self

    async def __anext__(self) -> Attempt:
        if self._last is not None:
            if not self._last.retry:
                raise StopAsyncIteration
            await asyncio.sleep(self._policy.wait_s(self._last.number))
        return self._another()

    def _another(self) -> Attempt:
        self._last = Attempt(self._plan, self._policy, 1 if self._last is None else self._last.number + 1)
        return self._last
