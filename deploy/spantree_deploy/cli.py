"""The command line: which commands there are, and how a fault becomes a sentence and an exit status.

Only the module of the command that is called is imported: the servers' ones take ten times as long as `spantree env`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from spantree_deploy import console
from spantree_exporter.errors import ConfigError, SpantreeError


@dataclass(frozen=True, slots=True)
class _Command:
    module: str
    function: str
    help: str
    context: Mapping[str, Any] = field(default_factory=dict)


def _dashed(name: str) -> str:
    # The API's parameters have underscores: both spellings of an option are the same one.
    return name.replace("_", "-")


_READ: Final = {"token_normalize_func": _dashed}
_RUN: Final = {"allow_interspersed_args": False}  # what follows the command is its own
COMMANDS: Final[Mapping[str, _Command]] = {
    "up": _Command("serve", "up", "Run everything by one command: PostgreSQL, collector and API, until Ctrl-C."),
    "demo": _Command("demo", "demo", "Start everything, and two services that do something to look at."),
    "run": _Command("service", "run", "Start a Python service, instrumented without a change to it.", _RUN),
    "env": _Command("service", "env", "Print the OTEL_* settings with which a service sends its spans here."),
    "list": _Command("read", "list_executions", "List executions, newest first, one line each.", _READ),
    "tree": _Command("read", "tree", "Print one execution: its nodes, what failed first and why.", _READ),
    "failures": _Command("read", "failures", "List failed and partial executions; --group by cause.", _READ),
    "stuck": _Command("read", "stuck", "List executions that are open for too long, and lost ones.", _READ),
    "diff": _Command("read", "diff", "Say what went differently in two executions.", _READ),
    "analyze": _Command("analyze", "analyze", "Say why an execution failed and what to do about it.", _READ),
    "stats": _Command("read", "stats", "Counts, success rates and durations of workflows or nodes.", _READ),
    "export": _Command("export", "export", "Write executions, nodes or spans to a file: JSON lines, CSV, OTLP.", _READ),
    "import": _Command("import_files", "import_files", "Read files of spans: OTLP, Jaeger's JSON, an archive."),
    "explain": _Command("explain", "explain", "Say which convention gave each fact of an execution's spans."),
    "doctor": _Command("doctor", "doctor", "Say what is wrong and what to do about it.", _RUN),
    "migrate": _Command("store", "migrate", "Bring the database to this build's schema."),
    "roles": _Command("store", "roles", "Make the roles that collector and API may connect as, with the least rights."),
    "collector": _Command("serve", "collector", "Run the collector alone: OTLP in, rows out."),
    "api": _Command("serve", "api", "Run the API alone."),
    "jaeger": _Command("serve", "jaeger", "Run what Jaeger and Grafana read from, and nothing else."),
    "capacity": _Command("capacity", "capacity", "What a rate of spans needs: collectors, PostgreSQL, disk, network."),
    "rebuild": _Command("store", "rebuild", "Compute executions, nodes and edges anew from the stored spans."),
    "redact": _Command("redact", "redact", "Take passwords, tokens and keys out of what is stored; --dry-run."),
    "retention": _Command("retention", "retention", "Drop what is older than is kept, archived before; --dry-run."),
    "mcp": _Command("mcp_server", "mcp", "Let a model ask: an MCP server of read-only tools, over stdio or HTTP."),
    "conform": _Command("conform", "conform", "Check a receiver of OTLP, any, against the specification."),
}
"""By name, in the order of --help; the functions' docstrings say more."""

# Modules whose `app` has commands of its own, by the name of the group.
GROUPS: Final = {
    "audit": ("audit", "Who asked what of spantree itself, and changed what: own."),
    "dead-letter": ("dead_letter", "What was accepted and can be no row: list, show, retry, drop."),
    "tenant": ("tenant", "Who shares this installation: add, list, rename, limit, drop."),
    "token": ("token", "Who may send and who may read: create, list, revoke."),
}

_OWN_INTERRUPT: Final = 130
_NO_TEXT: Final = "surrogates not allowed"
_SHOWN: Final = 80
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0, 1 for what went wrong, 2 for wrong settings or options, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    for stream in (sys.stdout, sys.stderr):
        # A log file or a terminal of another encoding gets a ? instead of a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        _application(words)(args=words, prog_name="spantree")
    except ConfigError as error:
        for one in error.faults:
            console.fault(one)
        return 2
    except SpantreeError as error:
        console.fault(str(error))
        return 1
    except UnicodeEncodeError as error:
        # Python gives bytes of an argument or a variable that are no UTF-8 as halves of pairs, which are no text.
        if error.reason != _NO_TEXT:
            raise
        console.fault(f"{ascii(error.object)[:_SHOWN]} is no UTF-8: wanted a text without such bytes")
        return 1
    except OSError as error:
        if error.filename is None and error.errno == errno.ENOENT and _is_nowhere():
            console.fault("the working directory was removed: change to one that is there")
            return 1
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        console.fault(_about_file(error))
        console.out.leave_unwritten()
        return 1
    except KeyboardInterrupt:
        return _OWN_INTERRUPT
    except SystemExit as ended:
        # Typer's own end, wrong options included; only __main__ ends the process.
        return ended.code if isinstance(ended.code, int) else 0
    finally:
        console.err.leave_unwritten()
    return 0


def _is_nowhere() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _about_file(error: OSError) -> str:
    if error.filename is None:
        return f"what this found cannot be written where it is to go: {error.strerror}"
    said = f"{error.filename}: {error.strerror}"
    match error:
        case PermissionError():
            return f"{said}; run this as the account that owns it, or name another place"
        case FileNotFoundError() | NotADirectoryError() | FileExistsError():
            return f"{said}; name another place"
        case _:
            return said


def _application(words: Sequence[str]) -> typer.Typer:
    """With the one command that `words` call; with all of them for --help, completion and what is no command."""
    app = typer.Typer(
        name="spantree",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Executions, nodes and edges out of any OpenTelemetry trace, in plain PostgreSQL.",
    )
    app.callback()(_main)
    # A shell that completes a line passes it on in this variable.
    words = os.environ.get("_TYPER_COMPLETE_ARGS", "").split()[1:] if "_SPANTREE_COMPLETE" in os.environ else words
    called = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        if tuple(words[:2]) == (name, "temporal"):
            app.add_typer(import_module("spantree_deploy.commands.import_temporal").app, name=name)
        elif name == called:
            app.command(name, context_settings=dict(command.context))(_function(command))
        elif called not in COMMANDS and called not in GROUPS:
            app.command(name, help=command.help)(_placeholder)
    for name, (module, text) in GROUPS.items():
        if name == called:
            app.add_typer(import_module(f"spantree_deploy.commands.{module}").app, name=name)
        elif called not in COMMANDS and called not in GROUPS:
            app.command(name, help=text)(_placeholder)
    if called in GROUPS or "temporal" in words[1:2]:
        # With one command alone Typer would leave its name out.
        app.command("help", hidden=True)(_placeholder)
    return app


def _function(command: _Command) -> Callable[..., None]:
    function: Callable[..., None] = getattr(
        import_module(f"spantree_deploy.commands.{command.module}"), command.function
    )
    return function


def _placeholder() -> None:
    """Listed by --help, never called."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.out.print(f"spantree {version('spantree')}")
        raise typer.Exit


def _main(
    show: Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version, help="print it")] = False,
) -> None:
    """Executions, nodes and edges out of any OpenTelemetry trace, in plain PostgreSQL."""
