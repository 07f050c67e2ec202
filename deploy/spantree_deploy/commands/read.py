"""`spantree tree` and `failures`: what happened, in a terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import orjson
import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.client import api_of

Json = Annotated[bool, typer.Option("--json", help="the API's answer as it is")]


def tree(
    execution: Annotated[str, typer.Argument(metavar="ID", help="the trace id: 32 hex digits, or a UUID")],
    json: Json = False,
    api_url: opt.ApiUrl = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Print one execution: its nodes, their statuses and durations, what failed first and why."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url)
    with api_of(settings) as api:
        answer = api.get(f"executions/{execution}/tree")
    if json:
        print_json(answer)
    else:
        print_tree(answer)


def failures(
    hours: Annotated[int, typer.Option(help="how far back", min=1, max=168)] = 24,
    limit: Annotated[int, typer.Option(help="how many at most", min=1, max=200)] = 50,
    json: Json = False,
    api_url: opt.ApiUrl = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List failed and partial executions, newest first, with the node that failed first and why."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url)
    with api_of(settings) as api:
        answer = api.get("failures", {"hours": hours, "limit": limit})
    if json:
        print_json(answer)
    elif not answer["failures"]:
        console.out.print(f"no execution failed in the last {hours} h")
    else:
        console.block(render.failures_table(answer))
        if answer["next_cursor"] is not None:
            console.out.print(f"the newest {limit}; --limit shows more")


def print_tree(answer: Any) -> None:
    """The tree, and which node failed first and why."""
    console.block(render.execution_tree(answer))
    failure = render.failure_text(answer)
    if failure is not None:
        console.out.print(failure)


def print_json(answer: Any) -> None:
    """JSON for another program, whatever the terminal."""
    sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
