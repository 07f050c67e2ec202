"""Rules of alerts and their messages, in the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from spantree_api.alerts.messages import DEFAULT_RATE_RUNS, FiguresRow, GroupRow, Message, Rule
from spantree_api.answers.alerts import AlertRuleBody
from spantree_api.database import Snapshot
from spantree_api.listing import day_named
from spantree_api.reads.changes import LockRow, PositionRow
from spantree_api.stored_rows import records

LEASE_S = 60.0
TRIED_FOR_S = 86_400.0
KEPT_S = 30 * 86_400.0
MOST_WAITING = 1_000
"""Messages of a rule that wait for their receiver; while there are so many, no more are made of it."""
_CLAIMED = 16
_CLAIMED_OF_EACH = 4
_WALKED = 100_000
_DROPPED = 10_000


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A row of `alert_rule`."""

    id: UUID
    name: str
    enabled: bool
    definition: dict[str, Any]
    secret: str
    source: str
    silenced_until: datetime | None
    from_position: int
    active_since: datetime
    created_at: datetime
    updated_at: datetime
    changed_by: str | None

    def rule(self) -> Rule:
        """What it says."""
        own = {"name": self.name, "enabled": self.enabled, "silenced_until": self.silenced_until}
        return Rule(
            self.id, AlertRuleBody.model_validate(self.definition | own), self.secret, self.source, self.from_position,
            self.active_since, self.created_at, self.updated_at, self.changed_by,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A message as the history tells it."""

    id: UUID
    rule_id: UUID
    rule_name: str
    kind: str
    subject: str
    state: str
    attempts: int
    due_at: datetime
    created_at: datetime
    delivered_at: datetime | None
    answer_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ClaimedRow:
    """A message to send now; no `webhook_url` where its rule is gone."""

    id: UUID
    rule_id: UUID
    attempts: int
    body: str
    secret: str | None
    webhook_url: str | None


@dataclass(frozen=True, slots=True)
class IdRow:
    """The id of a row that was touched."""

    id: UUID


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant that has a rule."""

    tenant_id: int


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """A workflow that is beyond its limit."""

    subject: str


async def tenants_with_rules(snapshot: Snapshot) -> list[int]:
    """The tenants that have a rule."""
    return [row.tenant_id for row in await snapshot.all("alert_tenants", {}, records(TenantRow))]


async def all_rules(snapshot: Snapshot, tenant_id: int) -> list[Rule]:
    """Every rule, by name."""
    rows = await snapshot.all("alert_rules", {"tenant_id": tenant_id}, records(RuleRow))
    return [row.rule() for row in rows]


async def one_rule(snapshot: Snapshot, tenant_id: int, rule_id: UUID, *, to_change: bool = False) -> Rule | None:
    """A rule, None where there is none of this id. `to_change`: no other transaction changes it until this one ends."""
    statement = "alert_rule_to_change" if to_change else "alert_rule"
    row = await snapshot.first(statement, {"tenant_id": tenant_id, "id": rule_id}, records(RuleRow))
    return None if row is None else row.rule()


async def put_rule(
    transaction: Snapshot,
    tenant_id: int,
    rule_id: UUID,
    body: AlertRuleBody,
    secret: str,
    source: str,
    position: int,
    changed_by: str | None = None,
) -> Rule:
    """Make or change a rule; one that was off until now looks at what comes after `position`."""
    kept = body.model_dump(mode="json", exclude={"name", "enabled", "silenced_until", "secret"})
    row = await transaction.first(
        "put_alert_rule",
        {
            "tenant_id": tenant_id, "id": rule_id, "name": body.name, "enabled": body.enabled,
            "definition": orjson.dumps(kept).decode(), "secret": secret, "source": source,
            "silenced_until": body.silenced_until, "from_position": position, "changed_by": changed_by,
        },
        records(RuleRow),
    )  # fmt: skip
    assert row is not None  # noqa: S101  # RETURNING
    return row.rule()


async def delete_rule(transaction: Snapshot, tenant_id: int, rule_id: UUID) -> bool:
    """Whether there was one."""
    parameters = {"tenant_id": tenant_id, "id": rule_id}
    return await transaction.first("delete_alert_rule", parameters, records(IdRow)) is not None


async def lock_alerts(transaction: Snapshot, tenant_id: int) -> bool:
    """Whether this transaction is the one that looks now; no other does until it ends."""
    lock = await transaction.first("try_alerts", {"tenant_id": tenant_id}, records(LockRow))
    return lock is not None and lock.mine


async def position_of(transaction: Snapshot, tenant_id: int) -> int | None:
    """How far the rules have looked, None where they never have."""
    row = await transaction.first("alert_position", {"tenant_id": tenant_id}, records(PositionRow))
    return None if row is None else row.position


async def put_position(transaction: Snapshot, tenant_id: int, position: int) -> None:
    """They have looked so far."""
    await transaction.all("put_alert_position", {"tenant_id": tenant_id, "position": position}, records(PositionRow))


async def put_messages(transaction: Snapshot, tenant_id: int, messages: Iterable[Message], now_ns: int) -> int:
    """Put messages into the outbox that are not there; how many were not."""
    found = list({message.id: message for message in messages}.values())
    if not found:
        return 0
    now = datetime.fromtimestamp(now_ns / 1e9, UTC)
    parameters = {
        "tenant_id": tenant_id,
        "ids": [message.id for message in found],
        "rule_ids": [message.rule.id for message in found],
        "rule_names": [message.rule.body.name for message in found],
        "kinds": [message.rule.body.kind for message in found],
        "subjects": [message.subject for message in found],
        "bodies": [message.body(now_ns) for message in found],
        "states": ["silenced" if _is_silenced(message.rule, now) else "pending" for message in found],
    }
    return len(await transaction.all("put_alert_messages", parameters, records(IdRow)))


async def full_rules(snapshot: Snapshot, tenant_id: int) -> frozenset[UUID]:
    """The rules of which as many messages wait as may."""
    parameters = {"tenant_id": tenant_id, "most": MOST_WAITING}
    return frozenset(row.id for row in await snapshot.all("full_alert_rules", parameters, records(IdRow)))


async def claim_messages(transaction: Snapshot, tenant_id: int, resting: Collection[UUID] = ()) -> list[ClaimedRow]:
    """Some that are due, of other rules than `resting`: this process's to send for a minute, from the commit on."""
    parameters = {
        "tenant_id": tenant_id, "limit": _CLAIMED, "of_each": _CLAIMED_OF_EACH, "lease_s": LEASE_S,
        "resting": list(resting),
    }  # fmt: skip
    return await transaction.all("claim_alert_messages", parameters, records(ClaimedRow))


async def settle_message(
    transaction: Snapshot,
    tenant_id: int,
    message: UUID,
    *,
    delivered: bool,
    dropped: bool = False,
    wait_s: float = 0.0,
    answer_status: int | None = None,
    error: str | None = None,
) -> None:
    """Note what came of an attempt."""
    parameters = {
        "tenant_id": tenant_id, "id": message, "delivered": delivered, "dropped": dropped, "wait_s": wait_s,
        "answer_status": answer_status, "error": error, "tried_for_s": TRIED_FOR_S,
    }  # fmt: skip
    await transaction.all("settle_alert_message", parameters, records(IdRow))


async def give_up_messages(transaction: Snapshot, tenant_id: int) -> None:
    """Let go of what waits of rules that are gone; of a tenant that was dropped, of all that waits."""
    await transaction.all("give_up_alert_messages", {"tenant_id": tenant_id}, records(IdRow))


async def deliveries(
    snapshot: Snapshot,
    tenant_id: int,
    rule_id: UUID | None,
    state: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[DeliveryRow]:
    """Messages, newest first."""
    at, before_id = before or (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=0))
    parameters = {
        "tenant_id": tenant_id, "rule_id": rule_id, "state": state, "before": at, "before_id": before_id,
        "limit": limit,
    }  # fmt: skip
    return await snapshot.all("alert_deliveries", parameters, records(DeliveryRow))


async def drop_old_messages(transaction: Snapshot, tenant_id: int) -> bool:
    """Those of more than 30 days ago go, some at a time; whether there may be more."""
    parameters = {"tenant_id": tenant_id, "kept_s": KEPT_S, "most": _DROPPED}
    return len(await transaction.all("drop_alert_messages", parameters, records(IdRow))) == _DROPPED


async def groups_of(snapshot: Snapshot, tenant_id: int, fingerprints: Collection[str]) -> dict[str, GroupRow]:
    """Those of the groups of failures that are noted."""
    if not fingerprints:
        return {}
    parameters = {"tenant_id": tenant_id, "fingerprints": [one[:100] for one in fingerprints]}
    return {row.fingerprint: row for row in await snapshot.all("alert_groups", parameters, records(GroupRow))}


async def reopened_groups(snapshot: Snapshot, tenant_id: int, since: datetime) -> list[GroupRow]:
    """Groups of failures that came back since."""
    parameters = {"tenant_id": tenant_id, "since": since, "since_ns": int(since.timestamp()) * 1_000_000_000}
    return await snapshot.all("alert_reopened_groups", parameters, records(GroupRow))


async def figures(snapshot: Snapshot, tenant_id: int, rule: Rule, window_s: float, now_ns: int) -> list[FiguresRow]:
    """What started in the last `window_s`, of what the rule looks at.

    Failure rates: of each workflow that is beyond the rule's limit. Else: of all as one, under an empty name.
    """
    from_ns = now_ns - round(window_s * 1e9)
    parameters = {
        "tenant_id": tenant_id, "first_day": day_named(from_ns), "last_day": day_named(now_ns), "from_ns": from_ns,
        "to_ns": now_ns, "walked": _WALKED, "by_workflow": rule.body.kind == "failure_rate",
        "min_runs": rule.body.min_runs or DEFAULT_RATE_RUNS, "threshold": rule.body.threshold,
        **rule.body.filter.model_dump(),
    }  # fmt: skip
    return await snapshot.all("alert_figures", parameters, records(FiguresRow))


async def newly_beyond(transaction: Snapshot, tenant_id: int, rule: Rule, beyond: Collection[str]) -> list[str]:
    """Those of the workflows that are beyond their limit and were not; which are, is noted."""
    own = {"tenant_id": tenant_id, "rule_id": rule.id}
    firing = {row.subject for row in await transaction.all("alert_firing", own, records(SubjectRow))}
    gone = [subject for subject in firing if subject not in beyond]
    new = [subject for subject in beyond if subject not in firing]
    if gone or new:
        await transaction.all("put_alert_firing", {**own, "beyond": new, "below": gone}, records(SubjectRow))
    return new


def _is_silenced(rule: Rule, now: datetime) -> bool:
    return rule.body.silenced_until is not None and now < rule.body.silenced_until
