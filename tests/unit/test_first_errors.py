"""What somebody who types a command for the first time is told: a sentence with what to do, before anything is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from spantree_deploy.cli import run
from spantree_deploy.commands.service import unheard
from spantree_deploy.running import announced, refuse_twice
from spantree_deploy.settings import Settings
from spantree_exporter.errors import ConfigError

ASKED: list[str] = []


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ASKED.append(self.path)
        body = json.dumps({"executions": [], "next_cursor": None}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("words", [["help"], ["-h"], ["help", "list"], ["list", "-h"], ["token", "-h"]])
def test_help_is_found_where_people_look_for_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 0
    assert "Options:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["failures", "--state", "open"], "--state is of groups: give --group, too"),
        (
            ["mcp", "--port", "8812"],
            "--port is of --http: give that, too, or leave --port out for standard input and output",
        ),
        (
            ["conform", "--http", "http://127.0.0.1:1", "--grpc", "127.0.0.1:1"],
            "--http: nothing answers at http://127.0.0.1:1 (Connection refused); --grpc: nothing answers at "
            "127.0.0.1:1 (Connection refused): start the receiver, or give the address of another",
        ),
        (
            ["explain", "last", "--tenant", "blue"],
            "last is of the tenant default: give the id of an execution of blue",
        ),
        (
            ["rebuild", "--since", "2026-11-30", "--until", "2026-11-01"],
            "--until is 2026-11-01, before --since, 2026-11-30: wanted the last day at --until",
        ),
        (
            ["list", "--api-url", "127.0.0.1:8000"],
            '--api-url is "127.0.0.1:8000": wanted a URL such as http://127.0.0.1:8000',
        ),
    ],
)
def test_a_mistake_is_a_sentence(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) in (1, 2)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"spantree: {told}\n")


def test_a_cause_of_dead_letters_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dead-letter", "drop", "--cause", "refusd"]) == 2
    assert "'refusd' is not one of 'unreadable', 'body', 'refused'" in capsys.readouterr().err


def test_a_port_of_mcp_that_is_taken_is_a_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mcp")
    port = url.rpartition(":")[2]
    assert run(["mcp", "--http", "--port", port]) == 2
    assert capsys.readouterr().err == (
        f"spantree: port {port} on 127.0.0.1 is in use by another program; stop it, or choose another with --port\n"
    )


@pytest.mark.parametrize("path", ["", "/", "/api/v1", "/api/v1/", "/api/v1/executions", "/api/v1/docs"])
def test_any_address_of_the_api_is_its_address(path: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    ASKED.clear()
    assert run(["list", "--project", "shop", "--api-url", f"{url}{path}"]) == 0
    assert ASKED == ["/api/v1/executions?project=shop&limit=50"]
    assert capsys.readouterr().out == "no execution is like that\n"


def test_a_service_whose_spans_nobody_takes_is_told_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert list(unheard(url)) == []
    assert list(unheard("http://127.0.0.1:1")) == [
        "nothing takes spans at http://127.0.0.1:1 (Connection refused): the program runs without; start `spantree up` "
        "there, or name another place with --endpoint"
    ]
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert list(unheard("http://collector.example:4318")) == []


def test_a_second_server_on_the_same_data_is_told_of_the_first(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    refuse_twice(settings)
    with announced(settings, "http://127.0.0.1:8000"), pytest.raises(ConfigError) as raised:
        refuse_twice(settings)
    assert raised.value.faults == [
        f"spantree runs already on the data in {tmp_path}, its pages are at http://127.0.0.1:8000; to run another one "
        "give it another --data and other ports"
    ]
