"""What people hand to `execution` and `node`, in the forms in which they hand it, as what a span attribute takes.

An id is a UUID as often as a text, one step is given where several may be, a reason is an exception at hand. None of it
may cost the host program anything; what can mean nothing is refused where it is declared, not where it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from uuid import UUID

from spantree_exporter.tracing.value import plain_text

Id: TypeAlias = str | int | UUID
"""An id of your own: sent as its text."""


def text_given(value: object) -> str:
    """`value` as people read it: a text as it is, an exception by its class and message, anything else by `str`."""
    if isinstance(value, str):
        return plain_text(value)
    try:
        text = plain_text(str(value))
    except Exception:
        return f"{type(value).__name__} (its text could not be had)"
    return f"{type(value).__name__}: {text}" if isinstance(value, BaseException) else text


def id_given(value: Id | None) -> str | None:
    """An id, or a name, as text; None where none is given."""
    return None if value is None else text_given(value)


def exceptions_given(given: object) -> tuple[type[Exception], ...]:
    """Classes of exceptions, one or several.

    Raises TypeError for anything else, where the policy is made: at the first failure that would take the place of the
    program's own exception.
    """
    kinds = several(given)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on has {kind!r}, must be exception classes")
    return kinds


def several(given: object) -> tuple[Any, ...]:
    """What is given where several may be: a single one is the only one, and a text no list of its characters."""
    if given is None:
        return ()
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        return (given,)
    return tuple(given)
