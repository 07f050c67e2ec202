"""A function, coroutine function, generator or async generator, wrapped so that each call is a span."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import replace
from typing import Any, TypeGuard, TypeVar

from spantree_exporter.tracing.retry import Attempts, RetryPolicy
from spantree_exporter.tracing.span import Marked, Plan, logger

F = TypeVar("F", bound=Callable[..., Any])


def is_decorated(given: F | str | None) -> TypeGuard[F]:
    """Whether `given` is what a decorator without parentheses stands above, and no name.

    Raises TypeError for what is neither, as a property is: it would be taken for a name, and the attribute be gone.
    """
    if isinstance(given, (classmethod, staticmethod)) or callable(given):
        return True
    if given is not None and hasattr(type(given), "__get__"):
        raise TypeError(f"a {type(given).__name__} cannot be decorated: put the decorator below it, on its function")
    return False


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called; of a `partial` the function in it, of any other object its class."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def wrapped(
    function: Callable[..., Any], make: type[Marked], plan: Plan, policy: RetryPolicy, *, capture: bool
) -> Callable[..., Any]:
    """`function` with the same signature, each call (with a policy: each attempt) a span of `plan`.

    A generator's span lasts from the first value asked for to its end, and is current only while its own code runs, so
    that what the consumer does between two values does not end up below it.
    """
    call = _Call(function, make, plan, capture=capture)
    is_async_generator = _is_a(inspect.isasyncgenfunction, function)
    if is_async_generator or _is_a(inspect.isgeneratorfunction, function):
        if policy.max_attempts > 1:
            raise TypeError(
                f"{plan.name}: a generator cannot be attempted again once it has given values; retry inside it with "
                "attempts(...)"
            )
        return _async_generator(call) if is_async_generator else _generator(call)
    if _is_a(inspect.iscoroutinefunction, function):
        return _coroutine_attempts(call, policy) if policy.max_attempts > 1 else _coroutine(call)
    return _function_attempts(call, policy) if policy.max_attempts > 1 else _function(call)


def _is_a(kind: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    # An object that is called, as asgiref's SyncToAsync, is what its class does when called.
    return kind(function) or kind(type(function).__call__)


class _Call:
    def __init__(self, function: Callable[..., Any], make: type[Marked], plan: Plan, *, capture: bool) -> None:
        self.function = function
        self.make = make
        self.plan = plan
        self.capture = capture
        self.signature = inspect.signature(function) if capture else None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Marked:
        handle = self.make.begin(self.plan)
        if self.signature is not None and handle.span.is_recording():
            handle.set_input(self.arguments(args, kwargs))
        return handle

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        if self.signature is None:
            return None
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:
            # the call itself is wrong: calling the function says so better
            logger.debug("arguments of %s do not fit its signature", self.plan.name)
            return None
        return {name: value for name, value in bound.arguments.items() if name not in ("self", "cls")}

    def keep(self, handle: Marked, result: Any) -> Any:
        if self.capture and result is not None:
            handle.set_output(result)
        return result

    def attempts(self, args: tuple[Any, ...], kwargs: dict[str, Any], policy: RetryPolicy) -> Attempts:
        return Attempts(replace(self.plan, input=self.arguments(args, kwargs) or self.plan.input), policy)


def _function(call: _Call) -> Callable[..., Any]:
    @functools.wraps(call.function)
    def run(*args: Any, **kwargs: Any) -> Any:
        handle = call.begin(args, kwargs)
        handle.attach()
        failure: BaseException | None = None
        result: Any = None
        try:
            result = call.function(*args, **kwargs)
            return _awaited(call, handle, result) if inspect.iscoroutine(result) else call.keep(handle, result)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            handle.detach()
            if not inspect.iscoroutine(result):
                handle.end(failure)

    return run


async def _awaited(call: _Call, handle: Marked, coroutine: Awaitable[Any]) -> Any:
    """What a plain function returned to be awaited, as a lambda and many decorators do: its span lasts until it was."""
    handle.attach()
    failure: BaseException | None = None
    try:
        return call.keep(handle, await coroutine)
    except BaseException as exc:
        failure = exc
        raise
    finally:
        handle.detach()
        handle.end(failure)


def _coroutine(call: _Call) -> Callable[..., Any]:
    @functools.wraps(call.function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        handle = call.begin(args, kwargs)
        handle.attach()
        failure: BaseException | None = None
        try:
            return call.keep(handle, await call.function(*args, **kwargs))
        except BaseException as exc:
            failure = exc
            raise
        finally:
            handle.detach()
            handle.end(failure)

    return run


def _function_attempts(call: _Call, policy: RetryPolicy) -> Callable[..., Any]:
    @functools.wraps(call.function)
    def run(*args: Any, **kwargs: Any) -> Any:
        for attempt in call.attempts(args, kwargs, policy):
            with attempt as step:
                return call.keep(step, call.function(*args, **kwargs))
        raise AssertionError("the last attempt lets its exception pass")

    return run


def _coroutine_attempts(call: _Call, policy: RetryPolicy) -> Callable[..., Any]:
    @functools.wraps(call.function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        async for attempt in call.attempts(args, kwargs, policy):
            with attempt as step:
                return call.keep(step, await call.function(*args, **kwargs))
        raise AssertionError("the last attempt lets its exception pass")

    return run


def _generator(call: _Call) -> Callable[..., Any]:
    @functools.wraps(call.function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        handle = call.begin(args, kwargs)
        failure: BaseException | None = None
        try:
            # Within: arguments that do not fit raise here, and the span is to end.
            source = call.function(*args, **kwargs)
            advance: Callable[[], Any] = functools.partial(next, source)
            while True:
                handle.attach()
                try:
                    value = advance()
                except StopIteration as stop:
                    return call.keep(handle, stop.value)
                finally:
                    handle.detach()
                try:
                    sent = yield value
                except GeneratorExit:
                    source.close()
                    raise
                except BaseException as thrown:
                    advance = functools.partial(source.throw, thrown)
                else:
                    advance = functools.partial(source.send, sent)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            handle.end(failure)

    return run


def _async_generator(call: _Call) -> Callable[..., Any]:
    @functools.wraps(call.function)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        handle = call.begin(args, kwargs)
        failure: BaseException | None = None
        try:
            source = call.function(*args, **kwargs)
            advance: Callable[[], Any] = source.__anext__
            while True:
                handle.attach()
                try:
                    value = await advance()
                except StopAsyncIteration:
                    return
                finally:
                    handle.detach()
                try:
                    sent = yield value
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as thrown:
                    advance = functools.partial(source.athrow, thrown)
                else:
                    advance = functools.partial(source.asend, sent)
        except BaseException as exc:
            failure = exc
            raise
        finally:
            handle.end(failure)

    return run
