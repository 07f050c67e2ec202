"""`spantree explain`: which convention said what of a span, for somebody whose tree is not what they expected."""

from __future__ import annotations

from typing import Annotated, Any, Final

import psycopg
import typer
from psycopg.rows import dict_row

from spantree_deploy import console
from spantree_deploy import options as opt
from spantree_deploy.client import api_of
from spantree_deploy.commands.read import BY_WORD, AsJson, Execution, id_of, print_json
from spantree_deploy.database import stored_data_of
from spantree_deploy.render import one_line
from spantree_deploy.sql import statements
from spantree_deploy.tenants import tenant_id_of
from spantree_exporter.errors import ConfigError, SpantreeError, classify
from spantree_exporter.facts import FactsReader
from spantree_exporter.ids import span_id_from_hex, span_id_to_hex, trace_id_from_hex
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.migrate import check_version
from spantree_exporter.rules import facts_reader
from spantree_exporter.span import Span
from spantree_exporter.stored_span import SpanRows

_SQL: Final = statements("explain")


def explain(
    execution: Execution,
    span: Annotated[str | None, typer.Argument(metavar="SPAN", help="one span id: 16 hex digits")] = None,
    json: AsJson = False,
    limit: Annotated[int, typer.Option(help="how many spans at most", min=1)] = 500,
    tenant: opt.Tenant = "default",
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Say which convention gave each fact of an execution's spans, by the rules of this build."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url)
    reader = facts_reader(settings.rules)
    if execution in BY_WORD:
        if tenant != "default":
            raise ConfigError([f"{execution} is of the tenant default: give the id of an execution of {tenant}"])
        with api_of(settings) as api:
            execution = id_of(api, execution)
    trace_id = trace_id_from_hex(execution)
    span_id = span_id_from_hex(span) if span is not None else None
    with stored_data_of(settings, console.step) as url:
        spans = _spans(url, tenant, trace_id, span_id, limit)
    if not spans:
        raise SpantreeError(f"no span {span or ''} of trace {trace_id.hex()} is stored".replace("  ", " "))
    if json:
        print_json([_told(one, reader) for one in spans])
        return
    for one in spans:
        _show(one, reader)
    if len(spans) == limit:
        console.out.print(f"the first {limit} spans; --limit shows more, SPAN shows one")


def _spans(database_url: str, tenant: str, trace_id: bytes, span_id: int | None, limit: int) -> list[Span]:
    rows = SpanRows()
    try:
        with (
            connect(database_url, "spantree explain") as connection,
            connection.cursor(binary=True, row_factory=dict_row) as cursor,
        ):
            check_version(connection)
            wanted = {
                "tenant_id": tenant_id_of(connection, tenant),
                "trace_id": trace_id.hex(),
                "span_id": span_id,
                "spans": limit,
            }
            found = cursor.execute(_SQL["days_of_trace"], wanted).fetchone()
            cursor.execute(_SQL["spans_of_trace"], wanted | {"days": found["days"] if found else []})
            return [rows.span(row) for row in cursor]
    except psycopg.Error as error:
        raise classify(error) from error


def _told(span: Span, reader: FactsReader) -> dict[str, Any]:
    return {
        "span_id": span_id_to_hex(span.span_id),
        "name": span.name,
        "scope": span.scope.name,
        "service": span.resource.service_name,
        "conventions": [{"convention": name, "facts": facts} for name, facts in reader.explain(span)],
    }


def _show(span: Span, reader: FactsReader) -> None:
    scope = f"  scope {span.scope.name}" if span.scope.name else ""
    head = f"  {span_id_to_hex(span.span_id)}  {span.resource.service_name}{scope}"
    lines: list[console.Line] = [[(one_line(span.name), "bold"), (head, "bright_black")]]
    told = reader.explain(span)
    for convention, facts in told:
        for key, value in facts.items():
            lines.append([("  ", ""), (f"{convention}: ", "cyan"), (f"{key} = {one_line(str(value))}", "")])
    if not told:
        lines.append([("  no convention: only its name, kind, status and parent speak", "bright_black")])
    console.out.lines((line, "    ") for line in lines)
