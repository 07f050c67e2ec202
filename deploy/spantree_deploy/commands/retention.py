"""`spantree retention`: drop what is older than is kept, now, or say what would go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.commands.read import AsJson, print_json
from spantree_deploy.database import stored_data_of
from spantree_exporter.errors import ConfigError
from spantree_exporter.own_audit_event import local_actor
from spantree_exporter.retention.policy import Policy, keep_rules, told
from spantree_exporter.retention.run import DuePlan, RetentionReport, drop_own_audit, plan, run


def retention(
    days: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="days that are kept [default: the setting]", show_default=False),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT:DAYS", help="failed:90, workflow=billing-*:365; may be repeated [default: the setting]"
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="write what goes there before [default: the setting]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    json: AsJson = False,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Drop days that are older than is kept, archived before where that is wanted; beside running collectors, too."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    policy = _policy(
        days or settings.retention_days, keep, settings.retention_keep, archive or settings.retention_archive_dir
    )
    with stored_data_of(settings, console.step) as url:
        if dry_run:
            _show_plan(plan(url, policy), policy, json)
            return
        report = run(url, policy, console.step, actor=local_actor())
        if settings.audit_days:
            drop_own_audit(url, settings.audit_days)
        _show_report(report, json)


def _policy(days: int, keep: list[str] | None, of_settings: str, archive: Path | None) -> Policy:
    if not days:
        raise ConfigError(["nothing says how long is kept: give --days, or set SPANTREE_RETENTION_DAYS"])
    try:
        rules = keep_rules(",".join(keep) if keep else of_settings)
    except ValueError as error:
        raise ConfigError([f"--keep or SPANTREE_RETENTION_KEEP: {error}"]) from None
    return Policy(days, rules, archive)


def _show_plan(days: list[DuePlan], policy: Policy, json: bool) -> None:
    if json:
        print_json(
            {
                "days": [
                    {
                        "day": one.day.isoformat(),
                        "unfinished": one.unfinished,
                        "older_than_days": one.age_days,
                        "bytes": one.bytes,
                        "executions": one.executions,
                        "kept_executions": one.kept,
                    }
                    for one in days
                ],
                "keep": told(policy.keep),
                "archive": None if policy.archive_dir is None else str(policy.archive_dir),
            }
        )
        return
    if not days:
        console.out.print(f"nothing goes: no day is older than {policy.days} days")
        return
    rows = [[(text, "") for text in _row(one)] for one in days]
    console.out.lines(render.table(("day", "what goes", "executions", "kept", "MiB"), rows))
    where = "nothing is archived before" if policy.archive_dir is None else f"archived before to {policy.archive_dir}"
    console.out.print(f"{len(days)} days; {where}; the figures of stats stay")


def _row(one: DuePlan) -> list[str]:
    if one.unfinished:
        return [one.day.isoformat(), "what an earlier run began with", "", "", ""]
    what = f"what is kept {one.age_days} days" if one.kept else "all of it"
    return [one.day.isoformat(), what, str(one.executions), str(one.kept), f"{one.bytes / 2**20:.1f}"]


def _show_report(report: RetentionReport, json: bool) -> None:
    counts: dict[str, Any] = {
        "dropped": [day.isoformat() for day in report.dropped],
        "thinned": [day.isoformat() for day in report.thinned],
        "sentinel_traces": report.sentinel_traces,
        "dead_letters": report.dead_letters,
        "failure_groups": report.failure_groups,
        "resources": report.resources,
    }
    if json:
        print_json({"busy": report.busy, **counts})
    elif report.busy:
        console.out.print("another process is at it just now: nothing was done")
    else:
        console.out.print(
            f"{len(report.dropped)} days dropped, {len(report.thinned)} thinned; {report.sentinel_traces} traces of "
            f"unbelievable times, {report.dead_letters} dead letters, {report.failure_groups} groups of failures and "
            f"{report.resources} resources deleted"
        )
