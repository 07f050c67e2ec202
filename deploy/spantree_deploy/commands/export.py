"""`spantree export`: executions, nodes or spans into a file."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.client import ApiClient, NotAnswered, api_of
from spantree_deploy.commands.read import Duration, Hidden, Since, Text, Until
from spantree_deploy.export_file import ResumePoint, resume_point
from spantree_deploy.moments import moment
from spantree_exporter.errors import ConfigError

# Executions that one request asks for; what they hold is written as it comes.
_EXECUTIONS: Final = 100
_NEXT_AFTER: Final = "x-spantree-next-after"
# An API that restarts is waited for; refusals are not repeated.
_WAITS_S: Final = (1.0, 2.0, 5.0, 10.0)


class Rows(StrEnum):
    """What is exported."""

    EXECUTIONS = "executions"
    NODES = "nodes"
    SPANS = "spans"


class Form(StrEnum):
    """How it is written."""

    JSONL = "jsonl"
    CSV = "csv"
    OTLP = "otlp"


def export(
    rows: Annotated[Rows, typer.Argument(help="what is exported")],
    form: Annotated[
        Form | None,
        typer.Option("--format", help="otlp: spans, for `spantree import` [default: by the file's name]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="[default: standard output]", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where --out ends")] = False,
    status: Annotated[list[str] | None, typer.Option(help="may be repeated", show_default=False)] = None,
    workflow: Text = None,
    service: Annotated[str | None, typer.Option(help="one that took part", show_default=False)] = None,
    conversation_id: Text = None,
    user_id: Text = None,
    run_id: Text = None,
    kind: Text = None,
    project: Text = None,
    since: Since = None,
    until: Until = None,
    min_duration_ms: Duration = None,
    max_duration_ms: Duration = None,
    error_category: Text = None,
    q: Annotated[
        str | None, typer.Option("--q", help="words, or key:value of an attribute", show_default=False)
    ] = None,
    hidden: Hidden = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Write executions, or the nodes or spans of executions, newest first: all that the filters of `list` match."""
    now = datetime.now(UTC)
    filters = {
        "status": status or None,
        "workflow": workflow,
        "service": service,
        "conversation_id": conversation_id,
        "user_id": user_id,
        "run_id": run_id,
        "kind": kind,
        "project": project,
        "since": moment("--since", since, now),
        "until": moment("--until", until, now),
        "min_duration_ms": min_duration_ms,
        "max_duration_ms": max_duration_ms,
        "error_category": error_category,
        "q": q,
        "hidden": hidden or None,
    }
    form = form or (Form.CSV if out is not None and out.suffix == ".csv" else Form.JSONL)
    if form is Form.OTLP and rows is not Rows.SPANS:
        raise ConfigError([f"--format otlp is a form of spans, not of {rows}: wanted `spantree export spans`"])
    if resume and out is None:
        raise ConfigError(["--resume goes on with a file: name it with --out"])
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    with api_of(settings) as api:
        parameters = {**filters, "format": str(form), "limit": _EXECUTIONS}
        if out is None:
            if sys.stdout.isatty():
                # What spans say must not be done by the terminal; programs get it as it is.
                _show(api, rows, parameters, console.ForTerminal(sys.stdout))
            else:
                _write(api, rows, parameters, sys.stdout.buffer, ResumePoint(None, 0))
            return
        point = resume_point(out, form) if resume and out.exists() else ResumePoint(None, 0)
        with out.open("r+b" if point.bytes else "wb") as file:
            if point.bytes:
                file.truncate(point.bytes)
                file.seek(point.bytes)
            _write(api, rows, parameters, file, point)
            if _is_kept(file):
                os.fsync(file.fileno())
    console.step(f"{out} has all of it")


def _write(api: ApiClient, rows: Rows, parameters: Mapping[str, Any], file: BinaryIO, point: ResumePoint) -> None:
    after = point.after
    while True:
        headers = _copy(api, f"export/{rows}", {**parameters, "after": after}, file)
        file.flush()
        after = headers.get(_NEXT_AFTER)
        if after is None:
            return


def _show(api: ApiClient, rows: Rows, parameters: Mapping[str, Any], terminal: console.ForTerminal) -> None:
    after = None
    while True:
        headers = api.copy(f"export/{rows}", {**parameters, "after": after}, terminal.write)
        sys.stdout.flush()
        after = headers.get(_NEXT_AFTER)
        if after is None:
            return


def _is_kept(file: BinaryIO) -> bool:
    """Whether it is a file on a disk; a pipe or a device keeps nothing that could be cut off again."""
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _copy(api: ApiClient, path: str, parameters: Mapping[str, Any], file: BinaryIO) -> Mapping[str, str]:
    """One answer into the file; one that broke off is cut off again and asked for anew, where that can be."""
    start = file.tell() if _is_kept(file) else None
    for wait_s in _WAITS_S:
        try:
            return api.copy(path, parameters, file.write)
        except NotAnswered as error:
            if start is None or error.status not in (None, 503):
                raise
            console.step(f"{error}; tried again in {wait_s:g} s")
        file.seek(start)
        file.truncate(start)
        time.sleep(wait_s)
    return api.copy(path, parameters, file.write)
