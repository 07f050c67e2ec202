"""Services of other people, in an environment of their own that has never heard of spantree: by `spantree run` alone.

One environment for all of them, with the versions of constraints.txt where it names them; spantree is not installed in
it. Skipped where no package index can be reached.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan
from tests.spantree_process import environment
from tests.waiting import free_port, wait_until

ROOT = Path(__file__).parents[2]
PACKAGES = ("fastapi", "uvicorn", "sqlalchemy<2.1", "gunicorn", "celery", "uvicorn-worker", "django")
START_S, END_S = 60.0, 30.0

SHOP = """
    import time

    from fastapi import FastAPI
    from sqlalchemy import create_engine, text

    app = FastAPI()
    engine = create_engine("sqlite://")

    @app.get("/orders/{number}")
    def order(number: int) -> dict[str, int]:
        with engine.connect() as connection:
            return {"order": connection.execute(text("SELECT :n"), {"n": number}).scalar_one()}

    @app.get("/wait")
    def wait() -> None:
        time.sleep(60)
"""
TASKS = """
    import time

    import celery

    app = celery.Celery("shop")
    app.conf.update(
        broker_url="filesystem://",
        broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"},
        worker_hijack_root_logger=False,
    )

    @app.task(name="pack")
    def pack(order: int) -> None:
        pass

    @app.task(name="wait")
    def wait() -> None:
        time.sleep(60)
"""
JOB = """
    import os, pathlib, signal, sys, time

    pathlib.Path("started").touch()
    how = sys.argv[1]
    if how == "exit 1": sys.exit(1)
    if how == "exception": raise RuntimeError("no paper")
    if how == "work":
        print("done")
    else:
        time.sleep(60)
"""
# A project of Django in one file: `manage.py` says which settings, gunicorn what they are called.
PROJECT = """
    import os, sys

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "manage")

    ALLOWED_HOSTS, ROOT_URLCONF, SECRET_KEY, WSGI_APPLICATION = ["*"], "manage", "none", "manage.application"
    MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]

    def order(request, number):
        from django.http import JsonResponse

        return JsonResponse({"order": number})

    if __name__ == "__main__":
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    else:
        from django.core.wsgi import get_wsgi_application
        from django.urls import path

        urlpatterns = [path("orders/<int:number>", order)]

    def __getattr__(name):
        if name == "application":
            return get_wsgi_application()
        raise AttributeError(name)
"""


@pytest.fixture(scope="module")
def strangers_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with their packages."""
    venv = tmp_path_factory.mktemp("stranger") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    pip = [sys.executable, "-m", "pip", "--python", str(venv)]
    install = [*pip, "install", "-q", "--constraint", str(ROOT / "constraints.txt"), *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        if "No matching distribution" in done.stderr or "Failed to establish" in done.stderr:
            pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
        pytest.fail(done.stderr)
    return venv / "bin"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


class Service:
    """What `spantree run` has become."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    def ended(self, number: signal.Signals | None = None) -> int:
        """Its status after the signal, sent to it alone."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end:\n{self.output}") from None


@contextlib.contextmanager
def service(
    receiver: OtlpReceiver, strangers_bin: Path, directory: Path, *command: str, **more: str
) -> Iterator[Service]:
    for name, text in {"shop.py": SHOP, "tasks.py": TASKS, "job.py": JOB, "manage.py": PROJECT}.items():
        (directory / name).write_text(textwrap.dedent(text))
    for name in ("queue", "control"):
        (directory / name).mkdir(exist_ok=True)
    env = environment(XDG_CACHE_HOME=str(directory / "cache"), SPANTREE_LIVE_DELAY_S="0.1", **more)
    # Their environment is active, ours is called by its path.
    env["PATH"] = f"{strangers_bin}{os.pathsep}{os.environ['PATH']}"
    env["NO_PROXY"] = "127.0.0.1"
    run = [sys.executable, "-m", "spantree_deploy", "run", "--endpoint", receiver.endpoint, "--", *command]
    output = directory / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            run, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield Service(process, output)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def get(url: str) -> bytes | None:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
            return bytes(response.read())
    except (urllib.error.URLError, OSError):
        return None


