"""`spantree migrate` and `rebuild`: work on the rows themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import psycopg
import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.database import postgres_of, stored_data_of
from spantree_deploy.moments import days
from spantree_exporter.errors import OperatorError, classify, denied
from spantree_exporter.postgres import migrate as schema
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.postgres.rebuild import RebuildProgress
from spantree_exporter.postgres.rebuild import rebuild as rebuild_rows
from spantree_exporter.postgres.row_security import make_roles
from spantree_exporter.rules import facts_reader


def migrate(
    distribute: Annotated[
        bool, typer.Option("--distribute", help="distribute the tables over the workers of a Citus cluster")
    ] = False,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Bring the database to this build's schema; safe to repeat and to start twice.

    With --distribute also put the tables on the workers of a Citus cluster; later migrations keep to that.
    """
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    with postgres_of(settings, console.step) as url:
        applied = schema.migrate(url, shards=settings.citus_shards if distribute else None)
        version = schema.schema_version(url)
    done = f"applied {', '.join(map(str, applied))}" if applied else "nothing to do"
    console.out.print(f"{done}: the schema is at version {version}")


def roles(
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Make spantree_writer for collectors and spantree_reader for the API, with the least rights; safe to repeat."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    with stored_data_of(settings, console.step) as url:
        try:
            with connect(url, "spantree roles") as connection:
                check_version(connection)
                made = make_roles(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise OperatorError(denied(error)) from error
        except psycopg.Error as error:
            raise classify(error) from error
    console.out.print(
        f"made {', '.join(made)}" if made else "both roles are there; their rights are those of this build"
    )
    console.out.print("nobody logs in as them yet; let collector and API in, as an administrator of PostgreSQL:")
    for role in ("spantree_writer", "spantree_reader"):
        console.out.print(f"  ALTER ROLE {role} LOGIN PASSWORD '...';")


def rebuild(
    since: opt.FirstDay = None,
    until: opt.LastDay = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Compute executions, nodes and edges anew from the stored spans of all tenants; beside running collectors, too."""
    now = datetime.now(UTC)
    first, last = days(since, until, now)
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    with stored_data_of(settings, console.step) as url, console.err.status("reading the spans again") as status:

        def show(progress: RebuildProgress) -> None:
            status.update(f"{progress.day}: {progress.spans} spans read, {progress.projected_traces} traces projected")

        done = rebuild_rows(
            url,
            first,
            last,
            show,
            read_facts=facts_reader(settings.rules),
            own_rules=b"" if settings.rules is None else settings.rules.read_bytes(),
        )
    console.out.print(
        f"{done.spans} spans read, {done.changed_facts} of them say something else than before; "
        f"{done.projected_traces} traces projected"
    )
