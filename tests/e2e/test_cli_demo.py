"""`spantree demo`: what `make demo` runs."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.spantree_process import environment, is_well, spantree, started, tree
from tests.waiting import wait_until

STEPS = ["starting collector and API", "starting the demo's services", "reading the executions over the API"]


def statuses(output: str) -> list[str]:
    """The status of each execution that was printed, in their order."""
    return re.findall(r"^\S.*  \S (\w+)(?:, taken up)?  .*  execution [0-9a-f]{32}", output, re.MULTILINE)


@pytest.mark.timeout(180)
def test_shows_each_execution_and_what_failed_first_and_ends_with_status_0(tmp_path: Path) -> None:
    done = spantree("demo", "--free-ports", "--data", tmp_path / "a folder", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    for step in STEPS:
        assert f"• {step}" in done.stderr
    assert statuses(done.stdout) == [
        *("completed", "partial", "failed", "failed", "waiting", "completed"),
        *("completed", "completed"),
    ]
    for shown in (
        r"charge card  task  ↻ retried  .*  attempt 1 of 3 \(at most 3\)  PaymentBusyError: processor busy",
        r"charge card  task  ✔ completed  .*  attempt 3 of 3 \(at most 3\)",
        r"gift wrap  step  ⤼ skipped",
        r"approve order  human  ⏸ waiting",
        r"ship express  step  ✔ completed  .*  ← conditional",
        r"think  llm  ✔ completed  .*  turn 1  pretend-1  \d+\+\d+ tokens",
        r"^failed first: charge card: PaymentBusyError: processor busy",
    ):
        assert re.search(shown, done.stdout, re.MULTILINE), f"{shown} is not in\n{done.stdout}"
    assert not (tmp_path / "a folder" / "pgdata" / "postmaster.pid").exists()
    assert not Path(tmp_path / "spantree-data").exists()
    assert "http://127.0.0.1" not in done.stdout, "no address of what has stopped"
    lines = done.stdout.splitlines()
    again = lines[next(at for at, line in enumerate(lines) if line.startswith("what ran is kept")) + 1]
    _, command, *words = shlex.split(again)
    page = re.search(r"and open (/executions/[0-9a-f]{32}) at the address", done.stdout)
    assert page is not None
    with started(command, *words, directory=tmp_path) as server:
        answer = httpx.get(f"{server.api_url}{page[1]}", trust_env=False)
        assert (answer.status_code, "PaymentBusyError" in answer.text) == (200, True)


@pytest.mark.timeout(180)
def test_keep_leaves_everything_running_until_ctrl_c(tmp_path: Path, database_url: str) -> None:
    env = {"SPANTREE_DATABASE_URL": database_url, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    with started("demo", "--keep", "--free-ports", directory=tmp_path, env=env) as server:
        shown = re.findall(r"  execution ([0-9a-f]{32})", server.output)
        assert len(shown) == 8
        answer = tree(server.api_url, shown[0])
        assert answer is not None
        assert answer["status"] == "completed"
        wait_until(partial(is_well, server.api_url), 60, "all is well")
        assert httpx.get(f"{server.api_url}/api/v1/health", trust_env=False).json()["dead_letters"] == 0
        assert server.told("data") == f"{tmp_path}/spantree/demo"
        # Every line of "what to try next" works as it stands; the shop takes orders, too.
        lines = server.lines[server.lines.index("what to try next, in another terminal:") + 1 :]
        lines = [line for line in lines if line.startswith("  ")]
        assert len(lines) >= 6
        for line in lines:
            done = subprocess.run(
                ["bash", "-c", f"set -o pipefail; {line}"],
                cwd=tmp_path,
                env=environment(NO_PROXY="127.0.0.1", CURL_HOME=str(tmp_path)),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            assert done.stdout.strip(), line
            assert not done.stdout.startswith('{"error"'), line

        def orders() -> int:
            answer = httpx.get(f"{server.api_url}/api/v1/executions", trust_env=False).json()
            return len(answer["executions"])

        wait_until(lambda: orders() == 9, 15, "the order that was placed by hand is shown")
        server.signal(signal.SIGINT)
        assert server.status() == 0
        assert server.lines[-1] == "• stopping: collector, API"


@pytest.mark.timeout(180)
def test_ctrl_c_in_the_middle_stops_everything(tmp_path: Path) -> None:
    with started(
        *("demo", "--free-ports", "--data", tmp_path / "data"), directory=tmp_path, ready="an order goes through"
    ) as server:
        server.signal(signal.SIGINT)
        assert server.status() == 130
        assert "Traceback" not in server.output
    assert not (tmp_path / "data" / "pgdata" / "postmaster.pid").exists()
