"""The span of a process and how its end is told: each way to end, in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan
from tests.spantree_process import environment

import spantree_exporter
from spantree_exporter.run.main_module import program_of
from spantree_exporter.run.process_span import command_line, is_server, name_of

PACKAGE = Path(spantree_exporter.__file__).parent
PROGRAM = """
    import os, signal, socket, sys, time, multiprocessing
    from opentelemetry import trace

    tracer = trace.get_tracer("job")

    def work(name):
        with tracer.start_as_current_span(name):
            pass

    def own_handler(number, frame):
        work("own handler")
        sys.exit(0)

    def forked(parent_only):
        work("in the child")

    if __name__ == "__main__":
        assert (__spec__, sys.argv[0], sys.modules["__main__"].work) == (None, "job.py", work)
        how = sys.argv[1]
        with tracer.start_as_current_span("step"):
            if how == "exit": sys.exit(3)
            if how == "SystemExit": raise SystemExit("out of paper")
            if how == "exception": raise ValueError("no such day")
            if how == "handled":
                try: raise ValueError("no such day \\udce9")
                except ValueError: sys.exit(3)
            if how == "handled and said":
                try: raise ValueError("no such day")
                except ValueError: sys.exit("gave up")
            if how == "handled before":
                try: raise ValueError("no such day")
                except ValueError: pass
                sys.exit(3)
            if how == "handled and fine":
                try: raise ValueError("no such day")
                except ValueError: sys.exit(0)
            if how == "Typer":
                import typer
                app = typer.Typer()
                @app.command()
                def command():
                    try: raise ValueError("no such day")
                    except ValueError: raise typer.Exit(3)
                app([])
            if how == "Ctrl-C":
                try: os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt: sys.exit(130)
            if how == "_exit": os._exit(4)
            if how == "pickle":
                import pickle
                for function in (os._exit, os.execv, os.execve, signal.signal, signal.getsignal):
                    assert pickle.loads(pickle.dumps(function)) is function
            if how == "never ended":
                forgotten = tracer.start_span("agent")
                forgotten.set_status(trace.StatusCode.ERROR, "no answer")
                sys.exit(3)
            if how == "exec": os.execvp("true", ["true"])
            if how == "own handler": signal.signal(signal.SIGTERM, own_handler)
            if how in ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"): os.kill(os.getpid(), getattr(signal, how))
            if how == "own handler": os.kill(os.getpid(), signal.SIGTERM)
            if how == "SIGTERM twice":
                for number in range(1000):
                    work(f"work {number}")
                if os.fork() == 0:
                    for _ in range(2):
                        os.kill(os.getppid(), signal.SIGTERM)
                        time.sleep(0.02)
                    os._exit(0)
                time.sleep(30)
            if how == "fork of a connection":
                work("before the fork")
                trace.get_tracer_provider().force_flush()
                child = multiprocessing.get_context("fork").Process(target=forked, args=(1,))
                child.start()
                child.join()
                work("after the fork")
                trace.get_tracer_provider().force_flush()
            if how in ("fork", "spawn", "forkserver"):
                child = multiprocessing.get_context(how).Process(target=forked, args=(1,))
                child.start()
                child.join()
        if how in ("listen", "listen and fail"):
            socket.create_server(("127.0.0.1", 0))
            work("request")
            if how == "listen and fail": raise OSError("port taken")
