"""The options that several commands have, and the settings out of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from spantree_deploy.settings import Settings, load
from spantree_exporter.errors import ConfigError

_WHERE = "Where the data is"
_LISTEN = "Where it listens"
_ALL = "All settings"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of settings [default: spantree.toml, where there is one]",
        rich_help_panel=_ALL,
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="any setting of docs/configuration.md, such as drain_s=10; may be repeated",
        rich_help_panel=_ALL,
        show_default=False,
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="another spantree's OTLP/HTTP [default: that of the one that runs, else http://127.0.0.1:4318]",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="a PostgreSQL 15 or newer of yours, instead of the embedded one",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
# A text: an empty one, as of a variable that a script has not set, is no path, while Path takes it for where one is.
DataDir = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="spool and embedded PostgreSQL [default: the platform's place for data]",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="address that every port is on [default: 127.0.0.1]",
        rich_help_panel=_LISTEN,
        show_default=False,
    ),
]
ApiPort = Annotated[
    str | None,
    typer.Option(
        "--api-port", metavar="PORT", help="the API [default: 8000]", rich_help_panel=_LISTEN, show_default=False
    ),
]
OtlpHttpPort = Annotated[
    str | None,
    typer.Option(
        "--otlp-http-port",
        metavar="PORT",
        help="OTLP over HTTP [default: 4318]",
        rich_help_panel=_LISTEN,
        show_default=False,
    ),
]
OtlpGrpcPort = Annotated[
    str | None,
    typer.Option(
        "--otlp-grpc-port",
        metavar="PORT",
        help="OTLP over gRPC [default: 4317]",
        rich_help_panel=_LISTEN,
        show_default=False,
    ),
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        metavar="URL",
        help="ask the API there instead of the database",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="PEM: the authority of a server's certificate, where it is not a public one",
        rich_help_panel=_WHERE,
        show_default=False,
    ),
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="whose rows")]
FirstDay = Annotated[
    str | None,
    typer.Option(
        metavar="DAY", help="first UTC day, as 2026-11-29, 7d or yesterday [default: all]", show_default=False
    ),
]
LastDay = Annotated[
    str | None,
    typer.Option(metavar="DAY", help="last UTC day, the same [default: all]", show_default=False),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="say more about what happens")]


def settings_of(config: Path | None, pairs: list[str] | None, **flags: object) -> Settings:
    """The settings of one command. Raises ConfigError."""
    named: dict[str, str] = {}
    faults: list[str] = []
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            # What follows the name may be a password.
            faults.append(
                f'--set is "{name.split()[0] if name.split() else name}": wanted NAME=VALUE, such as drain_s=10'
            )
        named[name.strip().replace("-", "_")] = value.strip()
    if faults:
        raise ConfigError(faults)
    return load(flags, os.environ, pairs=named, config=config)
