"""How long what is kept. Pure: today is passed in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spantree_exporter.setting_values import listed

STATUSES: Final = (
    "pending", "running", "waiting", "completed", "failed", "partial", "skipped", "cancelled", "timed_out",
)  # fmt: skip
_RULE: Final = re.compile(r"\s*(?:(?P<field>status|workflow)\s*=)?(?P<value>.+):\s*(?P<days>\d{1,6})\s*", re.DOTALL)
MOST_DAYS: Final = 100_000


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Executions of a status, or of a workflow (`*` at its end: all that begin so), are kept for `days`."""

    field: str
    value: str
    days: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept beyond an age, as conditions of a statement; `workflows` are patterns of LIKE."""

    statuses: list[str]
    workflows: list[str]

    def __bool__(self) -> bool:
        return bool(self.statuses or self.workflows)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything is kept for `days` days after its own, and what a rule names for that rule's, where it is longer."""

    days: int
    keep: tuple[KeepRule, ...] = ()
    archive_dir: Path | None = None

    @property
    def ages(self) -> list[int]:
        """The ages of a day, ascending, beyond which something of it goes."""
        return sorted({self.days, *(rule.days for rule in self.keep if rule.days > self.days)})

    def age_due(self, age_days: int) -> int | None:
        """The highest of `ages` that a day of this age has passed; None where all of it stays."""
        return max((age for age in self.ages if age < age_days), default=None)

    def kept_beyond(self, age_days: int) -> Kept:
        """What stays of a day whose rows of no more than `age_days` go."""
        rules = [rule for rule in self.keep if rule.days > age_days]
        return Kept(
            sorted({rule.value for rule in rules if rule.field == "status"}),
            sorted({_pattern(rule.value) for rule in rules if rule.field == "workflow"}),
        )


def keep_rules(text: str) -> tuple[KeepRule, ...]:
    """The rules of a setting: `failed:90, workflow=billing-*:365`. Raises ValueError, whose text says what to give."""
    return tuple(map(_rule, listed(text)))


def _rule(text: str) -> KeepRule:
    match = _RULE.fullmatch(text)
    if match is None or not 1 <= int(match["days"]) <= MOST_DAYS:
        raise ValueError(f'"{text.strip()[:80]}" is no rule: wanted status:days or workflow=name:days, as in failed:90')
    field, value = match["field"] or "status", match["value"].strip()
    if field == "status" and value not in STATUSES:
        raise ValueError(f'"{value[:80]}" is no status: wanted one of {", ".join(STATUSES)}, or workflow=name')
    return KeepRule(field, value, int(match["days"]))


def _pattern(name: str) -> str:
    literal = name.removesuffix("*")
    escaped = re.sub(r"([\\%_])", r"\\\1", literal)
    return escaped + "%" if name.endswith("*") else escaped


def told(rules: Sequence[KeepRule]) -> str:
    """The rules as a setting."""
    return ",".join(f"{rule.field}={rule.value}:{rule.days}" for rule in rules)
