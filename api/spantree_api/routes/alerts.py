"""Rules of alerts and what became of their messages."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from fastapi import Body, Path, Query, Response
from pydantic import ValidationError

from spantree_api.alerts.messages import Rule, of_test
from spantree_api.alerts.watch import send
from spantree_api.answers.alerts import (
    AlertDeliveries,
    AlertDelivery,
    AlertRule,
    AlertRuleBody,
    AlertRuleDeleted,
    AlertRules,
    AlertTest,
    DeliveryState,
)
from spantree_api.authentication import IdentityOf
from spantree_api.cursor import MomentCursor
from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.http.params import CursorQuery, LimitQuery
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.own_audit import NoteOf, changed_by
from spantree_api.reads import alerts as reads
from spantree_api.reads.changes import newest_position
from spantree_api.rendering import rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.service import Service, ServiceOf
from spantree_api.webhooks import WebhookRefused, checked_url

router = api_router("alerts")
_RULES_MAX = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECRET_BYTES = 32
RuleId = Annotated[UUID, Path(description="`id` of a rule")]


@router.get("/alerts/rules", response_model=AlertRules, responses=error_answers(422, 503))
async def list_rules(service: ServiceOf) -> Response:
    """All rules, by name."""
    async with service.reader() as reader:
        rules = await reads.all_rules(reader.snapshot, reader.config.tenant_id)
    answer: AlertRules = {"rules": [_answer(rule) for rule in rules]}
    return json_answer(answer)


@router.get("/alerts/rules/{rule_id}", response_model=AlertRule, responses=error_answers(404, 422, 503))
async def get_rule(service: ServiceOf, rule_id: RuleId) -> Response:
    """One rule."""
    async with service.reader() as reader:
        rule = await reads.one_rule(reader.snapshot, reader.config.tenant_id, rule_id)
    if rule is None:
        raise _unknown(rule_id)
    return json_answer(_answer(rule))


@router.post("/alerts/rules", response_model=AlertRule, responses=error_answers(413, 422, 503))
async def post_rule(service: ServiceOf, identity: IdentityOf, note: NoteOf, body: AlertRuleBody) -> Response:
    """Make a rule, which looks at what happens from now on; no other answer tells its secret."""
    _check_url(service, body.webhook_url)
    secret = body.secret or secrets.token_urlsafe(_SECRET_BYTES)
    position = await newest_position(service.primary, service.config.tenant_id)
    async with service.writer() as writer:
        known = await reads.all_rules(writer.snapshot, writer.config.tenant_id)
        if len(known) >= _RULES_MAX:
            raise InvalidParameter("name", f"there are {len(known)} rules already, and no more are looked at")
        rule = await reads.put_rule(
            writer.snapshot, writer.config.tenant_id, uuid4(), body, secret, "api", position, changed_by(identity, None)
        )
    note.object_id, note.details = str(rule.id), {"name": body.name, "kind": body.kind}
    return json_answer({**_answer(rule), "secret": secret})


@router.patch("/alerts/rules/{rule_id}", response_model=AlertRule, responses=error_answers(404, 413, 422, 503))
async def patch_rule(
    service: ServiceOf,
    identity: IdentityOf,
    note: NoteOf,
    rule_id: RuleId,
    changes: Annotated[
        dict[str, Any],
        Body(
            description="members of a rule with their new values; null takes away what may be left out",
            examples=[{"silenced_until": "2026-12-01T08:00:00Z"}],
        ),
    ],
) -> Response:
    """Change a rule, silence it, switch it off or on; of one of a file only `silenced_until` and `enabled`."""
    # Of what may be secret or long, that it was changed.
    note.details = {"changed": sorted(changes)[:50]} | {
        name: changes[name] for name in ("enabled", "silenced_until") if isinstance(changes.get(name), bool | str)
    }
    position = await newest_position(service.primary, service.config.tenant_id)
    async with service.writer() as writer:
        rule = await reads.one_rule(writer.snapshot, writer.config.tenant_id, rule_id, to_change=True)
        if rule is None:
            raise _unknown(rule_id)
        foreign = sorted(changes.keys() - {"silenced_until", "enabled"})
        if rule.source == "file" and foreign:
            raise InvalidParameter(foreign[0], "the rule is of a file: change it there, and start the API again")
        body = _changed(rule, changes)
        if "webhook_url" in changes:
            _check_url(service, body.webhook_url)
        rule = await reads.put_rule(
            writer.snapshot, writer.config.tenant_id, rule_id, body, body.secret or rule.secret, rule.source, position,
            changed_by(identity, None),
        )  # fmt: skip
    return json_answer(_answer(rule))


@router.delete("/alerts/rules/{rule_id}", response_model=AlertRuleDeleted, responses=error_answers(404, 422, 503))
async def delete_rule(service: ServiceOf, note: NoteOf, rule_id: RuleId) -> Response:
    """Take a rule away; what it has told stays in the history."""
    async with service.writer() as writer:
        rule = await reads.one_rule(writer.snapshot, writer.config.tenant_id, rule_id, to_change=True)
        if rule is None:
            raise _unknown(rule_id)
        if rule.source == "file":
            raise InvalidParameter("rule_id", "the rule is of a file: take it out there, and start the API again")
        await reads.delete_rule(writer.snapshot, writer.config.tenant_id, rule_id)
    note.details = {"name": rule.body.name}
    answer: AlertRuleDeleted = {"id": str(rule_id), "deleted": True}
    return json_answer(answer)


@router.post("/alerts/rules/{rule_id}/test", response_model=AlertTest, responses=error_answers(404, 422, 503))
async def try_rule(service: ServiceOf, rule_id: RuleId) -> Response:
    """Send a message that says `"test": true`, once and now, and tell what the receiver made of it."""
    async with service.reader() as reader:
        rule = await reads.one_rule(reader.snapshot, reader.config.tenant_id, rule_id)
        now_ns = reader.now_ns
    if rule is None:
        raise _unknown(rule_id)
    message = of_test(rule, now_ns)
    # No connection is held while somebody else's server thinks.
    outcome = await send(service.config, message.id, message.body(now_ns), rule.body.webhook_url, rule.secret)
    answer: AlertTest = {
        "event_id": str(message.id),
        "delivered": outcome.delivered,
        "answer_status": outcome.status,
        "error": outcome.error,
    }
    return json_answer(answer)


@router.get("/alerts/deliveries", response_model=AlertDeliveries, responses=error_answers(422, 503))
async def list_deliveries(
    service: ServiceOf,
    rule_id: Annotated[UUID | None, Query(description="only those of this rule")] = None,
    state: Annotated[DeliveryState | None, Query()] = None,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Messages of the last 30 days with what became of them, newest first."""
    after = None if cursor is None else MomentCursor.decode(cursor)
    before = None if after is None else (after.moment, after.id)
    async with service.reader() as reader:
        rows = await reads.deliveries(reader.snapshot, reader.config.tenant_id, rule_id, state, before, limit + 1)
    following = MomentCursor(rows[limit - 1].created_at, rows[limit - 1].id).encode() if len(rows) > limit else None
    answer: AlertDeliveries = {"deliveries": [_delivery(row) for row in rows[:limit]], "next_cursor": following}
    return json_answer(answer)


