"""`spantree token create|list|revoke`: who may send and who may read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import psycopg
import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.commands.read import AsJson, print_json
from spantree_deploy.database import refused, stored_data_of
from spantree_deploy.settings import Settings
from spantree_exporter.tokens import SCOPES, TokenBook

app = typer.Typer(no_args_is_help=True, help="Who may send and who may read. From the first token on, one is wanted.")

Scope = StrEnum("Scope", {scope: scope for scope in SCOPES})  # type: ignore[misc]  # its members are SCOPES


@app.command()
def create(
    scope: Annotated[Scope, typer.Option(help="ingest: send; read: ask; admin: both, and change")],
    tenant: Annotated[str, typer.Option(help="whose spans it sends or reads")] = "default",
    expires: Annotated[
        int | None,
        typer.Option(help="days until it is refused [default: never]", min=1, max=36_500, show_default=False),
    ] = None,
    note: Annotated[str, typer.Option(help="what it is for")] = "",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Make a token and print it, this once: only a hash of it is kept."""
    expires_at = None if expires is None else datetime.now(UTC) + timedelta(days=expires)
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        token = tokens.create_token(tenant, SCOPES[list(Scope).index(scope)], expires_at, note)
    console.err.print("this is shown once; send it as: authorization: Bearer TOKEN (SPANTREE_TOKEN for these commands)")
    console.out.print(token)


@app.command("list")
def list_(
    json: AsJson = False,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List all tokens that were ever made, by the beginning that names them."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        found = tokens.tokens()
    if json:
        moments = ("created_at", "expires_at", "revoked_at", "last_used_at")
        print_json(
            [
                {"token_id": one.token_id, "tenant": one.tenant, "scope": one.scope, "note": one.note}
                | {name: at.isoformat() if (at := getattr(one, name)) else None for name in moments}
                for one in found
            ]
        )
        return
    now = datetime.now(UTC)
    rows = [
        [
            (one.token_id, ""),
            (one.tenant, ""),
            (one.scope, ""),
            (_state(one.expires_at, one.revoked_at, now), ""),
            (one.last_used_at.strftime("%Y-%m-%d %H:%M") if one.last_used_at else "never", ""),
            (one.note, ""),
        ]
        for one in found
    ]
    console.out.lines(render.table(("token", "tenant", "scope", "state", "last used", "note"), rows))


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="as `list` shows it, or the token itself")],
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Refuse a token from now on, within seconds everywhere."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        tokens.revoke_token(token_id)
    console.out.print("it is refused within seconds")


@contextmanager
def book(settings: Settings) -> Iterator[TokenBook]:
    """Tenants and tokens of the settings' database. Raises SpantreeError."""
    with stored_data_of(settings, console.step) as url:
        try:
            opened = TokenBook(url)
        except psycopg.Error as error:
            raise refused(error) from error
        with opened as tokens:
            yield tokens


def _state(expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> str:
    if revoked_at is not None:
        return "revoked"
    if expires_at is None:
        return "good"
    return "out of date" if expires_at <= now else f"good until {expires_at:%Y-%m-%d}"