"""


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


def ended(how: str, endpoint: str, directory: Path, **more: str) -> subprocess.CompletedProcess[str]:
    (directory / "job.py").write_text(textwrap.dedent(PROGRAM))
    return run_python(["job.py", how], endpoint, directory, **more)


def run_python(
    arguments: list[str], endpoint: str, directory: Path, stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    env = environment(
        PYTHONPATH=str(PACKAGE / "run_site"),
        SPANTREE_RUN=json.dumps({"package": str(PACKAGE), "append": []}),
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="*",
        NO_PROXY="127.0.0.1",
        **more,
    )
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def by_name(receiver: OtlpReceiver) -> dict[str, ReceivedSpan]:
    return {span.name: span for span in receiver.spans}


def told(span: ReceivedSpan) -> dict[str, object]:
    return {key: value for key, value in span.attributes.items() if key not in ("process.pid", "host.name")}


@pytest.mark.parametrize(
    ("how", "status", "message", "attributes"),
    [
        ("nothing", 0, "", {"process.exit.code": 0}),
        ("pickle", 0, "", {"process.exit.code": 0}),
        ("exit", 3, "exit code 3", {"process.exit.code": 3, "error.type": "exit code 3"}),
        ("SystemExit", 1, "out of paper", {"process.exit.code": 1, "error.type": "exit code 1"}),
        ("exception", 1, "ValueError: no such day", {"process.exit.code": 1, "error.type": "ValueError"}),
        ("handled", 3, "ValueError: no such day ?", {"process.exit.code": 3, "error.type": "ValueError"}),
        ("handled and said", 1, "gave up", {"process.exit.code": 1, "error.type": "ValueError"}),
        ("handled before", 3, "exit code 3", {"process.exit.code": 3, "error.type": "exit code 3"}),
        ("handled and fine", 0, "", {"process.exit.code": 0}),
        ("Typer", 3, "ValueError: no such day", {"process.exit.code": 3, "error.type": "ValueError"}),
        ("_exit", 4, "exit code 4", {"process.exit.code": 4, "error.type": "exit code 4"}),
        ("exec", 0, "", {"spantree.node.status_reason": "became true"}),
        ("own handler", 0, "", {"process.exit.code": 0}),
    ],
)
def test_a_script_is_one_span_that_says_how_it_ended(
    how: str, status: int, message: str, attributes: dict[str, object], receiver: OtlpReceiver, tmp_path: Path
) -> None:
    done = ended(how, receiver.endpoint, tmp_path)
    assert done.returncode == status, done.stderr
    spans = by_name(receiver)
    root = spans.pop("job")
    assert (root.parent_id, root.error, root.status_message) == ("", bool(status), message)
    assert told(root) == {"process.command_line": f"{sys.executable} job.py {how}", **attributes}
    assert "own handler" in spans or how != "own handler"
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    assert spans["step"].parent_id == root.span_id


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "message"),
    [
        (["wrong.py"], "", 1, "SyntaxError: invalid syntax (wrong.py, line 1)"),
        (["-m", "wrong"], "", 1, "SyntaxError: invalid syntax (wrong.py, line 1)"),
        (["missing.py"], "", 2, "FileNotFoundError: [Errno 2] No such file or directory: 'missing.py'"),
        (["-m", "missing"], "", 1, "python: No module named missing"),
        (["-m", "package.job"], "", 1, "RuntimeError: no licence"),
        (["package"], "", 1, "python: can't find '__main__' module in 'package'"),
        ([], "raise ValueError('of stdin')", 1, "ValueError: of stdin"),
        (["-"], "import sys; sys.exit(3)", 3, "exit code 3"),
        (["-"], "exit(3)", 3, "exit code 3"),
        (["-"], "print('fine')", 0, ""),
        (["-i"], "1 / 0\nprint('goes on')", 0, ""),
        (["-c", "exit('no paper')"], "", 1, "no paper"),
    ],
)
def test_a_program_that_never_begins_or_has_no_file_failed_too(
    arguments: list[str], stdin: str, status: int, message: str, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    (tmp_path / "wrong.py").write_text("def f(:")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise RuntimeError('no licence')")
    done = run_python(arguments, receiver.endpoint, tmp_path, stdin)
    assert (done.returncode, "main_module" in done.stderr) == (status, False)
    (root,) = receiver.spans
    said = root.status_message.replace(sys.executable, "python").replace(str(tmp_path / "package"), "package")
    assert (root.error, said) == (bool(status), message)
    assert root.attributes["process.exit.code"] == status


@pytest.mark.parametrize(("how", "step"), [("SIGTERM", "cancelled"), ("SIGHUP", "cancelled"), ("SIGINT", None)])
def test_a_script_that_is_told_to_stop_is_cancelled_and_dies_of_the_signal(
    how: str, step: str | None, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    done = ended(how, receiver.endpoint, tmp_path)
    assert done.returncode == -getattr(signal, how)
    spans = by_name(receiver)
    # SIGINT is an exception, which has ended the step before.
    assert spans["step"].attributes.get("spantree.node.status") == step
    assert told(spans["job"]) == {
        "process.command_line": f"{sys.executable} job.py {how}",
        "spantree.process.signal": how,
        "spantree.node.status": "cancelled",
        "spantree.node.status_reason": how,
        "spantree.execution.status": "cancelled",
        "spantree.execution.status_reason": how,
    }


def test_ctrl_c_that_a_script_handles_by_an_exit_is_cancelled_too(receiver: OtlpReceiver, tmp_path: Path) -> None:
    assert ended("Ctrl-C", receiver.endpoint, tmp_path).returncode == 130
    job = by_name(receiver)["job"]
    assert (job.error, told(job)["spantree.node.status"], told(job)["spantree.process.signal"]) == (
        False,
        "cancelled",
        "SIGINT",
    )


def test_what_failed_and_was_never_ended_is_not_told_as_cancelled(receiver: OtlpReceiver, tmp_path: Path) -> None:
    """OpenInference's smolagents leaves the span of an agent open that raised."""
    assert ended("never ended", receiver.endpoint, tmp_path).returncode == 3
    agent = by_name(receiver)["agent"]
    assert (agent.error, agent.status_message, told(agent)) == (True, "no answer", {})


