"""`spantree run`: programs that know nothing of spantree, instrumented by the official machinery, seen as they run."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api_server import api_over, ok
from tests.postgres import new_database
from tests.spantree_process import Server, environment, spantree, tree, up
from tests.waiting import free_port, wait_until

# Shown within 3 s of the root's end is the acceptance check; the rest is for a loaded machine.
SHOWN_WITHIN_S = 15.0

JOB = """
    import pathlib, sys, time
    from opentelemetry import trace

    tracer = trace.get_tracer("nightly")
    with tracer.start_as_current_span("nightly job"):
        with tracer.start_as_current_span("long step"):
            deadline_s = time.monotonic() + 60
            while not pathlib.Path(sys.argv[1]).exists() and time.monotonic() < deadline_s:
                time.sleep(0.02)
"""
SERVICE = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/hello/{name}")
    def hello(name: str) -> dict[str, str]:
        return {"hello": name}
"""


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> Iterator[str]:
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[Server]:
    with up(tmp_path_factory.mktemp("up"), env={"SPANTREE_DATABASE_URL": database_url}) as running:
        yield running


def executions(server: Server, service: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{server.api_url}/api/v1/executions",
        params={"service": service, "hidden": "true"},
        trust_env=False,
        timeout=30,
    )
    found: list[dict[str, Any]] = answer.json()["executions"]
    return found


@contextlib.contextmanager
def running(
    server: Server, *command: str, directory: Path, traceback_expected: bool = False, **env: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "spantree_deploy", "run", "--endpoint", server.otlp_url, "--", *command],
        cwd=directory,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        said, _ = process.communicate(timeout=30)
        assert traceback_expected or "Traceback" not in said, said


def test_a_program_is_seen_while_it_runs_and_when_it_is_done(server: Server, tmp_path: Path) -> None:
    (tmp_path / "nightly.py").write_text(textwrap.dedent(JOB))
    done = tmp_path / "done"
    found: list[dict[str, Any]] = []

    def is_shown(status: str) -> bool:
        found[:] = executions(server, "nightly")
        return [one["status"] for one in found] == [status]

    with running(server, "python", "nightly.py", str(done), directory=tmp_path) as process:
        wait_until(lambda: is_shown("running"), SHOWN_WITHIN_S, "the job is shown as running before its span ends")
        during = tree(server.api_url, found[0]["execution_id"])
        done.touch()
        assert process.wait(30) == 0
    wait_until(lambda: is_shown("completed"), SHOWN_WITHIN_S, "the job is shown as completed")
    after = tree(server.api_url, found[0]["execution_id"])

    def nodes(answer: Any) -> list[tuple[str, str]]:
        return [(node["name"], node["status"]) for node in answer["tree"]["nodes"]]

    steps = ["nightly", "nightly job", "long step"]  # the process, and what it did
    assert nodes(during) == [(name, "running") for name in steps]
    assert nodes(after) == [(name, "completed") for name in steps]


@pytest.mark.parametrize(
    ("program", "status", "execution", "steps"),
    [
        ("sys.exit(0)", 0, "completed", ["completed"]),
        ("sys.exit(1)", 1, "failed", ["completed"]),
        ("raise ValueError('no paper')", 1, "failed", ["failed"]),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "cancelled", ["cancelled"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, "running", ["running"]),
    ],
)
def test_what_became_of_a_script_is_known(
    program: str, status: int, execution: str, steps: list[str], server: Server, database_url: str, tmp_path: Path
) -> None:
    name = f"job_{execution}_{abs(status)}_{len(program)}"
    (tmp_path / f"{name}.py").write_text(
        "import os, signal, sys, time\n"
        "from opentelemetry import trace\n"
        "with trace.get_tracer('job').start_as_current_span('step'):\n"
        f"    time.sleep({2 if execution == 'running' else 0})\n"
        f"    {program}\n"
    )
    with running(server, "python", f"{name}.py", directory=tmp_path, traceback_expected=True) as process:
        assert process.wait(30) == status
    found: list[dict[str, Any]] = []

    def is_shown() -> bool:
        found[:] = executions(server, name)
        return [one["status"] for one in found] == [execution]

    wait_until(is_shown, SHOWN_WITHIN_S, f"{name} is shown as {execution}")
    tree_of = tree(server.api_url, found[0]["execution_id"])
    assert tree_of is not None
    nodes = {node["name"]: node["status"] for node in tree_of["tree"]["nodes"]}  # type: ignore[index]
    assert (list(nodes), [nodes["step"]]) == ([name, "step"], steps)
    two_hours_later_ns = time.time_ns() + 7_200_000_000_000
    with api_over(database_url, two_hours_later_ns) as later:
        told = ok(later.get(f"/api/v1/executions/{found[0]['execution_id']}"))["status"]
    assert told == ("lost" if execution == "running" else execution)


