"""A trace, whosever it is: equal ids of two tenants are two traces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

TraceKey: TypeAlias = tuple[int, bytes]
"""(tenant, trace id)."""


def key_arrays(keys: Iterable[TraceKey]) -> dict[str, list[Any]]:
    """`keys` as two arrays of a statement: the tenants, and the trace ids in hex."""
    listed = list(keys)
    return {
        "tenant_ids": [tenant_id for tenant_id, _ in listed],
        "trace_ids": [trace_id.hex() for _, trace_id in listed],
    }
