"""Tokens and cost of a trace: each figure for itself, nothing lost and nothing counted twice.

A span's figure may be the total of what the spans below it say, a part of it, or a call of its own. What a span says of
itself therefore counts less what is said below it: a total on an agent and partial figures in it give the total, a
total that leaves out a call below it is made up by that call. A total that goes back beyond its span
(`usage_accumulated`) counts only where nothing below tells one. A model's call is one call: what tools and agents that
it set going used (Google's ADK runs them within the call's span) is no part of its figure, and counts beside it.
"""

from __future__ import annotations

import math
from typing import Final

from spantree_exporter.assemble.step import WIRE_KINDS, Step
from spantree_exporter.facts.vocabulary import MODEL_CALLS
from spantree_exporter.rows import MODEL_TOLD_ELSEWHERE

# The figures that are added up, each apart from the others.
USAGE: Final = (
    "input_tokens", "output_tokens", "cost_usd", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens",
    "embedding_tokens",
)  # fmt: skip
# What may run on behalf of a model's call, whose own figure is that of the call alone.
_ON_BEHALF: Final = frozenset({"tool", "agent", "workflow", "step", "task", "handoff"})
# Of a call that two steps tell one is counted under its model: the one that tells more of these, else the inner.
_OF_CALL: Final = ("input_tokens", "output_tokens", "cost_usd")
# Requests between a framework's step and the provider's, by way of a gateway that traces, too.
_BETWEEN: Final = 4
# A sum of what is told in hundredths of a cent is told as exactly, and not as 0.30000000000000004.
_COST_DIGITS: Final = 12
_BIGINT_MAX: Final = 2**63 - 1
CLAMPED: Final = "usage_clamped"


class Totals:
    """The figures of a trace; a figure that no span says is absent. `clamped`: a sum was beyond what can be stored."""

    __slots__ = ("clamped", "cost_estimated", "figures")

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.cost_estimated = False
        self.clamped = False

    def whole(self, key: str) -> int | None:
        """A figure of tokens."""
        return int(self.figures[key]) if key in self.figures else None


def totals(parents_first: list[Step], keys_said: set[str]) -> Totals:
    """The figures of all steps; `keys_said` are the facts that any of them has."""
    result = Totals()
    for key in USAGE:
        if key in keys_said:
            total = _total(parents_first, key)
            if key == "cost_usd":
                total = round(total, _COST_DIGITS)
            limit = math.inf if key == "cost_usd" else _BIGINT_MAX
            if total > limit or not math.isfinite(total):
                result.clamped = True
                if key == "cost_usd":
                    continue
                total = _BIGINT_MAX
            result.figures[key] = total
    result.cost_estimated = "cost_estimated" in keys_said and any(s.facts.get("cost_estimated") for s in parents_first)
    return result


def note_told_twice(parents_first: list[Step], keys_said: set[str]) -> None:
    """Note on one of two steps that both tell one call of a model that the call is counted under the other one.

    A framework's own step is around the provider's, of which a call that was tried again has several.
    """
    if "model" not in keys_said:
        return
    inner: dict[Step, list[Step]] = {}
    for step in parents_first:
        if step.kind in MODEL_CALLS and "model" in step.facts:
            around = _call_around(step)
            if around is not None:
                inner.setdefault(around, []).append(step)
    told: set[Step] = set()
    # Those around others come first.
    for around, calls in inner.items():
        if around not in told and _says(around) <= max(map(_says, calls)):
            told.add(around)
        else:
            told.update(calls)
    for step in told:
        step.anomalies.append(MODEL_TOLD_ELSEWHERE)


def _call_around(step: Step) -> Step | None:
    above = step.parent
    for _ in range(_BETWEEN):
        if above is None or above.kind not in WIRE_KINDS:
            break
        above = above.parent
    return above if above is not None and above.kind == step.kind and "model" in above.facts else None


def _says(step: Step) -> int:
    return sum(key in step.facts for key in _OF_CALL)


def _total(parents_first: list[Step], key: str) -> float:
    below: dict[Step, float] = {}
    on_behalf: dict[Step, float] = {}  # of what is below a step: what tools and agents used
    total: float = 0
    for step in reversed(parents_first):
        said: float = step.facts.get(key, 0)  # type: ignore[assignment]
        under = below.pop(step, 0)
        beside = on_behalf.pop(step, 0)
        if step.kind in MODEL_CALLS:
            said += beside
        counted = said if said > under and not (under and step.facts.get("usage_accumulated")) else under
        if not counted:
            continue
        above = step.parent
        if above is None:
            total += counted
            continue
        below[above] = below.get(above, 0) + counted
        if step.kind in _ON_BEHALF:
            beside = counted
        if beside:
            on_behalf[above] = on_behalf.get(above, 0) + beside
    return total