def _changed(rule: Rule, changes: dict[str, Any]) -> AlertRuleBody:
    """The rule with the changes. Raises InvalidParameter where that is no rule."""
    try:
        return AlertRuleBody.model_validate(rule.body.model_dump(mode="json") | changes)
    except ValidationError as error:
        [first, *_] = error.errors(include_input=False)
        name = ".".join(map(str, first["loc"])) or "body"
        raise InvalidParameter(name, f"{name}: {first['msg']}") from None


def _check_url(service: Service, url: str) -> None:
    try:
        checked_url(url, service.config.private_hosts)
    except WebhookRefused as error:
        raise InvalidParameter("webhook_url", str(error)) from None


def _answer(rule: Rule) -> AlertRule:
    body = rule.body
    return {
        "id": str(rule.id),
        "name": body.name,
        "kind": body.kind,
        "filter": body.filter.model_dump(),
        "threshold": body.threshold,
        "window_s": body.window_s,
        "min_runs": body.min_runs,
        "factor": body.factor,
        "limit": body.limit,
        "statuses": None if body.statuses is None else list(body.statuses),
        "webhook_url": _without_path(body.webhook_url),
        "format": body.format,
        "secret": None,
        "enabled": body.enabled,
        "silenced_until": None if body.silenced_until is None else _told(body.silenced_until),
        "source": "file" if rule.source == "file" else "api",
        "created_at": _told(rule.created_at),
        "updated_at": _told(rule.updated_at),
        "changed_by": rule.changed_by,
    }


def _delivery(row: reads.DeliveryRow) -> AlertDelivery:
    return {
        "event_id": str(row.id),
        "rule": {"id": str(row.rule_id), "name": row.rule_name},
        "kind": row.kind,
        "subject": row.subject,
        "state": row.state,  # type: ignore[typeddict-item]  # alert_delivery_state_check holds it to the list
        "attempts": row.attempts,
        "next_attempt_at": _told(row.due_at) if row.state == "pending" else None,
        "created_at": _told(row.created_at),
        "delivered_at": None if row.delivered_at is None else _told(row.delivered_at),
        "answer_status": row.answer_status,
        "error": row.error,
    }


def _without_path(url: str) -> str:
    """Scheme, host and port: a path, a query, a fragment and a user of before they were refused may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."


def _told(moment: datetime) -> str:
    return rfc3339((moment - _EPOCH) // timedelta(microseconds=1) * 1_000)


def _unknown(rule_id: UUID) -> NotFound:
    return NotFound(f"no rule {rule_id}: GET /alerts/rules lists them", {"rule_id": str(rule_id)})
