"""`spantree conform`: does an OTLP receiver do what OTLP 1.11 wants of it?"""

from __future__ import annotations

import importlib
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.commands.read import AsJson, print_json
from spantree_deploy.ports import refusal
from spantree_exporter.errors import ConfigError, SpantreeError

if TYPE_CHECKING:
    from spantree_deploy.conform import Result

_STYLES = {"passed": "green", "note": "yellow", "failed": "bold red", "skipped": "bright_black"}
_MIB = 2**20


def conform(
    http: Annotated[
        str | None, typer.Option("--http", metavar="URL", help="OTLP/HTTP, such as http://127.0.0.1:4318")
    ] = None,
    grpc: Annotated[
        str | None, typer.Option("--grpc", metavar="HOST:PORT", help="OTLP/gRPC without TLS, such as 127.0.0.1:4317")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=VALUE", help="sent with every request; may be repeated"),
    ] = None,
    oversize_mib: Annotated[
        int, typer.Option(help="what the receiver is not supposed to take, in MiB", min=1, max=1024)
    ] = 100,
    strict: Annotated[bool, typer.Option("--strict", help="a deviation from a SHOULD is a failure, too")] = False,
    show_passed: Annotated[bool, typer.Option("--all", help="list the checks that passed as well")] = False,
    json: AsJson = False,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Check a receiver of OTLP, any, against OTLP 1.11: some 190 checks, each naming its section.

    Without --http and --grpc: the collector of the settings. What is sent stays there, as service spantree-conform.
    """
    conformance = importlib.import_module("spantree_deploy.conform")
    targets_of = importlib.import_module("spantree_deploy.conform.targets")
    if http is None and grpc is None:
        settings = opt.settings_of(config, set_)
        http, grpc = settings.otlp_url, f"{settings.host}:{settings.otlp_grpc_port}"
    headers = _pairs(header or [])
    try:
        over_http = targets_of.HttpTarget.at(http, headers) if http else None
    except ValueError as error:
        raise ConfigError([f"--http: {error}"]) from error
    try:
        lower = {name.lower(): value for name, value in headers.items()}
        over_grpc = targets_of.GrpcTarget.at(grpc, lower) if grpc is not None else None
    except ValueError as error:
        raise ConfigError([f"--grpc: {error}"]) from error
    absent = [("--http", http, over_http and refusal(over_http.host, over_http.port))]
    if over_grpc is not None:
        host, _, port = over_grpc.address.rpartition(":")
        absent.append(("--grpc", grpc, refusal(host.strip("[]"), int(port))))
    if faults := [f"{name}: nothing answers at {place} ({reason})" for name, place, reason in absent if reason]:
        raise SpantreeError(f"{'; '.join(faults)}: start the receiver, or give the address of another")
    targets = targets_of.Targets(over_http, over_grpc, oversize_mib * _MIB)
    checks = conformance.all_checks(targets)
    results: list[Result] = []
    with console.err.status("checking") as status:
        for result in conformance.run_checks(checks, targets):
            results.append(result)
            status.update(f"{len(results)} of {len(checks)}")
    counts = Counter(result.outcome.value for result in results)
    if json:
        print_json({"counts": {name: counts[name] for name in _STYLES}, "checks": [_as_json(each) for each in results]})
    else:
        listed = [result for result in results if show_passed or result.outcome.value in ("failed", "note")]
        if listed:
            console.out.lines(_table(listed))
        console.out.print(", ".join(f"{counts[name]} {name}" for name in _STYLES))
    if counts["failed"] or (strict and counts["note"]):
        raise typer.Exit(1)


def _pairs(given: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise ConfigError([f'--header is "{each}": wanted NAME=VALUE, such as authorization=Bearer abc'])
        pairs[name.strip()] = value.strip()
    return pairs


def _as_json(result: Result) -> dict[str, str]:
    check = result.check
    return {
        "transport": check.transport,
        "section": check.section,
        "level": check.level,
        "check": check.what,
        "outcome": result.outcome.value,
        "found": result.found,
    }


def _table(results: list[Result]) -> list[render.Printed]:
    rows = [
        [
            (result.outcome.value, _STYLES[result.outcome.value]),
            (result.check.level, ""),
            (result.check.transport, ""),
            (result.check.what, ""),
            (" ".join(result.found.split()), ""),
            (result.check.section, ""),
        ]
        for result in results
    ]
    return render.table(("outcome", "level", "over", "check", "found", "section"), rows)
