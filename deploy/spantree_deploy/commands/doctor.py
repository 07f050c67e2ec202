"""`spantree doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import os
from itertools import chain
from typing import Annotated

import typer

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.doctor.checks import diagnose, receiver
from spantree_deploy.doctor.finding import Finding
from spantree_deploy.doctor.service_checks import diagnose_service
from spantree_deploy.running import as_it_runs


def doctor(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- COMMAND...", help="a service, as it is started: what of it will be traced"),
    ] = None,
    endpoint: opt.Endpoint = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    host: opt.Host = None,
    api_port: opt.ApiPort = None,
    otlp_http_port: opt.OtlpHttpPort = None,
    otlp_grpc_port: opt.OtlpGrpcPort = None,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Say what is wrong and what to do about it; ends with status 1 when something is.

    With a command: which libraries of that service `spantree run` will trace, which not and why, and whether somebody
    takes its spans. The command is not started.
    """
    settings = opt.settings_of(
        config,
        set_,
        otlp_endpoint=endpoint,
        data_dir=data,
        database_url=database_url,
        host=host,
        api_port=api_port,
        otlp_http_port=otlp_http_port,
        otlp_grpc_port=otlp_grpc_port,
        api_url=api_url,
        ca=ca,
    )
    problems = 0
    settings = as_it_runs(settings)
    findings = chain(diagnose_service(command, os.environ), receiver(settings)) if command else diagnose(settings)
    for finding in findings:
        console.out.lines([(_line(finding), "         ")])
        problems += finding.remedy is not None
    if problems:
        console.out.print(f"\n{problems} {'problem' if problems == 1 else 'problems'}")
        raise typer.Exit(1)
    console.out.print("\nall is well")


def _line(finding: Finding) -> list[console.Piece]:
    sign = ("ok      ", "green") if finding.remedy is None else ("problem ", "bold red")
    line: list[console.Piece] = [sign, (f"{finding.subject}: {finding.found}", "")]
    if finding.remedy is not None:
        line.append((f" -> {finding.remedy}", "yellow"))
    return line
