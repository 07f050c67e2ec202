"""Refused requests in the own audit: counted by minute, cause and sender, and bounded."""

from __future__ import annotations

from spantree_collector.receive.refusal_audit import RefusalAudit
from spantree_collector.receive.status import Forbidden, Overloaded, QuotaExceeded, Unauthenticated, refusal_of
from spantree_exporter.own_audit_event import Actor
from spantree_exporter.tokens import Identity

UNKNOWN = refusal_of(Unauthenticated("no"))
QUOTA = refusal_of(QuotaExceeded("enough"))


def test_equal_refusals_are_a_line_with_a_count() -> None:
    audit = RefusalAudit("postgresql://nowhere")
    blue = Identity(3, "blue", "ingest", "spt_abc")
    for _ in range(1_000):
        audit.refused("http", UNKNOWN, None, "10.0.0.1")
    audit.refused("grpc", QUOTA, blue, None)
    audit.refused("grpc", QUOTA, blue, None)
    audit.refused("http", refusal_of(Forbidden("read only", blue)), blue, "10.0.0.2")
    # Who may what has nothing to do with these.
    audit.refused("http", refusal_of(Overloaded("later")), blue, "10.0.0.1")
    told = [
        (one.actor, one.channel, one.action, one.tenant_id, one.status, one.address, dict(one.details), one.times)
        for one in audit.events()
    ]
    token = Actor("token", "spt_abc", "ingest")
    assert told == [
        (Actor("nobody"), "http", "refused", 0, 401, "10.0.0.1", {"reason": "unauthenticated"}, 1_000),
        (token, "grpc", "refused", 3, 503, None, {"reason": "quota"}, 2),
        (token, "http", "refused", 3, 403, "10.0.0.2", {"reason": "forbidden"}, 1),
    ]
    assert audit.events() == []


def test_a_flood_from_everywhere_is_some_lines_and_loses_no_count() -> None:
    audit = RefusalAudit("postgresql://nowhere")
    for number in range(50_000):
        audit.refused("http", UNKNOWN, None, f"10.0.{number // 256}.{number % 256}")
    events = audit.events()
    assert (len(events), sum(one.times for one in events)) == (101, 50_000)
    assert (events[-1].address, dict(events[-1].details)) == (None, {"reason": "unauthenticated", "senders": "many"})


def test_while_postgresql_is_away_lines_wait_within_bounds() -> None:
    audit = RefusalAudit("postgresql://127.0.0.1:1/none")
    for _ in range(60):
        for number in range(101):
            audit.refused("http", UNKNOWN, None, str(number))
        audit._waiting += audit.events()
    audit._write()
    assert len(audit._waiting) == 5_000
