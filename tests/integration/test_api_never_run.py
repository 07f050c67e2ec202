"""Steps that an execution never came to, as other executions of its workflow teach them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.api_rows import T0_NS, S, Trace, insert, node, trace, trace_id
from tests.api_server import api_over, ok

from spantree_exporter.rows import Edge


def flow(number: int, names: Sequence[str], **changes: Any) -> Trace:
    """An execution whose steps follow each other."""
    nodes = [node(1, "root"), *(node(at, name, 1) for at, name in enumerate(names, start=2))]
    edges = [Edge(at, 0, at + 1, 0, "sequential", None, "inferred") for at in range(2, len(names) + 1)]
    return trace(number, nodes, edges, **({"started_ns": T0_NS + number * S} | changes))


def test_steps_that_follow_elsewhere_are_told_as_skipped(migrated_url: str) -> None:
    insert(
        migrated_url,
        flow(1, ["guard", "reject"], skipped_nodes=["audit"]),
        flow(2, ["guard", "answer", "send"]),
        flow(3, ["guard", "other"], workflow_name="billing"),
        flow(4, ["guard", "elsewhere"], service="another"),
        flow(5, ["guard", "long ago"], started_ns=T0_NS - 30 * 86_400 * S),
        flow(6, ["guard"], status="running", ended_ns=None, last_seen_ns=T0_NS + 3600 * S),
        trace(7, kind="definition", skipped_nodes=["review"], hidden=True),
    )
    with api_over(migrated_url) as api:

        def skipped(number: int) -> list[str]:
            names: list[str] = ok(api.get(f"/api/v1/executions/{trace_id(number)}/tree"))["tree"]["skipped_nodes"]
            assert ok(api.get(f"/api/v1/executions/{trace_id(number)}/failure"))["skipped_nodes"] == names
            return names

        assert skipped(1) == ["audit", "answer", "review", "send"]
        assert skipped(2) == ["reject", "review"]
        assert skipped(3) == []
        assert skipped(6) == []
