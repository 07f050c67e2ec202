"""What is shown of each tenant: by its name of now, so many of them, and never a counter that goes back."""

from __future__ import annotations

import re

from spantree_collector.tenant_metrics import TENANTS_NAMED, TenantMetrics


def shown(metrics: TenantMetrics, name: str) -> dict[str, float]:
    found = re.findall(
        rf"^spantree_collector_tenant_{name}\{{(.*)\}} (\S+)$", metrics.exposition().decode(), re.MULTILINE
    )
    return {labels.replace('"', "").replace("tenant=", ""): float(value) for labels, value in found}


def test_each_tenant_has_its_figures_by_the_name_that_it_has_now() -> None:
    names = {"blue": 1, "green": 2}
    metrics = TenantMetrics(lambda: names, lambda: {2: 70}, lambda tenant_ids: dict.fromkeys(tenant_ids, 1.5))
    metrics.count("received_spans", 1, 10)
    metrics.count("received_spans", 1, 5)
    metrics.count("stored_spans", 2, 3)
    metrics.refused(2, "quota")
    metrics.lags({1: 0.25})
    assert shown(metrics, "received_spans_total") == {"blue": 15}
    assert shown(metrics, "stored_spans_total") == {"green": 3}
    assert shown(metrics, "requests_refused_total") == {"reason=quota,green": 1}
    assert shown(metrics, "spool_bytes") == {"blue": 0, "green": 70}
    assert shown(metrics, "spool_oldest_age_seconds") == {"green": 1.5}
    assert shown(metrics, "projection_lag_seconds") == {"blue": 0.25, "green": 0}
    names = {"navy": 1, "green": 2}
    assert shown(metrics, "received_spans_total") == {"navy": 15}


def test_beyond_a_number_of_tenants_the_others_share_a_label_and_a_dropped_one_makes_room() -> None:
    names = {f"t{number}": number for number in range(10_000)}
    waiting = dict.fromkeys(range(10000), 2)
    metrics = TenantMetrics(lambda: names, lambda: waiting)
    for number in range(10_000):
        metrics.count("received_spans", number, 1)
    found = shown(metrics, "received_spans_total")
    assert (len(found), found["t0"], found["(other)"]) == (TENANTS_NAMED + 1, 1, 10_000 - TENANTS_NAMED)
    assert shown(metrics, "spool_bytes")["(other)"] == 2 * (10_000 - TENANTS_NAMED)
    waiting = {}
    del names["t0"]
    assert "t0" not in shown(metrics, "received_spans_total")
    metrics.count("received_spans", 9_999, 1)
    found = shown(metrics, "received_spans_total")
    # What was counted of it among the others stays there.
    assert (found["t9999"], found["(other)"]) == (1, 10_000 - TENANTS_NAMED)
