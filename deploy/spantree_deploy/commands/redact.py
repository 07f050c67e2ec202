"""`spantree redact`: take secrets out of what is stored already."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.database import stored_data_of
from spantree_deploy.moments import days
from spantree_exporter.errors import ConfigError
from spantree_exporter.redaction import redactor_of
from spantree_exporter.redaction.stored import Asked, RedactProgress, redact_stored
from spantree_exporter.rules import facts_reader

_SHOWN_DAYS = 10


def redact(
    since: opt.FirstDay = None,
    until: opt.LastDay = None,
    execution: Annotated[
        str | None, typer.Option(help="spans and logs of this execution alone, by its id", show_default=False)
    ] = None,
    workflow: Annotated[
        str | None, typer.Option(help="spans and logs of this workflow's executions alone", show_default=False)
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="rows of this tenant alone [default: of all]", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="count what would be redacted, and change nothing")
    ] = False,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Take secrets out of what is stored already, by today's rules; beside a running collector, too.

    One that was interrupted goes on where it stopped. Dead letters, resources and what else has no day are looked
    through whatever days are asked for.
    """
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    redactor = redactor_of(settings.redact, settings.redact_hash_key)
    if redactor is None:
        raise ConfigError(["SPANTREE_REDACT is off, so that there are no rules; give default or a file of rules"])
    now = datetime.now(UTC)
    asked = Asked(*days(since, until, now), _execution(execution), workflow)
    with stored_data_of(settings, console.step) as url, console.err.status("looking for secrets") as status:

        def show(progress: RedactProgress) -> None:
            of = f"{progress.tenant}, {progress.day}" if progress.day else progress.tenant
            status.update(f"{of}: {progress.spans} spans and {progress.log_records} log records read")

        def waiting(name: str) -> None:
            console.step(f"another spantree redact is at the rows of {name}; this one waits until it has ended")

        try:
            done = redact_stored(
                url,
                redactor,
                asked,
                show,
                tenant=tenant,
                dry_run=dry_run,
                waiting=waiting,
                read_facts=facts_reader(settings.rules),
            )
        except ValueError as error:
            raise ConfigError([str(error)]) from error
    console.out.print(summary(done, dry_run=dry_run))


def summary(done: RedactProgress, *, dry_run: bool) -> str:
    """What came of it: what was read, what held secrets, of which days and kinds."""
    read = f"{done.spans} spans and {done.log_records} log records read"
    if not done.redacted:
        return f"{read}, no secret found"
    tables = ", ".join(f"{count} of {table}" for table, count in sorted(done.redacted.items()))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(done.kinds.items()))
    days = sorted(day.isoformat() for day in done.days)
    shown = ", ".join(days[:_SHOWN_DAYS]) + (f" and {len(days) - _SHOWN_DAYS} more" if len(days) > _SHOWN_DAYS else "")
    of_days = f"; days: {shown}" if days else ""
    return f"{read}; rows {'that would be ' if dry_run else ''}redacted: {tables} ({kinds}){of_days}"


def _execution(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return UUID(given).hex
    except ValueError:
        raise ConfigError([f'--execution is "{given[:80]}"; give the 32 hex digits of an execution\'s id']) from None
