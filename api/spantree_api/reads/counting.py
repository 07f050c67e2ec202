"""All spans of a search, one by one, for figures that nothing stored has: bounded in time, told whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from spantree_api.errors import InvalidParameter, Unavailable
from spantree_api.reads.spans import SpanReads
from spantree_api.reads.spansets import SpansetReads
from spantree_api.service import Service
from spantree_api.span_search.spansets import FoundSpan
from spantree_api.span_search.traceql import TraceQuery

COUNT_S: Final = 5.0
# How long one waits for others that count: Grafana asks for a dozen figures of a page at once.
_WAIT_S: Final = 15.0


async def counted(service: Service, query: TraceQuery, observe: Callable[[FoundSpan], None]) -> None:
    """Have each span that is found observed, once.

    Raises InvalidParameter where there are more than are counted in five seconds, Unavailable where others count.
    """
    try:
        await asyncio.wait_for(service.counting.acquire(), _WAIT_S)
    except TimeoutError:
        raise Unavailable("overloaded", f"other counts took all of {_WAIT_S:g} s: try again") from None
    try:
        async with service.reader() as reader:
            reads = SpanReads(reader)
            await SpansetReads(reads, query, 0).every(observe, COUNT_S)
    finally:
        service.counting.release()
    if reads.is_incomplete:
        raise InvalidParameter(
            "start",
            f"this range has more spans than are counted one by one in {COUNT_S:g} s: ask for a shorter one, or for "
            "what fewer spans have; figures of long ranges are in the views trends and node_stats of PostgreSQL, which "
            "the dashboards of deploy/grafana show, and at /api/v1/stats/trend",
        )
