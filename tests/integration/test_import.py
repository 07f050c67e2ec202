"""What was exported, archived or written by others is imported: once, however often, into the same rows."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from tests import factories
from tests.postgres import new_database
from tests.spantree_process import spantree
from tests.tables import tables

from spantree_deploy.commands.import_temporal import TemporalSync
from spantree_deploy.importing.temporal import Run
from spantree_exporter.otlp.decode import JSON, PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store

DAY_NS = factories.DAY_NS
TODAY_NS = time.time_ns() // DAY_NS * DAY_NS
TABLES = ("span", "execution", "node", "edge", "trace")
OLD_NS = TODAY_NS - 120 * DAY_NS


def request(*spans: str) -> bytes:
    return ('{"resourceSpans":[{"scopeSpans":[{"spans":[' + ",".join(spans) + "]}]}]}").encode()


def lossy(number: int, name: str, attribute: str = '{"stringValue":"x"}') -> str:
    return (
        f'{{"traceId":"{"cd" * 16}","spanId":"{number:016x}","name":"{name}","startTimeUnixNano":"{TODAY_NS}",'
        f'"endTimeUnixNano":"{TODAY_NS + 1}","attributes":[{{"key":"a","value":{attribute}}}]}}'
    )


DEEP = '{"arrayValue":{"values":[' * 300 + '{"intValue":1}' + "]}}" * 300
LOSSY = [
    request(lossy(1, "nul \\u0000"), lossy(2, "lone \\ud800")),
    request(lossy(3, "deep", DEEP)),
    request(lossy(4, "snake")).replace(b"resourceSpans", b"resource_spans").replace(b"snake", b"snake \\u0000"),
    request(lossy(5, "nan", '{"doubleValue":NaN}')),
]


@pytest.fixture(scope="module")
def urls(postgres_url: str, _migrated_template: str) -> Iterator[tuple[str, str]]:
    """A database with some runs, one of them lossy and one of two days, and an empty one."""
    with (
        new_database(postgres_url, template=_migrated_template) as full,
        new_database(postgres_url, template=_migrated_template) as empty,
    ):
        store = Store(full)
        for number in range(1, 40):
            store.write(factories.workflow(number, start_ns=TODAY_NS - number * 3600 * 10**9, failing=number % 3 == 0))
        store.write(
            [
                factories.span(1, trace=50, name="nul \x00", start_ns=TODAY_NS - 10**9, duration_ns=2 * 10**9),
                factories.span(
                    2,
                    trace=50,
                    parent=1,
                    start_ns=TODAY_NS + 1,
                    attributes={"zz": 1, "a": [{"$f": "NaN"}]},
                ),
            ]
        )
        for body in LOSSY:
            store.write(decode_request(body, JSON, TODAY_NS).spans)
        protobuf = TracesData()
        protobuf.resource_spans.add().scope_spans.add().spans.add(
            trace_id=b"\xcd" * 16, span_id=b"\xff" * 8, name="bad  ", start_time_unix_nano=TODAY_NS
        )
        not_utf8 = protobuf.SerializeToString().replace(b"bad  ", b"bad \xff")
        store.write(decode_request(not_utf8, PROTOBUF, TODAY_NS).spans)
        store.write(factories.workflow(60, start_ns=OLD_NS))
        while store.project_due().more or store.still_pending([factories.trace_id(50), b"\xcd" * 16]):
            pass
        store.close()
        yield full, empty


def run(*words: str, directory: Path, days_back: int = 20_000) -> subprocess.CompletedProcess[str]:
    return spantree(*words, directory=directory, env={"SPANTREE_PARTITION_DAYS_BACK": str(days_back)})


def test_an_export_is_read_back_into_the_same_rows_and_only_once(urls: tuple[str, str], tmp_path: Path) -> None:
    full, empty = urls
    file = tmp_path / "spans.jsonl"
    done = run(
        "export", "spans", "--format", "otlp", "--hidden", "-o", str(file), "--database-url", full, directory=tmp_path
    )
    assert done.returncode == 0, done.stderr
    # The day that is 120 days ago is outside of the window: nothing of it is stored until it is asked for.
    done = run("import", str(file), "--database-url", empty, directory=tmp_path, days_back=90)
    spans = len(rows_of(full, "span"))
    old = [row for row in rows_of(full, "span") if row["start_ns"] < OLD_NS + DAY_NS]
    assert done.returncode == 1, done.stderr
    assert done.stdout == f"{spans - len(old)} spans stored, 0 were there already, 0 parts could not be read\n"
    day = datetime.fromtimestamp(OLD_NS / 1e9, UTC).date()
    assert f"{len(old)} spans of 1 days ({day}) are not stored" in done.stderr
    done = run("import", str(file), "--days-back", "200", "--database-url", empty, directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(old)} spans stored, {spans - len(old)} were there already, 0 parts could not be read\n"
    for table in TABLES:
        assert without_resource(rows_of(empty, table)) == without_resource(rows_of(full, table)), table
    # Into the database that it came from: nothing changes.
    done = run("import", str(file), str(file), "--database-url", full, directory=tmp_path)
    assert done.stdout == f"0 spans stored, {2 * spans} were there already, 0 parts could not be read\n"


def rows_of(url: str, table: str) -> list[dict[str, Any]]:
    return tables(url, table)[table]


def without_resource(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The id of a resource depends on the order of its attributes, which jsonb does not keep."""
    return sorted(({**row, "resource_id": None} for row in rows), key=repr)