def ended_spans(receiver: OtlpReceiver) -> list[ReceivedSpan]:
    return [span for span in list(receiver.spans) if not span.pending]


def summary(spans: list[ReceivedSpan]) -> list[tuple[str, str, bool]]:
    return sorted({(span.kind, span.name, span.parent_id == "") for span in spans if span.kind != "INTERNAL"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_uvicorn_keeps_its_way_to_stop_and_no_span_is_lost(
    number: signal.Signals, receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path
) -> None:
    port = free_port()
    with service(
        receiver, strangers_bin, tmp_path, "uvicorn", "shop:app", "--port", str(port), OTEL_BSP_SCHEDULE_DELAY="60000"
    ) as running:
        wait_until(lambda: get(f"http://127.0.0.1:{port}/orders/7") == b'{"order":7}', START_S, "it answers")
        # Without `spantree run` it ends so, too: in order, and then it dies of SIGTERM.
        assert running.ended(number) == (-signal.SIGTERM if number is signal.SIGTERM else 0)
        assert "Application shutdown complete" in running.output
        assert "not traced" not in running.output, "all its libraries have an instrumentation"
    assert summary(ended_spans(receiver)) == [
        ("CLIENT", "SELECT", False),
        ("CLIENT", "connect", False),
        ("SERVER", "GET /orders/{number}", True),
    ]
    assert {span.service for span in receiver.spans} == {"shop"}


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "celery"])
def test_what_is_killed_has_said_what_it_was_doing(
    server: str, receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path
) -> None:
    port = free_port()
    commands = {
        "uvicorn": ("uvicorn", "shop:app", "--port", str(port)),
        "gunicorn": (
            "gunicorn", "shop:app", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b", f"127.0.0.1:{port}",
        ),
        "celery": ("celery", "-A", "tasks", "worker", "--concurrency", "1"),
    }  # fmt: skip
    with service(receiver, strangers_bin, tmp_path, *commands[server]) as running:
        if server == "celery":
            send = "from tasks import wait; wait.delay()"
            subprocess.run([strangers_bin / "python", "-c", send], cwd=tmp_path, check=True, timeout=60)
        else:
            wait_until(lambda: get(f"http://127.0.0.1:{port}/orders/7") is not None, START_S, "it answers")
            hung = threading.Thread(target=get, args=(f"http://127.0.0.1:{port}/wait",), daemon=True)
            hung.start()
        name = "run/wait" if server == "celery" else "GET /wait"
        receiver.wait_for(
            lambda spans: any(s.pending and s.name == name for s in spans), f"the mark of {name}", START_S
        )
        os.killpg(running.process.pid, signal.SIGKILL)
        assert running.ended() == -signal.SIGKILL
    assert name not in {span.name for span in ended_spans(receiver)}


def test_a_server_that_cannot_start_has_failed(receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path) -> None:
    with service(receiver, strangers_bin, tmp_path, "uvicorn", "missing:app", "--port", str(free_port())) as running:
        status = running.ended()
    assert status > 0
    (span,) = ended_spans(receiver)
    assert (span.name, span.error, span.attributes["process.exit.code"]) == ("uvicorn", True, status)


