"""`spantree dead-letter`: looked at, tried again, dropped."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from tests.otlp_requests import request, span, trace_request
from tests.tables import query

from spantree_deploy import cli
from spantree_deploy.doctor.checks import dead_letter_finding
from spantree_exporter.otlp.decode import DeadLetter
from spantree_exporter.postgres.store import Store

RECEIVED_NS = 1_795_176_000 * 10**9


@pytest.fixture
def letters(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with four: one span without an id, the same seen again, a good body, one of a future encoding."""
    monkeypatch.setenv("SPANTREE_DATABASE_URL", migrated_url)
    bad = request(span(1, 1))
    bad.resource_spans[0].scope_spans[0].spans[0].trace_id = b"\x1b[31m"
    store = Store(migrated_url)
    for count in range(2):
        raw = bad.SerializeToString()
        store.write([], [DeadLetter("trace id \x1b[31m: wanted 16 bytes", raw, "protobuf", RECEIVED_NS + count)])
    store.write([], [DeadLetter("a fault", trace_request(2, 3).SerializeToString(), "protobuf", RECEIVED_NS, "body")])
    store.write([], [DeadLetter("a fault", b"<xml/>", "xml", RECEIVED_NS + 5, "body")])
    store.close()
    return migrated_url


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert cli.run(["dead-letter", *arguments]) == status
    return capsys.readouterr().out


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, str, int]]:
    answer = json.loads(told(capsys, "list", "--json", *arguments))
    return [(letter["digest"], letter["cause"], letter["count"]) for letter in answer["letters"]]


@pytest.mark.usefixtures("letters")
def test_list_shows_the_newest_first_and_each_cause(capsys: pytest.CaptureFixture[str]) -> None:
    assert [letter[1:] for letter in listed(capsys)] == [("body", 1), ("unreadable", 2), ("body", 1)]
    assert [letter[1:] for letter in listed(capsys, "--cause", "body", "--limit", "1")] == [("body", 1)]
    lines = told(capsys, "list").splitlines()
    assert lines[0].split() == ["digest", "cause", "count", "bytes", "last", "seen", "reason"]
    assert lines[2].split()[1:3] == ["unreadable", "2"]
    assert "·[31m: wanted 16 bytes" in lines[2]
    assert [line.partition(",")[0] for line in lines[-2:]] == ["body: 2 letters", "unreadable: 1 letters"]


@pytest.mark.usefixtures("letters")
def test_show_tells_one_and_gives_its_bytes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    digest = listed(capsys)[0][0]
    text = told(capsys, "show", digest[:7])
    assert (f"digest: {digest}" in text, "encoding: xml" in text, "<xml/>" in text) == (True, True, True)
    told(capsys, "show", digest, "--raw", str(tmp_path / "raw"))
    assert (tmp_path / "raw").read_bytes() == b"<xml/>"
    assert json.loads(told(capsys, "show", digest, "--json"))["last_received_at"] == "2026-11-20T12:00:00Z"
    for wrong in ("zz", "f" * 65, "0" * 64):
        told(capsys, "show", wrong, status=1)


def test_retry_writes_what_can_be_written_now_and_keeps_the_rest_with_its_reason(
    letters: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "retry", "--all", status=1) == "1 passed with 3 new rows, 2 are still dead\n"
    assert query(letters, "SELECT count(*) FROM spantree.span") == [(3,)]
    assert query(letters, "SELECT cause, reason FROM spantree.dead_letter ORDER BY last_received_ns") == [
        ("unreadable", "trace id 1b5b33316d: wanted 16 bytes that are not all zero, got 5"),
        ("body", "this build does not know the encoding xml; a newer one may"),
    ]


def test_drop_takes_what_is_named_and_nothing_by_accident(letters: str, capsys: pytest.CaptureFixture[str]) -> None:
    digests = [letter[0] for letter in listed(capsys)]
    told(capsys, "drop", status=2)
    told(capsys, "drop", digests[0], "--all", status=2)
    assert told(capsys, "drop", digests[1][:10]) == "1 dropped\n"
    assert told(capsys, "drop", "--cause", "body") == "2 dropped\n"
    assert told(capsys, "list") == "there is no dead letter\n"
    assert query(letters, "SELECT count(*) FROM spantree.dead_letter") == [(0,)]


def test_those_of_another_tenant_are_its_own(letters: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(letters) as connection:
        connection.execute("INSERT INTO spantree.tenant (tenant_id, name) VALUES (7, 'blue')")
    store = Store(letters)
    raw = trace_request(5, 2).SerializeToString()
    store.write([], [DeadLetter("a fault", raw, "protobuf", RECEIVED_NS, "body")], tenant_id=7)
    store.close()
    assert len(listed(capsys)) == 3
    (of_blue,) = listed(capsys, "--tenant", "blue")
    told(capsys, "show", of_blue[0], status=1)
    with psycopg.connect(letters) as connection:
        found = dead_letter_finding(connection)
    assert (found.found, found.remedy) == (
        "4; the newest: a fault",
        "see `spantree dead-letter list`; `dead-letter retry` and `drop` take them away, "
        "each with --tenant default or blue",
    )
    assert told(capsys, "retry", "--all", "--tenant", "blue") == "1 passed with 2 new rows, 0 are still dead\n"
    assert query(letters, "SELECT DISTINCT tenant_id FROM spantree.span") == [(7,)]
    assert (listed(capsys, "--tenant", "blue"), len(listed(capsys))) == ([], 3)
    told(capsys, "list", "--tenant", "green", status=1)
