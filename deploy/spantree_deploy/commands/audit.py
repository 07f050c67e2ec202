"""`spantree audit own`: who asked what of spantree itself, and changed what, of all tenants."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import psycopg
import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.commands.read import AsJson, print_json
from spantree_deploy.database import stored_data_of
from spantree_deploy.moments import moment
from spantree_exporter.errors import classify
from spantree_exporter.own_audit import OwnAuditLine, newest
from spantree_exporter.postgres.connection import connect

app = typer.Typer(no_args_is_help=True, help="Who asked what of spantree itself, and changed what.")


@app.command()
def own(
    tenant: Annotated[str | None, typer.Option(help="of this tenant only", show_default=False)] = None,
    actor: Annotated[
        str | None, typer.Option(help="the beginning of a token, a person, an account", show_default=False)
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="read, export, create, update, delete, refused ...", show_default=False)
    ] = None,
    object_: Annotated[
        str | None, typer.Option("--object", help="a type, or type/id: token, execution/...", show_default=False)
    ] = None,
    since: Annotated[str | None, typer.Option(help="2h, 7d, today, 2026-11-28, or a time", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="how many at most", min=1, max=100_000)] = 50,
    json: AsJson = False,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List what was asked of spantree and changed in it, newest first, whoever's rows it was about."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    began = moment("--since", since, datetime.now(UTC))
    with stored_data_of(settings, console.step) as url:
        try:
            with connect(url, "spantree audit") as connection:
                lines = newest(
                    connection,
                    tenant=tenant,
                    actor=actor,
                    action=action,
                    object_=object_,
                    since=None if began is None else datetime.fromisoformat(began),
                    limit=limit,
                )
        except psycopg.Error as error:
            raise classify(error) from error
    if json:
        print_json([asdict(line) | {"at": line.at.isoformat()} for line in lines])
        return
    rows = [[(text, "") for text in _row(line)] for line in lines]
    console.out.lines(render.table(("at", "tenant", "who", "what", "of", "how", "from"), rows))


def _row(line: OwnAuditLine) -> list[str]:
    what = line.action + (f" x{line.times}" if line.times > 1 else "")
    of = "/".join(part for part in (line.object_type, line.object_id) if part)
    how = " ".join(str(part) for part in (line.method, line.route, line.status) if part is not None)
    who = f"{line.actor_kind} {line.actor}".strip()
    return [_moment(line.at), line.tenant or "-", who, what, of or "-", how or line.channel, line.address or "-"]


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")