def test_gunicorn_with_two_workers(receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path) -> None:
    url = f"127.0.0.1:{free_port()}"
    command = ("gunicorn", "shop:app", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b", url)
    with service(receiver, strangers_bin, tmp_path, *command, OTEL_BSP_SCHEDULE_DELAY="60000") as running:
        wait_until(lambda: get(f"http://{url}/orders/1") is not None, START_S, "it answers")
        for number in range(2, 20):
            assert get(f"http://{url}/orders/{number}") == f'{{"order":{number}}}'.encode()
        assert running.ended(signal.SIGTERM) == 0, running.output
    served = [span for span in ended_spans(receiver) if span.kind == "SERVER"]
    assert len(served) == 19
    assert {span.name for span in served} == {"GET /orders/{number}"}
    assert not [span for span in receiver.spans if span.name == "gunicorn"], "a server has no span of its own"


def test_django_has_the_settings_of_its_project(receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path) -> None:
    """Its instrumentation read them before there were any, and gave it empty ones to run with."""
    with service(receiver, strangers_bin, tmp_path, "python", "manage.py", "diffsettings") as running:
        assert running.ended() == 0, running.output
        assert "ROOT_URLCONF = 'manage'" in running.output
        assert "opentelemetry.instrumentation.django" in running.output
    assert [span.name for span in ended_spans(receiver)] == ["manage diffsettings"]
    url = f"127.0.0.1:{free_port()}"
    with service(receiver, strangers_bin, tmp_path, "gunicorn", "manage:application", "-b", url) as running:
        wait_until(lambda: get(f"http://{url}/orders/1") == b'{"order": 1}', START_S, "it answers")
        assert running.ended(signal.SIGTERM) == 0, running.output
    assert summary(ended_spans(receiver)) == [("SERVER", "GET orders/<int:number>", True)]


def test_celery_tasks_are_told_when_the_worker_stops(
    receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path
) -> None:
    command = ("celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO")
    with service(receiver, strangers_bin, tmp_path, *command, OTEL_BSP_SCHEDULE_DELAY="60000") as running:
        send = "from tasks import pack; [pack.delay(n) for n in (1, 2, 3)]"
        subprocess.run([strangers_bin / "python", "-c", send], cwd=tmp_path, check=True, timeout=60)
        wait_until(lambda: running.output.count("succeeded") >= 3, START_S, "three tasks are done")
        assert running.ended(signal.SIGTERM) == 0, running.output
    tasks = [span for span in ended_spans(receiver) if span.kind == "CONSUMER"]
    assert [span.name for span in tasks] == ["run/pack"] * 3
    assert {span.parent_id for span in tasks} == {""}


@pytest.mark.parametrize(("how", "status", "message"), [("work", 0, ""), ("exit 1", 1, "exit code 1")])
def test_a_script_that_is_a_job(
    how: str, status: int, message: str, receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path
) -> None:
    with service(receiver, strangers_bin, tmp_path, "python", "job.py", how) as running:
        assert running.ended() == status
    (span,) = ended_spans(receiver)
    assert (span.name, span.parent_id, span.error, span.status_message) == ("job", "", bool(status), message)
    assert span.attributes["process.exit.code"] == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_script_that_is_stopped(
    number: signal.Signals, receiver: OtlpReceiver, strangers_bin: Path, tmp_path: Path
) -> None:
    with service(receiver, strangers_bin, tmp_path, "python", "job.py", "wait") as running:
        receiver.wait_for(lambda spans: any(span.pending for span in spans), "the mark of the running job", START_S)
        assert [(span.name, span.pending) for span in receiver.spans] == [("job", True)]
        assert running.ended(number) == -number
    assert [span.attributes["spantree.process.signal"] for span in ended_spans(receiver)] == (
        [] if number is signal.SIGKILL else [number.name]
    )


def test_a_short_job_ends_soon_while_the_collector_is_away(strangers_bin: Path, tmp_path: Path) -> None:
    away = OtlpReceiver()
    away.__enter__()
    away.__exit__(None, None, None)
    with service(away, strangers_bin, tmp_path, "python", "job.py", "work") as running:
        wait_until((tmp_path / "started").exists, START_S, "the job has begun")
        began_s = time.monotonic()
        assert running.ended() == 0
    assert time.monotonic() - began_s < 3.0
