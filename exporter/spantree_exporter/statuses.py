"""Statuses that belong together, once for rollups, projections and the API."""

from __future__ import annotations

from typing import Final

# Nodes that failed for good; one that was retried did not.
FAILED_NODE: Final = frozenset({"failed", "timed_out"})
# Executions that did not go well: these are what lists of failures hold.
FAILED_EXECUTION: Final = frozenset({"failed", "partial", "timed_out"})
# What goes on, and is lost when it gives no sign of life.
RUNNING: Final = frozenset({"pending", "running"})
OPEN: Final = RUNNING | {"waiting"}
