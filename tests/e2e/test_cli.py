"""The command line as a whole: its help, its settings, its sentences, which API it asks."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from tests import factories
from tests.spantree_process import environment, spantree, up

from spantree_deploy import cli
from spantree_exporter.postgres.migrate import LATEST
from spantree_exporter.postgres.store import Store

COMMANDS = list(cli.COMMANDS)


def _without_power_over_files() -> None:
    """Root that modes of files and directories hold for, as for any other account (prctl PR_CAPBSET_DROP)."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)


def test_help_names_every_command(tmp_path: Path) -> None:
    done = spantree("--help", directory=tmp_path)
    assert done.returncode == 0
    told = [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert told == [*COMMANDS, *cli.GROUPS]
    assert {"up", "demo", "run", "env", "list", "tree", "failures", "stuck", "diff", "stats", "doctor"} <= set(told)


def test_a_command_takes_little_time() -> None:
    # CPU time of the whole process; other tests run on the same machine, so half as much again is let pass.
    program = (
        "import time; from spantree_deploy.cli import run; run(['env']); "
        "import sys; sys.stderr.write(str(time.process_time()))"
    )
    taken_s = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        taken_s.append(float(done.stderr))
    assert min(taken_s) < 0.25, "a command takes too long: python -X importtime -m spantree_deploy env"


@pytest.mark.parametrize("module", ["cli", "client", "render", "commands.read", "commands.service", "settings"])
def test_the_commands_that_ask_need_no_server_no_driver_and_no_framework(module: str) -> None:
    program = f"import sys, spantree_deploy.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"psycopg", "fastapi", "uvicorn", "grpc", "httpx", "rich", "orjson", "pydantic_settings", "sqlite3"}
    assert set(done.stdout.split()) & heavy == set()


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    def completed(line: str) -> set[str]:
        env = {"_SPANTREE_COMPLETE": "complete_bash", "COMP_WORDS": line, "_TYPER_COMPLETE_ARGS": line}
        words = line.split(" ")
        done = spantree(directory=tmp_path, env=env | {"COMP_CWORD": str(len(words) - 1)})
        return set(done.stdout.split())

    assert completed("spantree st") == {"stuck", "stats"}
    assert {"--follow", "--json", "--api-url"} <= completed("spantree tree --")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does_and_which_options_it_has(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: spantree {command} ")
    # What a rate needs follows from no setting.
    assert ("--config" in told) == (command != "capacity")


def test_wrong_settings_and_options_end_with_status_2_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "spantree.toml").write_text("colour = 1\n")
    done = spantree("up", "--api-port", "x", "--set", "drain_s", directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'spantree: --set is "drain_s": wanted NAME=VALUE, such as drain_s=10\n'
    done = spantree("up", "--api-port", "x", directory=tmp_path, env={"SPANTREE_API_PROT": "1"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "spantree: SPANTREE_API_PROT is no setting; did you mean SPANTREE_API_PORT?",
        'spantree: --api-port is "x": wanted a whole number',
        f"spantree: colour in {tmp_path}/spantree.toml is no setting; docs/configuration.md lists them",
    ]
    unknown = spantree("upp", directory=tmp_path)
    assert unknown.returncode == 2
    assert "upp" in unknown.stderr


class TestWhichApi:
    def test_where_no_place_was_named_a_server_on_the_usual_port_is_asked(
        self, database_url: str, tmp_path: Path
    ) -> None:
        with up(tmp_path, env={"SPANTREE_DATABASE_URL": database_url}) as server:
            port = server.api_url.rpartition(":")[2]
            env = {"SPANTREE_API_PORT": port, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "none")}
            done = spantree("list", directory=tmp_path, env=env)
            assert (done.returncode, done.stdout, done.stderr) == (0, "no execution is like that\n", "")
            named = spantree("list", "--data", tmp_path / "elsewhere", directory=tmp_path, env=env)
            assert f"there is no data in {tmp_path}/elsewhere" in named.stderr

    def test_a_server_on_this_data_is_asked_without_being_named(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        options = ["--data", str(tmp_path / "data")]
        with up(tmp_path, env=env) as server:
            told = json.loads((tmp_path / "data" / "api.json").read_text())
            assert told["url"] == server.api_url
            assert database_url not in told["database"]
            # A marker that only the server's own answer could have: a port that nobody listens on any more.
            done = spantree("list", *options, directory=tmp_path, env=env)
            assert (done.returncode, done.stdout) == (0, "no execution is like that\n")
        # Its file is still there, its lock is not: the database itself is read.
        assert (tmp_path / "data" / "api.json").exists()
        done = spantree("list", *options, directory=tmp_path, env=env)
        assert (done.returncode, done.stdout) == (0, "no execution is like that\n")

    def test_the_port_of_otlp_is_recognised(self, database_url: str, tmp_path: Path) -> None:
        with up(tmp_path, env={"SPANTREE_DATABASE_URL": database_url}) as server:
            done = spantree("list", "--api-url", server.otlp_url, directory=tmp_path)
            assert done.returncode == 1
            assert done.stderr == (
                f"spantree: {server.otlp_url} is where spantree takes in spans (OTLP); "
                "its API is on another port, 8000 by default\n"
            )


class TestSentences:
    @pytest.mark.parametrize(
        ("command", "mode"),
        [("up", 0o500), ("demo", 0o500), ("migrate", 0), ("list", 0), ("doctor", 0), ("collector", 0o500), ("api", 0)],
    )
    def test_data_without_rights_is_one_sentence(self, command: str, mode: int, tmp_path: Path) -> None:
        locked = tmp_path / "locked"
        locked.mkdir()
        locked.chmod(mode)
        ports = ["--set", "api_port=0", "--set", "otlp_http_port=0", "--set", "otlp_grpc_port=0"]
        done = subprocess.run(
            [sys.executable, "-m", "spantree_deploy", command, "--data", locked / "data", *ports],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=_without_power_over_files if os.geteuid() == 0 else None,
        )
        locked.chmod(0o700)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert f"{locked}" in done.stderr + done.stdout

    @pytest.mark.parametrize("command", ["up", "list", "doctor", "rebuild"])
    def test_data_that_is_a_file_is_one_sentence(self, command: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        ports = ["--set", "api_port=0", "--set", "otlp_http_port=0", "--set", "otlp_grpc_port=0"]
        done = spantree(command, "--data", tmp_path / "file", *ports, directory=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert f"{tmp_path}/file" in done.stderr + done.stdout

    def test_an_id_that_is_none_says_what_one_is(self, migrated_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": migrated_url}
        done = spantree("tree", "12", directory=tmp_path, env=env)
        assert done.stderr == (
            "spantree: trace_id is '12': wanted a trace id: 32 hex digits in either case, or a UUID with dashes\n"
        )

    @pytest.mark.parametrize("command", ["tree", "analyze", "diff"])
    @pytest.mark.parametrize("word", ["", "../../healthz", "a/b"])
    def test_an_id_leads_to_no_other_path(self, command: str, word: str, migrated_url: str, tmp_path: Path) -> None:
        done = spantree(command, word, directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
        said = f"spantree: {word!r} is no trace id: wanted 32 hex digits\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)

    def test_a_place_that_a_script_left_empty_is_none(self, tmp_path: Path) -> None:
        done = spantree("up", "--data", "", directory=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", 'spantree: --data is "": wanted a value\n')
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("words", [["list", "--workflow", "\udcff"], ["tenant", "add", "\udcff"]])
    def test_bytes_that_are_no_text_are_one_sentence(self, words: list[str], migrated_url: str, tmp_path: Path) -> None:
        done = spantree(*words, directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"spantree: '.*\\udcff.*' is no UTF-8: wanted a text without such bytes\n", done.stderr)

    def test_a_file_of_ones_own_that_is_missing_is_no_matter_of_the_data(
        self, migrated_url: str, tmp_path: Path
    ) -> None:
        env = {"SPANTREE_DATABASE_URL": migrated_url}
        missing = f"spantree: {tmp_path}/none/rows.jsonl: No such file or directory; name another place\n"
        taken_in = spantree("import", tmp_path / "none" / "rows.jsonl", directory=tmp_path, env=env)
        assert (taken_in.returncode, taken_in.stderr) == (1, missing)
        written = spantree("export", "nodes", "--out", tmp_path / "none" / "rows.jsonl", directory=tmp_path, env=env)
        assert (written.returncode, written.stderr) == (1, missing)

    @pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["env"], ["--help"], ["export", "nodes"]])
    def test_a_full_disk_is_one_sentence(self, words: list[str], migrated_url: str, tmp_path: Path) -> None:
        store = Store(migrated_url)
        store.write(factories.workflow(start_ns=time.time_ns()))
        store.close()
        command = [sys.executable, "-m", "spantree_deploy", *words]
        env = environment(SPANTREE_DATABASE_URL=migrated_url)
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command, cwd=tmp_path, env=env, stdout=full, stderr=subprocess.PIPE, check=False)
        said = "spantree: what this found cannot be written where it is to go: No space left on device\n"
        assert (done.returncode, done.stderr.decode()) == (1, said)

    def test_a_device_that_takes_nothing_is_one_sentence(self, migrated_url: str, tmp_path: Path) -> None:
        store = Store(migrated_url)
        store.write(factories.workflow(start_ns=time.time_ns()))
        store.close()
        env = {"SPANTREE_DATABASE_URL": migrated_url}
        done = spantree("export", "spans", "--out", "/dev/full", directory=tmp_path, env=env)
        said = "spantree: what this found cannot be written where it is to go: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, said)
        done = spantree("export", "spans", "--out", "/dev/null", directory=tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, "• /dev/null has all of it\n")

    @pytest.mark.parametrize("word", ["list", "mcp", "doctor"])
    def test_what_is_closed_is_as_if_it_were_nowhere(self, word: str, migrated_url: str, tmp_path: Path) -> None:
        env = environment(SPANTREE_DATABASE_URL=migrated_url)
        statuses = {}
        for closed in ("< /dev/null > /dev/null 2>&1", ">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
            command = ["bash", "-c", f'"$0" "$@" {closed}', sys.executable, "-m", "spantree_deploy", word]
            done = subprocess.run(
                command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            assert b"Traceback" not in done.stderr
            statuses[closed] = done.returncode
        assert len(set(statuses.values())) == 1, statuses

    @pytest.mark.parametrize("host", ["\udcff", "a..b", "a" * 64, "."])
    def test_a_host_that_is_none_is_one_sentence(self, host: str, migrated_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": migrated_url}
        for words, status in (
            (["up", "--host", host], 2),
            (["api", "--host", host], 2),
            (["collector", "--host", host], 2),
            (["list", "--api-url", f"http://{host}"], 2),
            (["conform", "--grpc", f"{host}:4317"], 2),
            (["conform", "--http", f"http://{host}"], 2),
            (["doctor", "--set", f"otlp_endpoint=http://{host}"], 2),
        ):
            done = spantree(*words, directory=tmp_path, env=env)
            assert (done.returncode, done.stdout) == (status, ""), (words, done.stderr)
            assert re.fullmatch("(spantree: .*\n)+", done.stderr), words

    @pytest.mark.parametrize("proxy", ["http://[", "a:b:c", "http://x:99999", "http://a..b", "\udcff"])
    def test_a_proxy_that_is_none_is_one_sentence(self, proxy: str, tmp_path: Path) -> None:
        done = spantree("list", "--api-url", "http://example.org", directory=tmp_path, env={"HTTP_PROXY": proxy})
        said = "http_proxy is set to no address of a proxy: wanted one such as http://proxy.example:3128, or unset it"
        assert (done.returncode, done.stderr) == (1, f"spantree: {said}\n")

    @pytest.mark.parametrize("address", ["x:y:z", "[", "http://127.0.0.1:4317", "127.0.0.1", "a:b", ":4317", ""])
    def test_an_address_of_grpc_that_is_none_is_checked_for_nothing(self, address: str, tmp_path: Path) -> None:
        done = spantree("conform", "--grpc", address, directory=tmp_path)
        said = f'spantree: --grpc: "{address}" is no address of OTLP/gRPC; give one such as 127.0.0.1:4317\n'
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)

    def test_a_working_directory_that_was_removed_is_no_matter(self, migrated_url: str, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        script = 'rmdir "$PWD"; exec "$0" "$@"'
        for words, status, said in (
            (["list"], 0, ""),
            (["up", "--data", "x"], 1, "spantree: the working directory was removed: change to one that is there\n"),
        ):
            gone.mkdir(exist_ok=True)
            command = ["bash", "-c", script, sys.executable, "-m", "spantree_deploy", *words]
            env = environment(SPANTREE_DATABASE_URL=migrated_url) if status == 0 else environment()
            done = subprocess.run(command, cwd=gone, env=env, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (status, said)

    def test_a_password_is_never_echoed(self, tmp_path: Path) -> None:
        for url in (
            "mysql://ada:geheim@db/x",
            "postgresql://ada:geheim@127.0.0.1:1/x",
            "postgresql://ada:ge heim@127.0.0.1:1/x",
            "host=127.0.0.1 port=1 password=geheim",
        ):
            for command in (["list"], ["doctor"], ["migrate"]):
                done = spantree(*command, directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
                assert done.returncode in (1, 2), (url, command)
                assert "heim" not in done.stdout + done.stderr, (url, command)
        done = spantree("list", "--api-url", "http://ada:geheim@127.0.0.1:1", directory=tmp_path)
        assert "no API answers at http://ada:***@127.0.0.1:1 (Connection refused)" in done.stderr


class TestEnv:
    LINES = (
        "OTEL_SERVICE_NAME=shop",
        "OTEL_TRACES_EXPORTER=otlp",
        "OTEL_METRICS_EXPORTER=none",
        "OTEL_LOGS_EXPORTER=none",
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14318",
        "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
    )

    def lines(self, directory: Path, *options: str) -> list[str]:
        done = spantree(
            "env", "--service", "shop", *options, directory=directory, env={"SPANTREE_OTLP_HTTP_PORT": "14318"}
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def test_prints_the_official_variables(self, tmp_path: Path) -> None:
        assert self.lines(tmp_path) == list(self.LINES)

    def test_for_a_shell(self, tmp_path: Path) -> None:
        assert self.lines(tmp_path, "--shell") == [f"export {line}" for line in self.LINES]

    def test_for_a_container_which_reaches_what_listens_on_its_hosts_loopback(self, tmp_path: Path) -> None:
        assert self.lines(tmp_path, "--docker") == ["--network=host", *(f"--env={line}" for line in self.LINES)]


def test_a_newer_database_that_took_something_away_is_refused(migrated_url: str, tmp_path: Path) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "INSERT INTO spantree.migration (version, name, sha256) VALUES (9999, '9999_contract_node.sql', '')"
        )
    done = spantree("migrate", directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"is at version 9999, this build knows versions up to {LATEST}" in done.stderr


def test_environment_of_the_tests_does_not_reach_the_commands() -> None:
    names = [name for name in environment() if name.startswith(("SPANTREE_", "OTEL_"))]
    assert names == ["SPANTREE_API_JAEGER_PORT"]


def test_a_database_without_the_schema_is_told_by_one_sentence(database_url: str, tmp_path: Path) -> None:
    done = spantree("list", "--database-url", database_url, directory=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert done.stderr.startswith("spantree: PostgreSQL is not set up for spantree (42P01: ")
    assert done.stderr.endswith('run "spantree migrate"\n')
