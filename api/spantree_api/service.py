"""What every route needs: settings, database and clock, made once by `app.py` and given to each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request

from spantree_api.analysis.model_answer import Analyst
from spantree_api.authentication import identity_of
from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.failures.known_errors import KnownErrors
from spantree_api.failures.known_errors_file import our_known_errors
from spantree_api.reader import Reader, days_query
from spantree_api.streams.listeners import Streams, TenantStreams

_COUNTING_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one API server. `clock` answers UTC nanoseconds since 1970.

    `database` is read, and may be a standby; `primary` is written, and read by what must not be behind.
    """

    config: ApiConfig
    database: Database
    primary: Database
    clock: Callable[[], int]
    tenant_streams: TenantStreams
    known_errors: KnownErrors = field(default_factory=our_known_errors)
    analyst: Analyst | None = None
    # Turns of reads that count spans one by one, each of which takes a connection for seconds.
    counting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_COUNTING_AT_ONCE))

    @property
    def streams(self) -> Streams:
        """The streams of this tenant."""
        return self.tenant_streams.of(self.config.tenant_id)

    def for_tenant(self, tenant_id: int) -> Service:
        """The same, for another tenant: everything that a request reads or changes goes by `config.tenant_id`."""
        if tenant_id == self.config.tenant_id:
            return self
        return replace(
            self,
            config=replace(self.config, tenant_id=tenant_id),
            database=self.database.of(tenant_id),
            primary=self.primary.of(tenant_id),
        )

    @asynccontextmanager
    async def reader(self, trace_id: UUID | None = None) -> AsyncIterator[Reader]:
        """Reads of one moment; with `trace_id` the days of that trace come along, for `Reader.key`.

        Raises Unavailable.
        """
        opening = None if trace_id is None else days_query(self.config.tenant_id, trace_id)
        async with self.database.snapshot(opening=opening) as snapshot:
            yield Reader(snapshot, self.config, self.clock())

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[Reader]:
        """Reads and writes of one transaction, committed at the end of the block. Raises Unavailable."""
        async with self.primary.transaction() as transaction:
            yield Reader(transaction, self.config, self.clock())


async def _service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service.for_tenant(identity_of(request.scope.get("state", {})).tenant_id)


ServiceOf = Annotated[Service, Depends(_service_of)]
