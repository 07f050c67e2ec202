"""`spantree import temporal`: histories of workflows as executions."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.commands.import_files import summary
from spantree_deploy.database import stored_data_of
from spantree_deploy.importing.importer import Importer
from spantree_deploy.importing.temporal import Source, TemporalServer, bodies_of, bodies_of_file, query_since
from spantree_deploy.moments import moment
from spantree_deploy.tenants import tenant_id_in
from spantree_exporter.errors import ConfigError, SpantreeError
from spantree_exporter.postgres.partitions import PartitionWindow
from spantree_exporter.postgres.store import Store
from spantree_exporter.redaction import Redactor, redactor_of
from spantree_exporter.rules import facts_reader

_APPLICATION = "spantree import"

app = typer.Typer(help="Read files of spans: OTLP, Jaeger's JSON, an archive.")


@app.command("temporal")
def import_temporal(
    places: Annotated[
        list[str],
        typer.Argument(metavar="FILE|ADDRESS...", help="histories in JSON, folders of them, or a server as host:port"),
    ],
    namespace: Annotated[str, typer.Option(help="Temporal's")] = "default",
    query: Annotated[str, typer.Option(help="visibility query: which workflows of a server", show_default=False)] = "",
    since: Annotated[
        str | None, typer.Option(help="only what runs, or ended after: 2h, 7d, a time", show_default=False)
    ] = None,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="again and again, until Ctrl-C", show_default=False)
    ] = None,
    workflow_id: Annotated[
        str, typer.Option(help="of a history in a file that does not name it [default: the file's name]")
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="also where TEMPORAL_API_KEY is set")] = False,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Turn histories of Temporal's workflows into executions; repeating it adds what happened since."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    asked_since = moment("--since", since, datetime.now(UTC))
    files = [Path(place) for place in places if Path(place).exists()]
    servers = [place for place in places if not Path(place).exists()]
    for place in servers:
        host, colon, port = place.rpartition(":")
        if not (host and colon and port.isdecimal()):
            raise ConfigError([f'"{place}" is no file that is there, and no server: wanted host:port'])
    api_key = os.environ.get("TEMPORAL_API_KEY") or None
    sources = [TemporalServer(place, namespace, tls=tls, api_key=api_key) for place in servers]
    with stored_data_of(settings, console.step) as url:
        store = Store(
            url,
            tenant_id=tenant_id_in(url, tenant, _APPLICATION),
            application_name=_APPLICATION,
            window=PartitionWindow(settings.partition_days_back),
            read_facts=facts_reader(settings.rules),
        )
        try:
            store.check()
            redactor = redactor_of(settings.redact, settings.redact_hash_key)
            start = None if asked_since is None else datetime.fromisoformat(asked_since)
            sync = TemporalSync(store, namespace, query, start, redactor)
            bad = sync.once(files, sources, workflow_id)
            while every is not None:
                time.sleep(every)
                try:
                    sync.once(files, sources, workflow_id)
                except SpantreeError as error:
                    # A server that restarts, a database that is away: the next round takes up what this one missed.
                    console.fault(f"{error}; tried again in {every:g} s")
        finally:
            store.close()
    if bad:
        raise typer.Exit(1)


class TemporalSync:
    """Imports rounds of histories; each round asks for what can have changed since the one before began."""

    def __init__(
        self, store: Store, namespace: str, query: str, since: datetime | None, redactor: Redactor | None = None
    ) -> None:
        self._redactor = redactor
        self._store = store
        self._namespace = namespace
        self._query = query
        self._since = since

    def once(self, files: Sequence[Path], sources: Sequence[Source], workflow_id: str = "") -> int:
        """One round; how much could not be read. Raises SpantreeError: nothing that it missed is passed over."""
        began = datetime.now(UTC)
        importer = Importer(self._store, console.fault, redactor=self._redactor)
        for file in _histories(files):
            importer.add(str(file), bodies_of_file(file, self._namespace, workflow_id))
        for source in sources:
            asyncio.run(self._from(source, importer))
        importer.flush()
        importer.project()
        self._since = began if sources else self._since
        progress = importer.progress
        console.out.print(summary(progress))
        return progress.bad + progress.outside.total()

    async def _from(self, source: Source, importer: Importer) -> None:
        async for run in source.runs(query_since(self._query, self._since)):
            importer.add(f"workflow {run.workflow_id}", bodies_of(f"run {run.run_id}", run, self._namespace))


def _histories(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(place.glob("*.json"))
        else:
            yield place
