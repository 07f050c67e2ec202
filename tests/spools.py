"""Bodies into a spool and out of it again."""

from __future__ import annotations

from spantree_collector.spool.spool import Spool
from spantree_collector.spool.spooled_body import Body, SpooledBody


def body(payload: bytes, received_ns: int = 1) -> Body:
    """A body as a receiver makes it."""
    return Body(payload, "protobuf", "", received_ns)


def put(spool: Spool, payload: bytes, received_ns: int = 1) -> int:
    """The id of a body that is acknowledged."""
    return spool.submit(body(payload, received_ns)).result(10)


def payloads(taken: list[SpooledBody]) -> list[bytes]:
    """What was in them."""
    return [spooled.body.payload for spooled in taken]


def everything(spool: Spool) -> list[bytes]:
    """All that waits, in order."""
    return payloads(spool.take(0, max_bodies=10_000, max_bytes=2**40))
