"""The command line: which commands there are, and how a fault becomes a sentence and an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Final

import typer

from spantree_deploy import console
from spantree_deploy.commands import conform, dead_letter, demo, doctor, explain, read, serve, service, store
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
app.command()(conform.conform)
app.add_typer(dead_letter.app, name="dead-letter")


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
    """Run one command; its exit status: 0, 1 for what went wrong, 2 for wrong settings or options, 130 after Ctrl-C."""
    try:
        app(args=arguments, prog_name="spantree")
    except ConfigError as error:
        for one in error.faults:
            console.fault(one)
        return 2
    except SpantreeError as error:
        console.fault(str(error))
        return 1
    except SystemExit as ended:
        # Typer's own end, wrong options included; only __main__ ends the process.
        return ended.code if isinstance(ended.code, int) else 0
    return 0
