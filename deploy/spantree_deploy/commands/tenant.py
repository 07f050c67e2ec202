"""`spantree tenant add|list|rename|limit|role|drop`: who shares this installation."""

from __future__ import annotations

from typing import Annotated

import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.commands.read import AsJson, print_json
from spantree_deploy.commands.token import book

app = typer.Typer(no_args_is_help=True, help="Who shares this installation; each sees its own executions only.")

Name = Annotated[str, typer.Argument(help="lower-case letters, digits, - and _")]
SpansPerSecond = Annotated[
    int | None,
    typer.Option(help="spans a second that one collector takes [default: any number]", min=1, show_default=False),
]
SpoolBytes = Annotated[
    int | None,
    typer.Option(help="bytes that may wait for PostgreSQL [default: all there is]", min=1, show_default=False),
]


@app.command()
def add(
    name: Name,
    spans_per_s_max: SpansPerSecond = None,
    spool_bytes_max: SpoolBytes = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Add a tenant; make tokens for it then."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        number = tokens.add_tenant(name, spans_per_s_max, spool_bytes_max)
    console.out.print(f"tenant {number} is {name}; spantree token create --tenant {name} --scope ingest")


@app.command("list")
def list_(
    json: AsJson = False,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List tenants in the order in which they were added."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        tenants = tokens.tenants()
    if json:
        print_json(
            [
                {
                    "tenant_id": one.tenant_id,
                    "name": one.name,
                    "spans_per_s_max": one.spans_per_s_max,
                    "spool_bytes_max": one.spool_bytes_max,
                    "created_at": one.created_at.isoformat(),
                    "tokens": one.tokens,
                }
                for one in tenants
            ]
        )
        return
    rows = [
        [
            (str(one.tenant_id), ""),
            (one.name, ""),
            (str(one.tokens), ""),
            (str(one.spans_per_s_max or "-"), ""),
            (str(one.spool_bytes_max or "-"), ""),
        ]
        for one in tenants
    ]
    console.out.lines(render.table(("id", "name", "tokens", "spans/s", "spool bytes"), rows))


@app.command()
def rename(
    name: Name,
    new_name: Annotated[str, typer.Argument(help="its name from now on")],
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Rename a tenant; its rows and tokens stay its own."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        tokens.rename_tenant(name, new_name)
    console.out.print(f"{name} is {new_name} now")


@app.command()
def limit(
    name: Name,
    spans_per_s_max: SpansPerSecond = None,
    spool_bytes_max: SpoolBytes = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Set what a tenant may send; a limit that is not given is lifted."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        tokens.limit_tenant(name, spans_per_s_max, spool_bytes_max)
    console.out.print(f"the limits of {name} hold within seconds")


@app.command()
def role(
    name: Name,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Make a role of PostgreSQL whose members see this tenant's rows only, in SQL of their own."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        made = tokens.make_role(name)
    console.out.print(f"members of the role {made} read the rows of {name}, in every table and view, and no others'")
    console.out.print("nobody logs in as it; let people in with SQL as an administrator of PostgreSQL:")
    console.out.print(f"""  CREATE ROLE somebody LOGIN PASSWORD '...'; GRANT "{made}" TO somebody;""")


@app.command()
def drop(
    name: Name,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Refuse a tenant's tokens from now on; what it has stored stays until retention takes it."""
    with book(opt.settings_of(config, set_, data_dir=data, database_url=database_url)) as tokens:
        tokens.drop_tenant(name)
    console.out.print(f"{name} is dropped: its tokens are refused within seconds")
