"""What one tenant may send."""

from __future__ import annotations

from collections import Counter

import pytest

from spantree_collector.receive.status import QuotaExceeded
from spantree_collector.receive.tenant_quota import TenantQuota
from spantree_exporter.tokens import ANYONE, Identity


def test_spans_a_second_are_bounded_with_bursts_and_by_tenant() -> None:
    now_s = 100.0
    quota = TenantQuota(lambda tenant_id: 0, lambda: 10**9, lambda: True, lambda: now_s)
    blue, green = Identity(1, "blue", spans_per_s_max=10), Identity(2, "green", spans_per_s_max=10)
    quota.check(blue, 50, 1)
    with pytest.raises(QuotaExceeded, match="tenant blue sends more than 10 spans a second"):
        quota.check(blue, 1, 1)
    quota.check(green, 50, 1)
    quota.check(ANYONE, 10**9, 1)
    now_s = 101.0
    quota.check(blue, 10, 1)
    with pytest.raises(QuotaExceeded):
        quota.check(blue, 1, 1)
    # One body that is larger than any burst passes after a pause, and is paid off.
    now_s = 106.0
    quota.check(blue, 100, 1)
    now_s = 110.0
    with pytest.raises(QuotaExceeded):
        quota.check(blue, 1, 1)


def test_bytes_that_wait_are_bounded() -> None:
    waiting = {1: 900}
    quota = TenantQuota(lambda tenant_id: waiting[tenant_id], lambda: 0, lambda: True)
    blue = Identity(1, "blue", spool_bytes_max=1000)
    quota.check(blue, 1, 100)
    with pytest.raises(QuotaExceeded, match="900 bytes of tenant blue wait for PostgreSQL, of at most 1000"):
        quota.check(blue, 1, 101)


def test_with_very_many_tenants_each_is_still_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_collector.receive.tenant_quota._TENANTS_MAX", 100)
    quota = TenantQuota(lambda tenant_id: 0, lambda: 10**9, lambda: True, lambda: 100.0)
    tenants = [Identity(number, f"t{number}", spans_per_s_max=10) for number in range(100)]
    for tenant in tenants:
        quota.check(tenant, 50, 1)
    for tenant in tenants:
        with pytest.raises(QuotaExceeded):
            quota.check(tenant, 1, 1)
    # One more takes the place of who has not sent for longest.
    quota.check(Identity(100, "t100", spans_per_s_max=10), 50, 1)
    for tenant in tenants[1:]:
        with pytest.raises(QuotaExceeded):
            quota.check(tenant, 1, 1)
    assert len(quota._buckets) == 100


def test_without_a_limit_a_tenant_has_as_much_of_the_spool_as_is_left_for_all() -> None:
    waiting = Counter({1: 0, 2: 0})
    blue, green = Identity(1, "blue"), Identity(2, "green")
    quota = TenantQuota(lambda tenant_id: waiting[tenant_id], lambda: 900 - waiting.total(), lambda: True)

    def fill(sender: Identity) -> None:
        while True:
            quota.check(sender, 1, 10)
            waiting[sender.tenant_id] += 10

    with pytest.raises(QuotaExceeded, match="450 bytes of tenant blue wait for PostgreSQL, as many as may"):
        fill(blue)
    with pytest.raises(QuotaExceeded, match="230 bytes of tenant green wait"):
        fill(green)
    # What has nothing there is taken in any case, as long as there is room at all.
    quota.check(Identity(3, "red"), 1, 500)


def test_who_sends_alone_has_all_of_the_spool() -> None:
    quota = TenantQuota(lambda tenant_id: 800, lambda: 100, lambda: False)
    quota.check(Identity(1, "blue"), 1, 100)
