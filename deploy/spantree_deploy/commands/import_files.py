"""`spantree import`: files of spans into the tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.database import stored_data_of
from spantree_deploy.importing.files import bodies
from spantree_deploy.importing.importer import Importer, Progress
from spantree_deploy.tenants import tenant_id_in
from spantree_exporter.postgres.partitions import PartitionWindow
from spantree_exporter.postgres.store import Store
from spantree_exporter.redaction import redactor_of
from spantree_exporter.rules import facts_reader

_APPLICATION = "spantree import"
_SHOWN_DAYS = 5
# Further back than any day that has a partition (partitions.FIRST_DAY).
_ANY_DAYS_BACK = 100_000


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="OTLP as JSON lines, JSON or protobuf; Jaeger's JSON; plain, gzip or zstd"
        ),
    ],
    days_back: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            min=1,
            help="how old a day may be that gets a partition [default: the setting]",
            show_default=False,
        ),
    ] = None,
    hold: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            min=1,
            max=100_000,
            help="take any day, one that retention dropped too, and keep it from retention for so long",
            show_default=False,
        ),
    ] = None,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Read files of spans, in whatever form; what is stored already is recognised, so repeating it changes nothing.

    Exit status 1 where something could not be read or stored, and the rest is stored; or where there was nothing.
    """
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    window = PartitionWindow(_ANY_DAYS_BACK if hold else days_back or settings.partition_days_back)
    hold_until = datetime.now(UTC).date() + timedelta(days=hold) if hold else None
    with stored_data_of(settings, console.step) as url:
        store = Store(
            url,
            tenant_id=tenant_id_in(url, tenant, _APPLICATION),
            application_name=_APPLICATION,
            window=window,
            read_facts=facts_reader(settings.rules),
        )
        redactor = redactor_of(settings.redact, settings.redact_hash_key)
        importer = Importer(store, console.fault, hold_until, redactor)
        try:
            store.check()
            for file in files:
                with console.err.status(f"reading {file}"):
                    importer.add(str(file), bodies(file))
                    importer.flush()
            with console.err.status("projecting"):
                waiting = importer.project()
        finally:
            store.close()
    progress = importer.progress
    console.out.print(summary(progress))
    if waiting:
        console.step(f"{waiting} traces are stored and still to be projected: a running collector does it")
    if progress.outside:
        console.fault(_about_outside(progress, window.days_back))
    if not progress.found:
        console.fault("there are no spans and no log records in what was given")
    if progress.bad or progress.outside or not progress.found:
        raise typer.Exit(1)


def summary(progress: Progress) -> str:
    """What came of it, in a line."""
    parts = [f"{progress.spans} spans stored", f"{progress.duplicates} were there already"]
    if progress.log_records or progress.duplicate_log_records:
        parts += [f"{progress.log_records} log records stored", f"{progress.duplicate_log_records} were there already"]
    if progress.redacted:
        parts.append(f"{progress.redacted.total()} secrets redacted")
    parts.append(f"{progress.bad} parts could not be read")
    return ", ".join(parts)


def _about_outside(progress: Progress, days_back: int) -> str:
    days = sorted(progress.outside)
    shown = ", ".join(days[:_SHOWN_DAYS]) + (f" and {len(days) - _SHOWN_DAYS} more" if len(days) > _SHOWN_DAYS else "")
    return (
        f"{progress.outside.total()} spans of {len(days)} days ({shown}) are not stored: these days have no partition "
        f"and may get none: they are older than {days_back} days (--days-back), or retention dropped them (--hold)"
    )
