"""The command line: which commands there are, and how a fault becomes a sentence and an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Final

import click
import typer

from spantree_deploy import console
from spantree_deploy.commands import demo, doctor, explain, read, serve, service, store
from spantree_exporter.errors import ConfigError, SpantreeError

app: Final = typer.Typer(
    name="spantree",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Executions, nodes and edges out of any OpenTelemetry trace, in plain PostgreSQL.",
)
app.command()(serve.up)
app.command()(demo.demo)
app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(service.run)
app.command()(service.env)
app.command()(read.tree)
app.command()(read.failures)
app.command()(explain.explain)
app.command()(doctor.doctor)
app.command()(store.migrate)
app.command()(serve.collector)
app.command()(serve.api)
app.command()(store.rebuild)

INTERRUPTED: Final = 130


def _show_version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"spantree {version('spantree')}")
        raise typer.Exit


@app.callback()
def _main(
    show: Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version, help="print it")] = False,
) -> None:
    """Executions, nodes and edges out of any OpenTelemetry trace, in plain PostgreSQL."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, 1 for what went wrong, 2 for wrong settings, 130 after Ctrl-C."""
    try:
        status = app(args=arguments, standalone_mode=False)
    except ConfigError as error:
        for one in error.faults:
            console.fault(one)
        return 2
    except SpantreeError as error:
        console.fault(str(error))
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        console.step("interrupted")
        return INTERRUPTED
    return status if isinstance(status, int) else 0
