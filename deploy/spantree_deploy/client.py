"""The public HTTP API as the commands ask it: over the network, or in this process over the settings' database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import httpx

from spantree_deploy.database import postgres_of
from spantree_deploy.settings import Settings
from spantree_exporter.errors import SpantreeError

_TIMEOUT_S: Final = 30.0


class NotAnswered(SpantreeError):
    """The API refused, or was not there. `status` is None where it was not."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class ApiClient:
    """GETs of /api/v1."""

    def __init__(self, client: httpx.Client | _InProcess, where: str) -> None:
        self._client = client
        self._where = where

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The JSON of `GET /api/v1/{path}`. Raises NotAnswered."""
        try:
            response = self._client.get(f"/api/v1/{path}", params=dict(parameters or {}))
        except httpx.HTTPError as error:
            raise NotAnswered(
                f"no API answers at {self._where} ({error}); is `spantree up` running? --api-url names another", None
            ) from error
        if response.status_code == httpx.codes.OK:
            return response.json()
        raise NotAnswered(_message(response, self._where), response.status_code)


class _InProcess:
    """The application itself, without a port."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def get(self, path: str, params: dict[str, Any]) -> httpx.Response:
        return self._runner.run(self._client.get(path, params=params))


@contextmanager
def api_at(url: str) -> Iterator[ApiClient]:
    """The API that listens at `url`."""
    with httpx.Client(base_url=url.rstrip("/"), timeout=_TIMEOUT_S) as client:
        yield ApiClient(client, url)


@contextmanager
def api_of(settings: Settings) -> Iterator[ApiClient]:
    """The API that `api_url` names, else the same application over the database of the settings.

    So a command answers whether or not a server is running, and always from the database that the settings name.
    """
    if settings.api_url is not None:
        with api_at(settings.api_url) as api:
            yield api
        return
    if settings.is_embedded and not (settings.data_dir / "pgdata").exists():
        raise SpantreeError(
            f"there is no data in {settings.data_dir}: run `spantree up` first, or name the place with --data, "
            "--database-url or --api-url"
        )
    with postgres_of(settings) as database_url, asyncio.Runner() as runner:
        opened = _application(settings, database_url)
        client = runner.run(opened.__aenter__())
        try:
            yield ApiClient(_InProcess(runner, client), "this process")
        finally:
            runner.run(opened.__aexit__(None, None, None))


@asynccontextmanager
async def _application(settings: Settings, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    from spantree_api.app import create_app

    app = create_app(settings.api_config(database_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


def _message(response: httpx.Response, where: str) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{where} answered {response.status_code}, which is no answer of spantree's API: {response.text[:200]}"
