"""Commands find the API that runs on their data, and only that one."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from spantree_deploy.running import announced, as_it_runs, running_api
from spantree_deploy.settings import Settings

URL = "http://127.0.0.1:8123"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_it_is_told_for_as_long_as_it_runs(settings: Settings) -> None:
    assert running_api(settings) is None
    with announced(settings, URL):
        assert running_api(settings) == URL
        assert running_api(replace(settings, data_dir=settings.data_dir / "other")) is None
    assert running_api(settings) is None


def test_addresses_left_at_their_defaults_are_those_of_what_runs(settings: Settings) -> None:
    listening = replace(settings, host="::1", api_port=8123, otlp_http_port=14318, otlp_grpc_port=14317)
    assert as_it_runs(settings) == settings
    with announced(settings, URL, listening):
        assert as_it_runs(settings) == listening
        named = replace(settings, otlp_endpoint="http://elsewhere:4318", otlp_http_port=4000)
        assert as_it_runs(named) == replace(listening, otlp_endpoint="http://elsewhere:4318", otlp_http_port=4000)
        assert as_it_runs(replace(settings, database_url="postgresql://db/x")).otlp_http_port == 4318
    assert as_it_runs(settings) == settings
    with announced(settings, URL):  # an API alone
        assert as_it_runs(settings) == settings


def test_a_command_for_another_database_does_not_ask_it(settings: Settings) -> None:
    mine = replace(settings, database_url="postgresql://ada:secret@db/x")
    with announced(mine, URL):
        assert running_api(mine) == URL
        assert running_api(settings) is None
        assert running_api(replace(mine, database_url="postgresql://ada:secret@db/y")) is None
        assert "secret" not in (settings.data_dir / "api.json").read_text()


def test_a_second_server_takes_nothing_from_the_first(settings: Settings) -> None:
    with announced(settings, URL):
        with announced(settings, "http://127.0.0.1:9999"):
            assert running_api(settings) == URL
        assert running_api(settings) == URL


def test_a_command_that_looks_just_now_hinders_no_server(settings: Settings) -> None:
    settings.data_dir.mkdir()
    with (settings.data_dir / "api.json").open("w") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        ended = threading.Timer(0.05, fcntl.flock, (looked_at, fcntl.LOCK_UN))
        ended.start()
        with announced(settings, URL):
            assert running_api(settings) == URL
        ended.join()


def test_one_that_was_killed_is_not_asked(settings: Settings) -> None:
    program = (
        "import sys, time; from pathlib import Path; from spantree_deploy.running import announced; "
        "from spantree_deploy.settings import Settings\n"
        f"with announced(Settings(data_dir=Path({str(settings.data_dir)!r})), {URL!r}):\n"
        "    print('told', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "told\n"
        assert running_api(settings) == URL
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert running_api(settings) is None


def test_a_directory_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with announced(Settings(data_dir=tmp_path / "file" / "data"), URL):
        assert running_api(Settings(data_dir=tmp_path / "file" / "data")) is None
