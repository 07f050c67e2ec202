"""Where workflow histories come from: files, or Temporal's server; and histories as bodies for the importer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from spantree_deploy.importing.files import Bad, Body
from spantree_exporter.errors import OperatorError, SpantreeError
from spantree_exporter.foreign.temporal_history import NoHistory, spans_of
from spantree_exporter.otlp.decode import JSON

# A history has at most 51,200 events or 50 MiB (Temporal's limits); a file of JSON is up to twice as large.
_MOST_BYTES: Final = 128 * 2**20
# What ended just before the last look may not have been visible to it yet: visibility lags.
_OVERLAP: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Run:
    """One history and what the server knows of it beside."""

    history: Any
    workflow_id: str = ""
    run_id: str = ""


class Source(Protocol):
    """A server of Temporal's."""

    def runs(self, query: str) -> AsyncIterator[Run]:
        """The histories of the workflows that a visibility query finds. Raises SpantreeError."""
        ...


def bodies_of(where: str, run: Run, namespace: str) -> Iterator[Body | Bad]:
    """A history as a body of OTLP, or what keeps it from being one."""
    history = run.history
    if isinstance(history, dict) and "events" not in history and isinstance(history.get("history"), dict):
        history = history["history"]  # as `temporal workflow describe` and the HTTP API wrap it
    try:
        if not isinstance(history, dict):
            raise NoHistory("it is no JSON object")
        told = spans_of(history, namespace=namespace, workflow_id=run.workflow_id, run_id=run.run_id)
        yield Body(where, orjson.dumps(told), JSON)
    except (NoHistory, TypeError) as error:
        yield Bad(where, f"it is no history of a workflow: {error}")


def bodies_of_file(path: Path, namespace: str, workflow_id: str) -> Iterator[Body | Bad]:
    """The histories of a file: one, a list of them, or one on each line. Raises OSError."""
    if path.stat().st_size > _MOST_BYTES:
        yield Bad("the file", f"it is longer than {_MOST_BYTES} bytes: wanted one history a file, or one a line")
        return
    text = path.read_bytes()
    try:
        found = orjson.loads(text)
        histories = list(enumerate(found if isinstance(found, list) else [found], 1))
        if isinstance(found, list) and found and "eventId" in found[0]:
            histories = [(1, {"events": found})]
    except (ValueError, TypeError):
        histories = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                histories.append((number, orjson.loads(line)))
            except ValueError as error:
                yield Bad(f"line {number}", f"it is no JSON: {error}")
                if not histories:
                    return
    for number, history in histories:
        yield from bodies_of(f"history {number}", Run(history, workflow_id or path.stem), namespace)


def query_since(query: str, since: datetime | None) -> str:
    """What `query` finds that runs, or ended after `since`."""
    if since is None:
        return query
    moment = (since.astimezone(UTC) - _OVERLAP).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed = f"(ExecutionStatus = 'Running' OR CloseTime > '{moment}')"
    return f"({query}) AND {changed}" if query else changed


class TemporalServer:
    """Asks a server by temporalio, the extra `temporal`. Connects anew each time it is asked."""

    def __init__(self, address: str, namespace: str, *, tls: bool, api_key: str | None) -> None:
        self._address = address
        self._namespace = namespace
        self._tls = tls
        self._api_key = api_key

    async def runs(self, query: str) -> AsyncIterator[Run]:
        """As Source.runs. A workflow whose history has gone meanwhile is passed over."""
        try:
            from temporalio.client import Client
            from temporalio.service import RPCError, RPCStatusCode
        except ImportError:
            raise OperatorError('asking Temporal needs a package: pip install "spantree[temporal]"') from None
        try:
            client = await Client.connect(
                self._address,
                namespace=self._namespace,
                tls=self._tls or self._api_key is not None,
                **({} if self._api_key is None else {"api_key": self._api_key}),
            )
            async for found in client.list_workflows(query or None):
                handle = client.get_workflow_handle(found.id, run_id=found.run_id)
                try:
                    history = await handle.fetch_history()
                except RPCError as error:
                    if error.status == RPCStatusCode.NOT_FOUND:
                        continue
                    raise
                yield Run(orjson.loads(history.to_json()), found.id, found.run_id)
        except (RPCError, RuntimeError) as error:
            # RuntimeError is what connecting raises.
            raise SpantreeError(f"Temporal at {self._address} does not answer: {error}") from error
