"""The commands that read, check and work on rows, as a person or a script calls them."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psycopg
import pytest
from tests import factories
from tests.api_server import api_over
from tests.spantree_process import environment, spantree, up

from spantree_deploy import cli
from spantree_deploy.client import ApiClient, HttpTransport
from spantree_exporter.migrate import LATEST
from spantree_exporter.store import Store

COMMANDS = list(cli.COMMANDS)


def _without_power_over_files() -> None:
    """Root that modes of files and directories hold for, as for any other account (prctl PR_CAPBSET_DROP)."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)


@pytest.fixture
def failed_run(migrated_url: str) -> tuple[str, str]:
    """(database, trace id) of a run of today whose third step failed."""
    minute_ago_ns = time.time_ns() - 60 * factories.SECOND_NS
    store = Store(migrated_url)
    store.write(factories.workflow(start_ns=minute_ago_ns, failing=True))
    store.write(factories.workflow(2, start_ns=minute_ago_ns))
    while store.project_due().traces:
        pass
    store.close()
    return migrated_url, factories.trace_id(1).hex()


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


class TestTree:
    def test_shows_nodes_their_statuses_and_what_failed_first_and_why(
        self, failed_run: tuple[str, str], tmp_path: Path
    ) -> None:
        url, trace_id = failed_run
        done = spantree("tree", trace_id, directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
        assert (done.returncode, done.stderr) == (0, "")
        lines = [line.rstrip() for line in done.stdout.splitlines()]
        assert lines[0].startswith(f"order-flow  ◐ partial  6.00 s  execution {trace_id}")
        names = [line.lstrip("│├└─ ").split("  ")[0] for line in lines[1:-1]]
        assert names == ["plan", "search", "charge", "answer"]
        assert re.search(r"✘ failed  1.00 s  \+\d.\d\d s  CardDeclined: card declined", lines[3])
        assert lines[-1] == "failed first: charge: CardDeclined: card declined"

    def test_json_is_the_answer_of_the_api(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        url, trace_id = failed_run
        done = spantree("tree", trace_id.upper(), "--json", directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
        answer = json.loads(done.stdout)
        assert (answer["execution_id"], answer["status"]) == (trace_id, "partial")
        assert answer["tree"]["failed_nodes"] == ["charge"]

    @pytest.mark.parametrize(
        ("trace_id", "said"),
        [("0" * 31 + "9", "no execution 00000000000000000000000000000009"), ("xyz", "xyz")],
    )
    def test_an_id_that_is_unknown_or_none_is_said_in_one_sentence(
        self, trace_id: str, said: str, failed_run: tuple[str, str], tmp_path: Path
    ) -> None:
        done = spantree("tree", trace_id, directory=tmp_path, env={"SPANTREE_DATABASE_URL": failed_run[0]})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("spantree: ")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1

    def test_without_any_data_it_says_what_to_do(self, tmp_path: Path) -> None:
        done = spantree("tree", "0" * 32, "--data", tmp_path / "none", directory=tmp_path)
        assert done.returncode == 1
        assert done.stderr == (
            f"spantree: there is no data in {tmp_path}/none: run `spantree up` first, or name the place with --data, "
            "--database-url or --api-url\n"
        )
        assert not (tmp_path / "none").exists()

    def test_where_a_server_runs_it_says_where_a_browser_shows_it(
        self, failed_run: tuple[str, str], tmp_path: Path
    ) -> None:
        with api_over(failed_run[0], None) as api:
            base = str(api.base_url).rstrip("/")
            env = {"SPANTREE_API_URL": base}
            tree = spantree("tree", failed_run[1], directory=tmp_path, env=env)
            failures = spantree("failures", directory=tmp_path, env=env)
            told = spantree("tree", failed_run[1], "--json", directory=tmp_path, env=env)
        assert tree.stderr == f"• in a browser: {base}/executions/{failed_run[1]}\n"
        assert failures.stderr == f"• in a browser: {base}/failures\n"
        assert told.stderr == ""
        named = ApiClient(HttpTransport("http://ada:secret@h:8/under/"), "")
        assert named.page("/failures") == "http://h:8/under/failures"

    def test_an_api_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        done = spantree("tree", "0" * 32, "--api-url", "http://127.0.0.1:1", directory=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("spantree: no API answers at http://127.0.0.1:1 (")


class TestFailures:
    def test_lists_each_failed_run_with_what_failed_first_and_why(
        self, failed_run: tuple[str, str], tmp_path: Path
    ) -> None:
        url, trace_id = failed_run
        done = spantree("failures", directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
        assert (done.returncode, done.stderr) == (0, "")
        heading, failure = done.stdout.splitlines()
        assert re.split(r"  +", heading) == ["started (UTC)", "status", "duration", "execution", "name", "why"]
        assert re.split(r"  +", failure)[1:] == [
            "◐ partial",
            "6.00 s",
            trace_id,
            "order-flow",
            "charge: CardDeclined: card declined",
        ]

    def test_groups_them_by_cause(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        done = spantree("failures", "--group", directory=tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.split(r"  +", done.stdout.splitlines()[1])[0] == "1"
        told = json.loads(spantree("failures", "--group", "--json", directory=tmp_path, env=env).stdout)
        [group] = told["groups"]
        assert (group["count"], group["example"]["execution_id"]) == (1, failed_run[1])

    def test_says_so_when_nothing_failed(self, migrated_url: str, tmp_path: Path) -> None:
        done = spantree("failures", "--hours", "3", directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
        assert (done.returncode, done.stdout) == (0, "no execution failed in the last 3 h\n")

    def test_json_is_the_answer_of_the_api(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        done = spantree("failures", "--json", directory=tmp_path, env={"SPANTREE_DATABASE_URL": failed_run[0]})
        assert [failure["execution_id"] for failure in json.loads(done.stdout)["failures"]] == [failed_run[1]]


class TestAnalyze:
    def test_says_why_and_keeps_it(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        done = spantree("analyze", directory=tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0] == "cause         charge (step) failed with CardDeclined: card declined"
        told = json.loads(spantree("analyze", failed_run[1], "--json", directory=tmp_path, env=env).stdout)
        assert (told["execution_id"], told["by"]) == (failed_run[1], "rules")


class TestList:
    def test_has_one_line_for_each_execution(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        done = spantree("list", directory=tmp_path, env={"SPANTREE_DATABASE_URL": failed_run[0]})
        assert (done.returncode, done.stderr) == (0, "")
        ids = [re.split(r"  +", line)[3] for line in done.stdout.splitlines()[1:]]
        assert sorted(ids) == sorted(factories.trace_id(number).hex() for number in (1, 2))

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            (["--status", "partial"], [1]),
            (["--status", "failed", "--status", "partial"], [1]),
            (["--since", "1h", "--workflow", "order-flow"], [2, 1]),
            (["--until", "yesterday"], []),
            (["--min_duration_ms", "5000"], [2, 1]),
            (["--min-duration-ms", "7000"], []),
            (["--q", "card declined"], [1]),
            (["--service", "nobody"], []),
        ],
    )
    def test_takes_the_filters_of_the_api_by_their_names(
        self, options: list[str], found: list[int], failed_run: tuple[str, str], tmp_path: Path
    ) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        done = spantree("list", *options, "--json", directory=tmp_path, env=env)
        told = [one["execution_id"] for one in json.loads(done.stdout)["executions"]]
        assert sorted(told) == sorted(factories.trace_id(number).hex() for number in found)

    def test_says_where_it_goes_on(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        first = spantree("list", "--limit", "1", directory=tmp_path, env=env)
        cursor = first.stderr.strip().removeprefix("• the newest 1; more: --limit, or --cursor ")
        second = spantree("list", "--limit", "1", "--cursor", cursor, directory=tmp_path, env=env)
        assert second.stderr == ""
        ids = [re.split(r"  +", done.stdout.splitlines()[1])[3] for done in (first, second)]
        assert sorted(ids) == sorted(factories.trace_id(number).hex() for number in (1, 2))

    def test_says_what_is_no_filter_with_the_nearest_one(self, migrated_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": migrated_url}
        done = spantree("list", "--statsu", "failed", directory=tmp_path, env=env)
        assert done.returncode == 2
        assert "--status" in done.stderr
        wrong = spantree("list", "--status", "faild", directory=tmp_path, env=env)
        assert wrong.returncode == 1
        assert wrong.stderr.startswith("spantree: status is 'faild': Input should be 'pending', ")

    def test_a_reader_that_has_enough_ends_it_quietly(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "spantree_deploy", "list", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(SPANTREE_DATABASE_URL=failed_run[0]),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 1)
        process.stderr.close()


class TestDiff:
    def test_says_what_went_differently_and_where_first(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        good = factories.trace_id(2).hex()
        done = spantree("diff", failed_run[1], good, directory=tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert "~ order-flow > charge  status failed -> completed  error_type CardDeclined -> -" in lines
        assert lines[-1] == "first difference: order-flow > charge"
        told = json.loads(spantree("diff", failed_run[1], good, "--json", directory=tmp_path, env=env).stdout)
        assert (told["a"], told["b"], told["first_difference"]["path"]) == (failed_run[1], good, "order-flow > charge")


class TestStuckAndStats:
    def test_say_so_where_there_is_nothing(self, migrated_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": migrated_url}
        assert spantree("stuck", directory=tmp_path, env=env).stdout == "no execution is stuck\n"
        assert spantree("stats", directory=tmp_path, env=env).stdout == "nothing ran in the last 7 days\n"

    def test_figures_of_workflows_and_of_nodes(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        workflows = spantree("stats", directory=tmp_path, env=env).stdout.splitlines()
        assert re.split(r"  +", workflows[1])[:3] == ["order-flow", "2", "50.0 %"]
        nodes = spantree("stats", "order-flow", directory=tmp_path, env=env).stdout.splitlines()
        assert re.split(r"  +", nodes[1])[0] == "charge"
        told = json.loads(spantree("stats", "--nodes", "--json", directory=tmp_path, env=env).stdout)
        assert told["nodes"][0]["name"] == "charge"


class TestFollow:
    def test_prints_what_is_new_until_the_execution_has_ended(
        self, failed_run: tuple[str, str], tmp_path: Path
    ) -> None:
        done = spantree(
            "tree", failed_run[1], "--follow", directory=tmp_path, env={"SPANTREE_DATABASE_URL": failed_run[0]}
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "failed first: charge: CardDeclined: card declined"
        assert len(done.stdout.splitlines()) == 6

    def test_shows_what_changes_meanwhile(self, migrated_url: str, tmp_path: Path) -> None:
        store = Store(migrated_url)
        command = [sys.executable, "-m", "spantree_deploy", "tree", factories.trace_id(1).hex(), "-f"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(SPANTREE_DATABASE_URL=migrated_url),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert "waiting for it" in process.stderr.readline()
            store.write(factories.workflow(start_ns=time.time_ns() - 60 * factories.SECOND_NS))
            while store.project_due().traces:
                pass
            assert process.stdout.readline().startswith("order-flow  ✔ completed")
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
            store.close()


class TestWords:
    def test_the_newest_ones_need_no_id(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        told = json.loads(spantree("tree", "last-failed", "--json", directory=tmp_path, env=env).stdout)
        assert told["execution_id"] == failed_run[1]
        ids = spantree("list", "--ids", directory=tmp_path, env=env)
        assert sorted(ids.stdout.split()) == sorted(factories.trace_id(number).hex() for number in (1, 2))
        newest = json.loads(spantree("tree", "last", "--json", directory=tmp_path, env=env).stdout)
        assert newest["execution_id"] == ids.stdout.split()[0]

    def test_where_there_is_none_it_says_so(self, migrated_url: str, tmp_path: Path) -> None:
        done = spantree("tree", "last-failed", directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "spantree: there is no last failed execution: `spantree list` shows what there is\n"


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


class TestExplain:
    def test_says_which_convention_gave_each_fact_of_a_span(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        url, trace_id = failed_run
        command = ("explain", trace_id, "4".rjust(16, "0"), "--json")
        done = spantree(*command, directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
        assert (done.returncode, done.stderr) == (0, "")
        [span] = json.loads(done.stdout)
        assert (span["name"], span["span_id"], span["service"]) == ("charge", "0000000000000004", "shop")
        told = {one["convention"]: one["facts"] for one in span["conventions"]}
        assert told["own"]["name"] == "charge"
        assert told["errors"]["error_type"] == "CardDeclined"

    def test_shows_every_span_to_a_person(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        url, trace_id = failed_run
        done = spantree("explain", trace_id, directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
        assert done.returncode == 0
        assert [line.split("  ")[0] for line in done.stdout.splitlines() if not line.startswith(" ")] == [
            "order-flow",
            "plan",
            "search",
            "charge",
            "answer",
        ]
        assert "  errors: error_message = card declined" in done.stdout.splitlines()

    def test_a_span_that_is_not_stored_is_said(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        url, trace_id = failed_run
        done = spantree("explain", trace_id, "f" * 16, directory=tmp_path, env={"SPANTREE_DATABASE_URL": url})
        assert (done.returncode, done.stderr) == (1, f"spantree: no span {'f' * 16} of trace {trace_id} is stored\n")


def test_rebuild_reads_every_span_again(failed_run: tuple[str, str], tmp_path: Path) -> None:
    done = spantree("rebuild", directory=tmp_path, env={"SPANTREE_DATABASE_URL": failed_run[0]})
    assert done.returncode == 0
    assert done.stdout == "10 spans read, 0 of them say something else than before; 2 traces projected\n"


def test_redact_says_what_it_found_and_wants_rules(failed_run: tuple[str, str], tmp_path: Path) -> None:
    where = {"SPANTREE_DATABASE_URL": failed_run[0]}
    done = spantree("redact", "--dry-run", directory=tmp_path, env=where)
    assert (done.returncode, done.stdout) == (0, "10 spans and 0 log records read, no secret found\n")
    own = tmp_path / "redact.toml"
    own.write_text('[[key]]\nname = "shop"\nmatch = "service.name"\n')
    done = spantree("redact", "--dry-run", directory=tmp_path, env=where | {"SPANTREE_REDACT": str(own)})
    assert done.stdout.startswith("10 spans and 0 log records read; rows that would be redacted: ")
    assert "of resource (shop " in done.stdout
    done = spantree("redact", directory=tmp_path, env=where | {"SPANTREE_REDACT": "off"})
    assert done.returncode == 2
    assert "SPANTREE_REDACT is off" in done.stderr


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


class TestDoctor:
    def test_finds_nothing_wrong_with_what_runs(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        with up(tmp_path, env=env) as server:
            options = ["--data", str(tmp_path / "data"), *server.port_options]
            done = spantree("doctor", *options, directory=tmp_path, env=env)
            lines = done.stdout.splitlines()
            assert done.returncode == 0, done.stdout
            assert [line for line in lines[:-2] if not line.startswith("ok ")] == []
            assert [line.split()[1].rstrip(":") for line in lines[:-2]] == [
                *("spantree", "hot", "database", "schema", "partitions", "projection", "figures", "row-level", "dead"),
                *("collector", "collector", "writing", "projecting", "spool", "API"),
            ]
            assert lines[-1] == "all is well"

    def test_says_what_is_wrong_and_what_to_do(self, database_url: str, tmp_path: Path) -> None:
        options = ["--data", str(tmp_path), "--api-port", "1", "--otlp-http-port", "2"]
        done = spantree("doctor", *options, directory=tmp_path, env={"SPANTREE_DATABASE_URL": database_url})
        assert done.returncode == 1
        problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
        assert problems == [
            "problem schema: the schema spantree is not there -> run `spantree migrate`",
            "problem collector: nothing answers on http://127.0.0.1:2 -> run `spantree up` or `spantree collector`",
            "problem API: nothing answers on http://127.0.0.1:1 -> run `spantree up` or `spantree api`",
        ]
        assert done.stdout.endswith("\n3 problems\n")

    def test_names_refused_requests_by_their_likely_cause(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        with up(tmp_path, env=env) as server:
            httpx.post(f"{server.otlp_url}/v1/trace", content=b"", trust_env=False)
            with socket.create_connection(("127.0.0.1", int(server.otlp_url.rpartition(":")[2]))) as sender:
                sender.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # as gRPC begins
                assert b"400 Bad Request" in sender.recv(1000)
            done = spantree("doctor", "--data", tmp_path / "data", *server.port_options, directory=tmp_path, env=env)
        problems = [line.partition(" -> ")[0] for line in done.stdout.splitlines() if line.startswith("problem")]
        assert sorted(problems) == [
            "problem refused requests: 1 over http, no_such_path: most often an exporter with a wrong path, "
            "or one that sends metrics or logs",
            "problem refused requests: 1 over http, not_http: most often gRPC or TLS sent to the port of plain HTTP",
        ]

    def test_a_service_is_looked_into_without_being_started(self, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text("raise SystemExit('must not be started')")
        done = spantree("doctor", "--", "python", "job.py", directory=tmp_path, env={"OTEL_SDK_DISABLED": "true"})
        assert done.returncode == 1
        assert "problem OTEL_SDK_DISABLED: true: no span is made at all -> unset it" in done.stdout.splitlines()
        assert "ok      service: python is run by " in done.stdout

    def test_starts_nothing_and_makes_nothing(self, tmp_path: Path) -> None:
        done = spantree("doctor", "--data", tmp_path / "none", directory=tmp_path)
        assert done.returncode == 1
        assert f"the embedded PostgreSQL in {tmp_path}/none has not been made yet" in done.stdout
        assert not (tmp_path / "none").exists()


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