def test_what_is_bad_is_named_and_the_rest_is_stored(urls: tuple[str, str], tmp_path: Path) -> None:
    _, empty = urls
    file = tmp_path / "lines.jsonl"
    good = (
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"000000000000000a","name":"good",'
        b'"startTimeUnixNano":"%d","endTimeUnixNano":"%d"},{"traceId":"00","spanId":"01","name":"no id"}]}]}]}\n'
    ) % (b"ab" * 16, TODAY_NS, TODAY_NS + 1)
    # What ours tell beside OTLP, as nobody but a person would write it.
    other = good[:-2].replace(b"0a", b"0b").replace(b',{"traceId":"00","spanId":"01","name":"no id"}', b"")
    odd = other + b',"spantree":{"fingerprints":["none"],"received_ns":["1"]}}\n'
    file.write_bytes(odd + good + good[:100] + b"\n")
    done = run("import", str(file), "--database-url", empty, directory=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "2 spans stored, 0 were there already, 2 parts could not be read\n"
    assert f"{file}: line 2: trace id 00: wanted 16 bytes" in done.stderr
    assert f"{file}: line 3: it is no JSON" in done.stderr
    with psycopg.connect(empty) as connection:
        found = connection.execute("SELECT name FROM spantree.executions WHERE execution_id = %s", ["ab" * 16])
        assert found.fetchall() == [("good",)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "there are no spans and no log records in what was given"),
        (b'{"resourceSpans":[]}\n', "there are no spans and no log records in what was given"),
        ('{"resourceSpans":[{"scopeSpans":[{"scope":{"name":"é"}}]}]}'.encode("latin-1"), "there are no spans"),
        ('{"resourceSpans":[]}'.encode("utf-16-le"), "the file: it is UTF-16, wanted is UTF-8: "),
    ],
    ids=["nothing", "no spans", "Latin-1", "UTF-16"],
)
def test_a_file_without_anything_that_is_read_is_told(
    urls: tuple[str, str], tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    done = run("import", str(file), "--database-url", urls[1], directory=tmp_path)
    assert (done.returncode, done.stdout.split(",")[0]) == (1, "0 spans stored")
    assert sentence in done.stderr


def test_an_export_goes_on_where_its_file_ends(urls: tuple[str, str], tmp_path: Path) -> None:
    full, _ = urls
    whole, part = tmp_path / "whole.csv", tmp_path / "part.csv"
    words = ("export", "nodes", "--database-url", full)
    assert run(*words, "--out", str(whole), directory=tmp_path).returncode == 0
    content = whole.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    assert run(*words, "--out", str(part), "--resume", directory=tmp_path).returncode == 0
    assert part.read_bytes() == content
    assert content.startswith(b"execution_id,")


HISTORIES = Path(__file__).parents[1] / "histories"


class Server:
    """Temporal as far as a sync asks it: histories by name, as they are at a time."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.queries: list[str] = []

    async def runs(self, query: str) -> AsyncIterator[Run]:
        self.queries.append(query)
        for name in self.names:
            yield Run(orjson.loads((HISTORIES / f"{name}.json").read_bytes()), "w", f"r-{name}")


def test_a_sync_adds_what_happened_since_and_nothing_twice(
    postgres_url: str, _migrated_template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with new_database(postgres_url, template=_migrated_template) as url:
        store = Store(url)
        server = Server()
        sync = TemporalSync(store, "default", "WorkflowType = 'Order'", None)

        def found() -> list[tuple[str, str, int]]:
            with psycopg.connect(url) as connection:
                query = "SELECT run_id, status, total_count FROM spantree.execution ORDER BY run_id"
                return connection.execute(query).fetchall()

        server.names = ["running", "order"]
        assert sync.once([], [server]) == 0
        assert found() == [("order-all", "completed", 9), ("order-running", "running", 6)]
        server.names = ["running-later", "order", "ship"]
        assert sync.once([], [server]) == 0
        assert found() == [("order-all", "completed", 10), ("order-running", "cancelled", 6)]
        before = tables(url, *TABLES)
        assert sync.once([HISTORIES / "order.json", HISTORIES / "ship.json"], [server]) == 0
        assert tables(url, *TABLES) == before
        store.close()
    assert server.queries[0] == "WorkflowType = 'Order'"
    assert server.queries[1].startswith("(WorkflowType = 'Order') AND (ExecutionStatus = 'Running' OR CloseTime > '20")
    assert "0 spans stored" in capsys.readouterr().out.splitlines()[-1]


def test_a_file_of_histories_is_a_command_away(urls: tuple[str, str], tmp_path: Path) -> None:
    _, empty = urls
    (tmp_path / "bad.json").write_text('{"events": []}')
    lines = [(HISTORIES / f"{name}.json").read_text().strip() for name in ("failed", "timed-out")]
    (tmp_path / "two.jsonl").write_text("\n".join([*lines, "{", ""]))
    words = ("import", "temporal", "bad.json", "two.jsonl", "--database-url", empty)
    done = run(*words, directory=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "12 spans stored, 0 were there already, 2 parts could not be read\n"
    assert "bad.json: history 1: it is no history of a workflow: it has no events" in done.stderr
    assert "two.jsonl: line 3: it is no JSON" in done.stderr
    nowhere = run("import", "temporal", "nothing.json", "--database-url", empty, directory=tmp_path)
    assert (nowhere.returncode, nowhere.stderr) == (
        2,
        'spantree: "nothing.json" is no file that is there, and no server: wanted host:port\n',
    )


def test_what_is_imported_is_the_rows_of_the_tenant_that_is_named(
    postgres_url: str, _migrated_template: str, tmp_path: Path
) -> None:
    with new_database(postgres_url, template=_migrated_template) as url:
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO spantree.tenant (tenant_id, name) VALUES (7, 'blue')")
        (tmp_path / "spans.jsonl").write_bytes(request(lossy(1, "one")))
        (tmp_path / "order.json").write_bytes((HISTORIES / "order.json").read_bytes())
        done = run("import", "spans.jsonl", "--tenant", "blue", "--database-url", url, directory=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        done = run("import", "temporal", "order.json", "--tenant", "blue", "--database-url", url, directory=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert {row["tenant_id"] for table in TABLES for row in rows_of(url, table)} == {7}
        assert len(rows_of(url, "execution")) == 2
        nobody = run("import", "spans.jsonl", "--tenant", "green", "--database-url", url, directory=tmp_path)
        assert (nobody.returncode, nobody.stderr) == (
            1,
            'spantree: there is no tenant "green"; spantree tenant list shows them\n',
        )