def test_a_web_service_is_instrumented_without_a_line_of_its_own(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(SERVICE))
    port = free_port()
    url = f"http://127.0.0.1:{port}/hello/ada"

    def answers() -> bool:
        try:
            return httpx.get(url, trust_env=False).text == '{"hello":"ada"}'
        except httpx.TransportError:
            return False

    with running(server, "uvicorn", "shop:app", "--port", str(port), directory=tmp_path) as process:
        wait_until(answers, 30, "the service answers")
        wait_until(lambda: executions(server, "shop"), SHOWN_WITHIN_S, "its request is shown")
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert {one["entry"] for one in executions(server, "shop")} == {"GET /hello/{name}"}


def test_where_it_sends_is_ours_and_the_rest_stays_as_it_was(tmp_path: Path) -> None:
    program = "import json, os; print(json.dumps({k: v for k, v in os.environ.items()}))"
    theirs = {
        "OTEL_SERVICE_NAME": "theirs",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://vendor.example",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://vendor.example/v1/traces",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
        "OTEL_SDK_DISABLED": "true",  # nothing is to be sent from here
        "NO_PROXY": "intranet.example",
    }
    done = spantree("run", "--", "python", "-c", program, directory=tmp_path, env=theirs)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {name: value for name, value in found.items() if name.startswith(("OTEL_", "SPANTREE_", "NO_PROXY"))} == {
        "OTEL_SERVICE_NAME": "theirs",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": "false",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
        "SPANTREE_LIVE": "1",
        "SPANTREE_RUN": found["SPANTREE_RUN"],
        "SPANTREE_API_JAEGER_PORT": "0",  # the tests' own
        "NO_PROXY": "intranet.example,127.0.0.1,localhost,::1",
    }
    # Whether somebody takes spans on this machine is no matter here.
    told = [line for line in done.stderr.splitlines() if "not traced" not in line and "nothing takes spans" not in line]
    assert told == [
        f"• {name} is replaced: the spans go to http://127.0.0.1:4318"
        for name in (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        )
    ]


def test_the_commands_own_status_and_options_are_its_own(tmp_path: Path) -> None:
    program = "import sys; print(sys.argv[1:]); sys.exit(7)"
    done = spantree(
        *("run", "--", "python", "-c", program, "--config", "x", "--help"),
        directory=tmp_path,
        env={"OTEL_SDK_DISABLED": "true"},
    )
    assert (done.returncode, done.stdout) == (7, "['--config', 'x', '--help']\n")


def test_the_service_is_named_by_an_option(tmp_path: Path) -> None:
    program = "import os; print(os.environ['OTEL_SERVICE_NAME'])"
    env = {"OTEL_SDK_DISABLED": "true", "OTEL_SERVICE_NAME": "pear"}
    done = spantree("run", "--service", "lemon", "--", "python", "-c", program, directory=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (0, "lemon\n")


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_an_option_that_is_none_is_no_program(command: str, tmp_path: Path) -> None:
    done = spantree(command, "--nme", "lemon", "--", "python", "-V", directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such option: --nme" in done.stderr


def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = spantree("run", "--", "no-such-program", directory=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('spantree: "no-such-program" is no program that can be found on PATH')


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The python of an environment of its own, without any package."""
    python = tmp_path / "bare" / "python3"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    (python.parent / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    return python


def test_an_environment_without_packages_is_lent_those_that_instrument_it_and_no_others(
    bare: Path, tmp_path: Path
) -> None:
    script = tmp_path / "their-service"
    script.write_text(
        f"#!{bare}\n"
        "import importlib.util, sys\n"
        "from opentelemetry import trace\n"
        "print(sys.prefix, type(trace.get_tracer_provider()).__name__, importlib.util.find_spec('fastapi'))\n"
    )
    script.chmod(0o755)
    done = spantree("run", "--", str(script), directory=tmp_path, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert (done.returncode, done.stdout) == (0, f"{tmp_path} TracerProvider None\n"), done.stderr


def test_what_is_first_on_path_runs_the_command(bare: Path, tmp_path: Path) -> None:
    env = {"PATH": f"{bare.parent}:{environment()['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env["OTEL_SDK_DISABLED"] = "true"  # nothing is to be sent from here
    done = spantree("run", "--", "python3", "-c", "import sys; print(sys.prefix)", directory=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}\n"), done.stderr
