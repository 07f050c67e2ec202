"""The commands that read rows and work on them, as a person or a script calls them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import factories
from tests.api_server import api_over
from tests.postgres import new_database
from tests.spantree_process import environment, spantree

from spantree_deploy.client import ApiClient, HttpTransport
from spantree_exporter.postgres.store import Store


@pytest.fixture(scope="module")
def failed_run(postgres_url: str, _migrated_template: str) -> Iterator[tuple[str, str]]:
    """(database, trace id) of a run of today whose third step failed, for tests that change none of its rows."""
    with new_database(postgres_url, template=_migrated_template) as url:
        minute_ago_ns = time.time_ns() - 60 * factories.SECOND_NS
        store = Store(url)
        store.write(factories.workflow(start_ns=minute_ago_ns, failing=True))
        store.write(factories.workflow(2, start_ns=minute_ago_ns))
        while store.project_due().traces:
            pass
        store.close()
        yield url, factories.trace_id(1).hex()


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

    @pytest.mark.parametrize(
        "command",
        [
            ["explain", "0" * 32],
            ["retention", "--days", "30", "--dry-run"],
            ["redact", "--dry-run"],
            ["rebuild"],
            ["roles"],
            ["audit", "own"],
            ["token", "create", "--scope", "read"],
            ["tenant", "add", "blue"],
            ["dead-letter", "list"],
        ],
        ids=" ".join,
    )
    def test_work_on_what_is_stored_makes_no_database_where_there_is_none(
        self, command: list[str], tmp_path: Path
    ) -> None:
        done = spantree(*command, "--data", tmp_path / "none", directory=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"spantree: there is no data in {tmp_path}/none: run `spantree up` first, or name the place with --data or "
            "SPANTREE_DATA_DIR, as it has it, or with --database-url\n"
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
        assert wrong.stderr.startswith("spantree: status is 'faild': wanted 'pending', ")

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

    def test_where_the_time_of_one_execution_went(self, failed_run: tuple[str, str], tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": failed_run[0]}
        lines = spantree("stats", "--execution", "last-failed", directory=tmp_path, env=env).stdout.splitlines()
        assert re.split(r"  +", lines[0])[:6] == ["step", "kind", "service", "count", "failed", "self"]
        assert {re.split(r"  +", line)[0] for line in lines} >= {"order-flow", "charge"}
        told = json.loads(spantree("stats", "--execution", failed_run[1], "--json", directory=tmp_path, env=env).stdout)
        assert told["execution_id"] == failed_run[1]
        refused = spantree("stats", "order-flow", "--execution", "last", directory=tmp_path, env=env)
        assert (refused.returncode, "--execution does not go with a workflow" in refused.stderr) == (1, True)


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
