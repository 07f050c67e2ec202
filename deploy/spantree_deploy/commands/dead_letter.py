"""`spantree dead-letter list|show|retry|drop`: what was accepted and can be no row, and what to do with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.commands.read import AsJson, print_json
from spantree_deploy.database import stored_data_of
from spantree_deploy.dead_letters import DeadLetterBox, Letter, WholeLetter, box_of
from spantree_deploy.settings import Settings
from spantree_exporter.errors import ConfigError
from spantree_exporter.postgres.store import Store
from spantree_exporter.rules import facts_reader

app = typer.Typer(no_args_is_help=True, help="Spans that were accepted and can be no row: look, try again, drop.")


class Cause(StrEnum):
    """Why something is a dead letter (docs/collector.md)."""

    UNREADABLE = "unreadable"
    BODY = "body"
    REFUSED = "refused"


CauseOption = Annotated[Cause | None, typer.Option("--cause", help="[default: all]", show_default=False)]
Digests = Annotated[
    list[str] | None, typer.Argument(metavar="DIGEST...", help="as `list` shows them; the first digits are enough")
]
Everything = Annotated[bool, typer.Option("--all", help="all, or all of --cause")]
_SHOWN_DIGITS = 12
_SHOWN_BYTES = 2000


@app.command("list")
def list_(
    cause: CauseOption = None,
    limit: Annotated[int, typer.Option(help="how many at most", min=1, max=10_000)] = 50,
    json: AsJson = False,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List dead letters, newest first, and how many there are of each cause."""
    with _box(opt.settings_of(config, set_, data_dir=data, database_url=database_url), tenant) as box:
        letters, causes = box.listed(cause, limit), box.causes()
    if json:
        print_json(
            {
                "causes": [
                    {"cause": c.cause, "letters": c.letters, "count": c.count, "bytes": c.bytes} for c in causes
                ],
                "letters": [_as_json(letter) for letter in letters],
            }
        )
        return
    if not causes:
        console.out.print("there is no dead letter")
        return
    rows = [
        [
            (letter.digest.hex()[:_SHOWN_DIGITS], ""),
            (letter.cause, ""),
            (str(letter.count), ""),
            (str(letter.bytes), ""),
            (_moment(letter.last_received_ns), ""),
            (_printable(letter.reason), ""),
        ]
        for letter in letters
    ]
    console.out.lines(render.table(("digest", "cause", "count", "bytes", "last seen", "reason"), rows))
    for c in causes:
        console.out.print(f"{c.cause}: {c.letters} letters, seen {c.count} times, {c.bytes} bytes")


@app.command()
def show(
    digest: Annotated[str, typer.Argument(help="as `list` shows it; the first digits are enough")],
    raw: Annotated[
        Path | None, typer.Option("--raw", metavar="FILE", help="write what was sent to a file; - for standard output")
    ] = None,
    json: AsJson = False,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Show one dead letter: why it is one, and what was sent."""
    with _box(opt.settings_of(config, set_, data_dir=data, database_url=database_url), tenant) as box:
        letter = box.one(digest)
    if raw is not None:
        if str(raw) == "-":
            sys.stdout.buffer.write(letter.raw)
        else:
            raw.write_bytes(letter.raw)
            console.step(f"{len(letter.raw)} bytes ({letter.encoding}) are in {raw}")
        return
    if json:
        print_json(_as_json(letter))
        return
    for name, value in _as_json(letter).items():
        console.out.print(f"{name}: {_printable(str(value))}")
    sent = letter.raw[:_SHOWN_BYTES]
    console.out.print(_printable(sent.decode("utf-8", "replace")))
    if len(letter.raw) > len(sent):
        console.out.print(f"the first {len(sent)} bytes; --raw FILE has all")


@app.command()
def retry(
    digests: Digests = None,
    everything: Everything = False,
    cause: CauseOption = None,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Read and write dead letters again by this build; what passes is dropped, the rest stays with its reason."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    _check_choice(digests, everything, cause)
    reader = facts_reader(settings.rules)
    with _box(settings, tenant) as box:
        done = box.retry(
            _chosen(box, digests, cause),
            lambda url: Store(url, application_name="spantree dead-letter", read_facts=reader),
        )
    console.out.print(f"{done.passed} passed with {done.spans} new rows, {done.kept} are still dead")
    if done.kept:
        raise typer.Exit(1)


@app.command()
def drop(
    digests: Digests = None,
    everything: Everything = False,
    cause: CauseOption = None,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Delete dead letters for good."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    _check_choice(digests, everything, cause)
    with _box(settings, tenant) as box:
        if digests:
            letters = list(_chosen(box, digests, cause))
            for letter in letters:
                box.drop(letter)
            count = len(letters)
        else:
            count = box.drop_all(cause)
    console.out.print(f"{count} dropped")


@contextmanager
def _box(settings: Settings, tenant: str) -> Iterator[DeadLetterBox]:
    with stored_data_of(settings, console.step) as url, box_of(url, tenant) as box:
        yield box


def _check_choice(digests: list[str] | None, everything: bool, cause: str | None) -> None:
    if bool(digests) == (everything or cause is not None):
        raise ConfigError(["give the digests of dead letters, or --all, or --cause CAUSE"])


def _chosen(box: DeadLetterBox, digests: list[str] | None, cause: str | None) -> Iterator[WholeLetter]:
    return (box.one(digest) for digest in digests) if digests else box.all(cause)


def _as_json(letter: Letter) -> dict[str, Any]:
    return {
        "digest": letter.digest.hex(),
        "cause": letter.cause,
        "encoding": letter.encoding,
        "count": letter.count,
        "first_received_at": _moment(letter.received_ns),
        "last_received_at": _moment(letter.last_received_ns),
        "bytes": letter.bytes,
        "reason": letter.reason,
    }


def _moment(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() or character == "\n" else "·" for character in text)
