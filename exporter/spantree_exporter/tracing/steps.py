"""Steps that an execution declares before they run, as the texts of a span attribute."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spantree_exporter.tracing.given import several
from spantree_exporter.tracing.value import plain_text

logger = logging.getLogger(__name__)

MAX_STEPS: Final = 500
"""As many as are read (facts/conventions/own.py)."""
MAX_TEXT_CHARS: Final = 500
_FIELDS: Final = ("name", "key", "kind", "depends_on", "description", "thought", "action")


@dataclasses.dataclass(frozen=True, slots=True)
class DeclaredStep:
    """A step that is to run.

    `name` is that of the node that will run; `key` an id of your own, where names repeat: give it to the node as
    `task_key`. `depends_on` are names or keys. `description`, `thought` (why it was planned) and `action` (the type of
    action, such as ``tool`` or ``inference``) are shown as they are.
    """

    name: str
    key: str | None = None
    kind: str | None = None
    depends_on: Sequence[str] = ()
    description: str | None = None
    thought: str | None = None
    action: str | None = None


def step_texts(given: Iterable[str | Mapping[str, Any] | DeclaredStep]) -> tuple[str, ...]:
    """Each step as a text of its own; what is no step is logged and left out. Never raises."""
    texts: list[str] = []
    steps = several(given)
    for step in steps[:MAX_STEPS]:
        try:
            texts.append(_text(step))
        except Exception:
            logger.exception("a declared step of type %s cannot be read; it is left out", type(step).__name__)
    if len(steps) > MAX_STEPS:
        logger.warning("%d steps are declared; the first %d of them show before they run", len(steps), MAX_STEPS)
    return tuple(texts)


def _text(step: str | Mapping[str, Any] | DeclaredStep) -> str:
    if isinstance(step, str):
        # A name that begins like JSON must not be read as JSON.
        return json.dumps({"name": plain_text(step)}, ensure_ascii=False) if step.startswith("{") else plain_text(step)
    said = dataclasses.asdict(step) if isinstance(step, DeclaredStep) else step
    if not said.get("name"):
        raise ValueError("a declared step needs a name")
    fields: dict[str, Any] = {}
    for field in _FIELDS:
        value = said.get(field)
        if value is None or value == ():
            continue
        fields[field] = [str(item) for item in several(value)] if field == "depends_on" else str(value)[:MAX_TEXT_CHARS]
    return plain_text(json.dumps(fields, ensure_ascii=False))
