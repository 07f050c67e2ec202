"""The commands that read, check and work on rows, as a person or a script calls them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psycopg
import pytest
from tests import factories
from tests.spantree_process import environment, spantree, up

from spantree_deploy import cli
from spantree_exporter.migrate import LATEST
from spantree_exporter.store import Store

COMMANDS = ["up", "demo", "run", "env", "tree", "failures", "explain", "doctor", "migrate", "collector", "api"]
COMMANDS += ["rebuild", "conform"]
# Commands that have commands of their own.
GROUPS = ["dead-letter"]


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
    assert told == [*COMMANDS, *GROUPS]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does_and_which_options_it_has(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: spantree {command} ")
    assert "--config" in told


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
        assert names == ["order-flow", "plan", "search", "charge", "answer"]
        assert "✘ failed  1.00 s  CardDeclined: card declined" in lines[4]
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
        heading, _, first, second = (line.split("  ") for line in done.stdout.rstrip().splitlines())
        columns = ["started (UTC)", "execution", "failed first, and why"]
        assert [cell.strip() for cell in heading if cell.strip()] == columns
        assert [cell.strip() for cell in first if cell.strip()][1:] == ["order-flow", "charge"]
        assert [cell.strip() for cell in second if cell.strip()] == [
            "◐ partial",
            trace_id,
            "CardDeclined: card declined",
        ]

    def test_says_so_when_nothing_failed(self, migrated_url: str, tmp_path: Path) -> None:
        done = spantree("failures", "--hours", "3", directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
        assert (done.returncode, done.stdout) == (0, "no execution failed in the last 3 h\n")

    def test_json_is_the_answer_of_the_api(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        done = spantree("failures", "--json", directory=tmp_path, env={"SPANTREE_DATABASE_URL": failed_run[0]})
        assert [failure["execution_id"] for failure in json.loads(done.stdout)["failures"]] == [failed_run[1]]


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

    def test_for_a_container_which_reaches_its_host_by_another_name(self, tmp_path: Path) -> None:
        assert self.lines(tmp_path, "--docker") == [
            "--add-host=host.docker.internal:host-gateway",
            *(f"--env={line.replace('127.0.0.1', 'host.docker.internal')}" for line in self.LINES),
        ]


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
                *("spantree", "hot", "database", "schema", "partitions", "projection", "dead"),
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

    def test_starts_nothing_and_makes_nothing(self, tmp_path: Path) -> None:
        done = spantree("doctor", "--data", tmp_path / "none", directory=tmp_path)
        assert done.returncode == 1
        assert f"the embedded PostgreSQL in {tmp_path}/none has not been made yet" in done.stdout
        assert not (tmp_path / "none").exists()


def test_a_newer_database_is_refused(migrated_url: str, tmp_path: Path) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute(
            "INSERT INTO spantree.migration (version, name, sha256) VALUES (9999, '9999_later.sql', repeat('0', 64))"
        )
    done = spantree("migrate", directory=tmp_path, env={"SPANTREE_DATABASE_URL": migrated_url})
    assert (done.returncode, done.stdout) == (1, "")
    assert f"is at version 9999, this build knows versions up to {LATEST}" in done.stderr


def test_environment_of_the_tests_does_not_reach_the_commands() -> None:
    assert [name for name in environment() if name.startswith(("SPANTREE_", "OTEL_"))] == []
