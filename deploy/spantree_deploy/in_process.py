"""The API's application in this process, over the settings' database: no port, no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import httpx

from spantree_api.app import create_app
from spantree_deploy.console import quiet_driver
from spantree_deploy.database import check_connection, postgres_of
from spantree_deploy.settings import Settings


class InProcess:
    """A transport of client.ApiClient."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def get(self, target: str) -> tuple[int, bytes]:
        """One request."""
        response = self._runner.run(self._client.get(target))
        return response.status_code, response.content

    def post(self, target: str) -> tuple[int, bytes]:
        """One request; the API bounds how long it takes."""
        response = self._runner.run(self._client.post(target, timeout=None))
        return response.status_code, response.content

    def copy(self, target: str, write: Callable[[bytes], object]) -> tuple[int, Mapping[str, str], bytes]:
        """One request; its body is whole in memory before it is written."""
        response = self._runner.run(self._client.get(target))
        headers = dict(response.headers)
        if response.status_code != httpx.codes.OK:
            return response.status_code, headers, response.content
        write(response.content)
        return response.status_code, headers, b""


@contextmanager
def transport_of(settings: Settings) -> Iterator[InProcess]:
    """The application, open for the time of the block; an embedded PostgreSQL runs as long."""
    quiet_driver()
    with postgres_of(settings) as database_url, asyncio.Runner() as runner:
        # The pool would try for seconds, and only say that it got no connection.
        check_connection(database_url)
        opened = _application(settings, database_url)
        client = runner.run(opened.__aenter__())
        try:
            yield InProcess(runner, client)
        finally:
            runner.run(opened.__aexit__(None, None, None))


@asynccontextmanager
async def _application(settings: Settings, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.api_config(database_url), trusted=True)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client