def test_a_second_signal_does_not_end_what_the_first_has_begun(receiver: OtlpReceiver, tmp_path: Path) -> None:
    receiver.takes_s = 0.2
    assert ended("SIGTERM twice", receiver.endpoint, tmp_path).returncode == -signal.SIGTERM
    assert len(by_name(receiver)) == 1000 + len(["step", "job"])


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_the_spans_of_a_child_process_are_sent_before_it_ends(how: str, receiver: OtlpReceiver, tmp_path: Path) -> None:
    done = ended(how, receiver.endpoint, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(span.name for span in receiver.spans) == ["in the child", "job", "step"]


def test_a_forked_child_has_a_connection_of_its_own(receiver: OtlpReceiver, tmp_path: Path) -> None:
    assert ended("fork of a connection", receiver.endpoint, tmp_path).returncode == 0
    ports = receiver.ports
    assert ports["after the fork"] == ports["before the fork"] != ports["in the child"]


def test_what_listens_is_a_server_its_requests_are_no_children_of_its_start(
    receiver: OtlpReceiver, tmp_path: Path
) -> None:
    assert ended("listen", receiver.endpoint, tmp_path).returncode == 0
    spans = by_name(receiver)
    assert spans["job"].attributes["spantree.process.serves"] is True
    assert (spans["request"].parent_id, len(receiver.spans)) == ("", 3)


def test_a_server_that_fails_has_a_failed_span(receiver: OtlpReceiver, tmp_path: Path) -> None:
    done = ended("listen and fail", receiver.endpoint, tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, True)
    assert "main_module" not in done.stderr, "the traceback begins in the program"
    assert [span.status_message for span in receiver.spans if span.name == "job"] == ["", "OSError: port taken"]


def test_a_switch_turns_it_off(receiver: OtlpReceiver, tmp_path: Path) -> None:
    assert ended("exit", receiver.endpoint, tmp_path, SPANTREE_PROCESS_SPAN="0").returncode == 3
    assert [span.name for span in receiver.spans] == ["step"]


def test_with_the_collector_away_a_short_job_ends_soon(tmp_path: Path) -> None:
    env = {"SPANTREE_LIVE": "1", "SPANTREE_LIVE_DELAY_S": "0"}
    began_s = time.monotonic()
    assert ended("nothing", "http://127.0.0.1:1", tmp_path, OTEL_SDK_DISABLED="true").returncode == 0
    started_s = time.monotonic() - began_s
    began_s = time.monotonic()
    done = ended("nothing", "http://127.0.0.1:1", tmp_path, **env)
    assert done.returncode == 0
    # 2 s of waiting, the rest is for a loaded machine that starts the same program
    assert time.monotonic() - began_s < 3 * started_s + 2.5


@pytest.mark.parametrize(
    ("command", "how", "program"),
    [
        ("python job.py --day 1", "script", "job.py"),
        ("python -u -X dev -W error job.py -m x", "script", "job.py"),
        ("python -m shop.jobs.nightly -c x", "-m", "shop.jobs.nightly"),
        ("python -Im shop", "-m", "shop"),
        ("python -c pass", "-c", "pass"),
        ("python -", "", ""),
        ("python", "", ""),
    ],
)
def test_the_program_of_a_command_line(command: str, how: str, program: str) -> None:
    assert program_of(command.split()) == (how, program)


@pytest.mark.parametrize(
    ("command", "name", "serves"),
    [
        ("python /opt/bin/uvicorn shop:app", "uvicorn", True),
        ("python -m uvicorn shop:app", "uvicorn", True),
        ("python /opt/bin/celery -A shop worker", "celery", True),
        ("python /opt/bin/celery -A shop call add", "celery", False),
        ("python manage.py runserver", "manage runserver", True),
        ("python manage.py migrate", "manage migrate", False),
        ("python manage.py", "manage", False),
        ("python manage.py /var/orders.csv", "manage", False),
        ("python -m django check --deploy", "django check", False),
        ("python /opt/bin/flask --app shop import", "flask", False),
        ("python -m celery.__main__ -A shop beat", "celery", True),
        ("python -m http.server", "server", True),
        ("python jobs/nightly.py", "nightly", False),
    ],
)
def test_servers_are_known_by_their_command(command: str, name: str, serves: bool) -> None:
    assert (name_of(command.split()), is_server(command.split())) == (name, serves)


def test_a_command_line_is_kept_without_its_secrets() -> None:
    words = "python job.py --api-key abc --password=def --db postgres://u:ghi@h/d --auth-token -v --day 1"
    assert command_line(words.split()) == (
        "python job.py --api-key *** --password=*** --db postgres://u:***@h/d --auth-token -v --day 1"
    )
