"""`spantree conform` against our own receiver, which has to pass, and against receivers that do not."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collectors import running, settings

from spantree_collector.app import Addresses
from spantree_deploy import cli
from spantree_deploy.conform import Check, Outcome, Targets, all_checks, run_checks
from spantree_deploy.conform.targets import GrpcTarget, HttpTarget

BOTH = Targets(HttpTarget.at("http://127.0.0.1:4318"), GrpcTarget("127.0.0.1:4317"))


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with running(settings(tmp_path_factory.mktemp("data"))) as addresses:
        yield addresses


def targets(addresses: Addresses) -> Targets:
    return Targets(
        HttpTarget.at(addresses.http_url), GrpcTarget(f"{addresses.host}:{addresses.otlp_grpc_port}"), 70 * 2**20
    )


@pytest.mark.parametrize("check", all_checks(BOTH), ids=lambda check: f"{check.transport}: {check.what}")
def test_our_receiver_does_what_is_wanted(collector: Addresses, check: Check) -> None:
    [result] = run_checks([check], targets(collector))
    assert (result.outcome, result.found) == (Outcome.PASSED, "")


def test_each_check_is_told_from_the_others_and_names_a_section() -> None:
    checks = all_checks(BOTH)
    named = Counter((check.transport, check.what) for check in checks)
    assert (named.most_common(1)[0][1], len(checks) >= 120) == (1, True)
    assert {check.level for check in checks} == {"MUST", "SHOULD"}
    assert all(check.section for check in checks)


class _YesSayer(http.server.BaseHTTPRequestHandler):
    """Takes whatever comes, and answers 200 with nothing in text/plain."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *told: object) -> None:
        pass


@pytest.fixture
def yes_sayer() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _YesSayer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_receiver_that_says_yes_to_everything_is_found_out(
    yes_sayer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["conform", "--http", yes_sayer, "--json", "--oversize-mib", "1"]) == 1
    told = json.loads(capsys.readouterr().out)
    outcome = {check["check"]: (check["outcome"], check["found"]) for check in told["checks"]}
    assert outcome["protobuf: a span is answered 200"] == ("passed", "")
    assert outcome["protobuf is answered in protobuf"] == ("failed", 'the content-type of the answer is "text/plain"')
    assert outcome["protobuf: text is 400"] == ("failed", "answers 200")
    assert outcome["another content-type is 415 (RFC 9110)"] == ("note", "answers 200")
    assert outcome["405 says in Allow what may be sent (RFC 9110)"] == ("skipped", "GET is answered 501")
    counts = Counter(check["outcome"] for check in told["checks"])
    assert told["counts"] == {name: counts[name] for name in ("passed", "note", "failed", "skipped")}
    assert counts["failed"] > 60


def test_our_receiver_ends_with_0_and_wrong_options_with_2(
    collector: Addresses, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["conform", "--http", collector.http_url, "--strict", "--header", "x-a=b"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" passed, 0 note, 0 failed, 2 skipped")
    assert cli.run(["conform", "--http", "ftp://x"]) == 2
    assert cli.run(["conform", "--http", "http://x", "--header", "nonsense"]) == 2
