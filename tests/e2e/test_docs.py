"""README and docs/ are right: every command and example of them is run, in the order of the page, as a reader would.

A new account's home, `spantree up` on free ports instead of the usual ones, and nothing that the page does not say.
What cannot be run here stands in ELSEWHERE, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml
from tests.spantree_process import Server, environment, started
from tests.waiting import free_port, wait_until

from spantree_deploy.settings import load
from spantree_exporter.redaction import redactor_of
from spantree_exporter.rules import facts_reader

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SAMPLE_ID = re.compile(r"953c2661aeeed9403a5b85c5f6a79948|4bf92f3577b34da6a3ce929d0e0e4736")

ELSEWHERE = {
    r"make demo": "tests/e2e/test_cli_demo.py",
    r"make (install|test|test-live|check|bench|chaos|wheel)\b": "installs, or is what runs this test",
    r"spantree import temporal ": "histories of its reader: integration/test_import.py",
    r"spantree import --hold 30 /var/lib/spantree": "an archive of its reader: integration/test_retention.py",
    r"spantree dead-letter (show|drop) 9f86d081": "one of its owner: integration/test_dead_letter.py",
    r"curl -X POST \S+/analyze": "a failed execution of its owner: integration/test_api_analysis.py",
    r"curl -X PATCH \S+/failures/groups/": "a group of its owner: integration/test_api_failure_groups.py",
    r"SPANTREE_TLS_CERTIFICATE=|spantree tree --api-url https:|eval .*--endpoint https:": "integration/test_api_tls.py",
    r"SPANTREE_API_|SPANTREE_TRUSTED_PROXIES=": "a provider, a proxy: integration/test_people.py and others",
    r"spantree token create ": "all others would want a token from then on: integration/test_authentication.py",
    r"curl -N ": "goes on for ever: integration/test_api_stream.py",
    r"\. \.venv/bin/activate": "PATH has it here",
    r"docker |kubectl ": "no container engine and no cluster: tests/unit/test_deploy_files.py reads the files",
    r"(otelcol-contrib|jaeger|deploy/(try|demo)-collector\.sh) ": "programs of others: try-collector.sh runs them",
    r"\.venv/bin/python -m tests\.jaeger_pages ": "a real Jaeger, its pages, and a browser",
    r"SPANTREE_DATABASE_URL=\S+db1,db2\S+ spantree collector": "two servers: integration/test_api_replica.py",
    r"SPANTREE_DATABASE_URL=\S+ spantree jaeger ": "a server of its own: test_jaeger_command.py",
    r"spantree up --otlp-grpc-port 14317": "its ports are those of the Collector's file: test_deploy_files.py",
    r"(useradd|install|cp|systemctl|/opt/spantree/bin/pip) |SPANTREE_DATABASE_URL=\S+ /opt/": "root's, and systemd",
    r"(pip|pipx|uv|poetry|python3? -m (pip|venv)|npm|npx|node|yarn|java|mvn|gradle|go|apt|apk|brew) ": "installs",
}
"""Beginnings of commands -> why they are not run here."""

QUERIES_ELSEWHERE = {
    r"ALTER ROLE spantree RENAME ": "of an older compose database: test_roles.py takes such roles down the road",
}
"""Beginnings of queries -> why they are not run here."""

OF_STATUS = "spantree list --ids --status {}"

FLOW = ("README.md", "security.md")
"""Pages whose commands depend on those before them; of the others each command stands for itself."""


@dataclass(frozen=True)
class Block:
    """An example: `language` is "console" for an indented one, else what follows the fence; `before` leads to it."""

    page: str
    line: int
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its command lines without comments; one that goes on in the next line is one."""
        text = re.sub(r"\\\n\s*", "", self.text)
        lines = [re.sub(r"\s+#\s.*$", "", line).strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


def blocks(path: Path) -> list[Block]:
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    before, at = "", 0
    while at < len(lines):
        line, start = lines[at], at
        if line.startswith("```"):
            at += 1
            while not lines[at].startswith("```"):
                at += 1
            found.append(Block(path.name, start + 1, line[3:].strip(), "\n".join(lines[start + 1 : at]) + "\n", before))
        elif line.startswith("    ") and not lines[at - 1].strip():
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            text = "\n".join(part[4:] for part in lines[start:at]).strip() + "\n"
            found.append(Block(path.name, start + 1, "console", text, before))
            at -= 1
        elif line.strip():
            before = line
        at += 1
    return found


def elsewhere(command: str) -> bool:
    return any(re.match(pattern, command) for pattern in ELSEWHERE)


def commands_of(page: Path) -> list[tuple[Block, str]]:
    return [(b, command) for b in blocks(page) if b.language in ("console", "sh", "bash") for command in b.commands]


@dataclass
class Reader:
    """Somebody who follows the pages, with an account of their own and `spantree up` in another terminal."""

    home: Path
    ports: dict[str, str]
    server: Server | None = None
    variables: dict[str, str] = field(default_factory=dict)
    others: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def own(self) -> dict[str, str]:
        """What is different from this process's environment."""
        return {
            "HOME": str(self.home),
            "XDG_DATA_HOME": "",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "SPANTREE_API_PORT": self.ports["8000"],
            "SPANTREE_OTLP_HTTP_PORT": self.ports["4318"],
            "SPANTREE_OTLP_GRPC_PORT": self.ports["4317"],
            "NO_PROXY": "127.0.0.1,localhost",
            **self.variables,
        }

    @property
    def env(self) -> dict[str, str]:
        return environment(**self.own)

    @property
    def database_url(self) -> str:
        assert self.server is not None
        return self.server.told("SQL").removeprefix("psql '").removesuffix("'")

    def here(self, text: str) -> str:
        """The page's text with the ports of this machine."""
        for usual, mine in self.ports.items():
            text = re.sub(rf"(?<=127\.0\.0\.1:){usual}\b|(?<=--port ){usual}\b", mine, text)
        return text

    def up(self) -> None:
        self.server = self.others.enter_context(started("up", directory=self.home, env=self.own))

    def serve(self, command: str) -> None:
        """Start a service that goes on running, and wait until it listens."""
        log = self.others.enter_context((self.home / "service.log").open("wb"))
        process = subprocess.Popen(
            ["bash", "-c", f"exec {self.here(command)}"], cwd=self.home, env=self.env, stdout=log, stderr=log
        )

        def end() -> None:
            process.terminate()
            process.wait(30)

        self.others.callback(end)

        def listens() -> bool:
            assert process.poll() is None, (self.home / "service.log").read_text()
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{self.ports['8080']}/nothing", trust_env=False, timeout=5)
                return True
            return False

        wait_until(listens, 60, f"{command} listens")

    def run(self, command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.home,
            env=self.env | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def waits_for(self, status: str) -> None:
        wait_until(lambda: bool(self.run(OF_STATUS.format(status)).stdout.split()), 30, f"one is shown as {status}")

    def succeeds(self, block: Block, command: str, env: Mapping[str, str] | None = None) -> str:
        done = self.run(command, env)
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
        assert not done.stdout.startswith('{"error"'), f"{block}: {command}\n{done.stdout}"
        return done.stdout

    def query(self, block: Block, text: str, trace_id: str) -> None:
        with psycopg.connect(self.database_url, autocommit=False) as connection:
            # Not kept: an example may make a role. One string of several statements, as psql reads it.
            connection.execute(SAMPLE_ID.sub(trace_id, text).encode())
            connection.rollback()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    home = tmp_path_factory.mktemp("home")
    one = Reader(home, {usual: str(free_port()) for usual in ("8000", "4317", "4318", "8080")})
    with one.others:
        yield one


@pytest.mark.timeout(300)
def test_the_readme_works_from_its_first_line_to_its_last(reader: Reader) -> None:
    trace_id = ""
    for block in blocks(ROOT / "README.md"):
        if block.language == "python":
            named = re.search(r"`(\w+\.py)`", block.before)
            assert named is not None, f"{block}: say in which file it is, before it"
            (reader.home / named[1]).write_text(block.text)
        elif block.language == "sql":
            reader.query(block, block.text, trace_id)
        if block.language != "console":
            continue
        for command in block.commands:
            if elsewhere(command):
                continue
            if command == "spantree up":
                reader.up()
            elif command.startswith("spantree run "):
                reader.serve(command)
            elif match := re.fullmatch(r"ID=\$\((.*)\)", command):
                trace_id = reader.succeeds(block, match[1]).strip()
                assert re.fullmatch(r"[0-9a-f]{32}", trace_id), f"{block}: {command} gave {trace_id!r}"
                reader.variables["ID"] = trace_id
            else:
                if command.startswith("spantree list"):
                    # What asks whether the service answers is completed, too.
                    reader.waits_for("completed")
                    reader.waits_for("failed")
                said = reader.succeeds(block, command)
                if command.startswith("spantree tree last-failed"):
                    assert "failed first: GET /orders/{number}" in said
                    assert "ZeroDivisionError" in said
                if command.startswith("spantree diff last-failed"):
                    assert "status failed -> completed" in said


@pytest.mark.timeout(300)
def test_every_command_of_the_other_pages_works(reader: Reader) -> None:
    if reader.server is None:
        reader.up()
    for page in PAGES:
        if page.name in FLOW:
            continue
        for block, command in commands_of(page):
            if elsewhere(command) or page.name in OWN_TESTS:
                continue
            program = command.split()[0]
            assert program in ("spantree", "curl", "psql"), (
                f"{block}: say in tests/e2e/test_docs.py how to run `{command}`, or in ELSEWHERE why not"
            )
            if program == "psql" and not _has("psql"):
                continue
            reader.succeeds(
                block, command, {"SPANTREE_DATABASE_URL": reader.database_url} if program == "psql" else None
            )


OWN_TESTS = {
    "instrument.md": "tests/unit/test_tracing_docs.py runs its Python; its services are those of tests/e2e",
    "polling.md": "test_the_jobs_of_polling_md_are_watched_and_told",
    "your-service.md": "tests/e2e has a stranger's service of each sort",
}
"""Pages that have tests of their own."""


@pytest.mark.timeout(300)
def test_every_query_of_the_other_pages_works(reader: Reader) -> None:
    if reader.server is None:
        reader.up()
    for page in PAGES:
        for block in blocks(page):
            if any(re.match(pattern, block.text) for pattern in QUERIES_ELSEWHERE):
                continue
            if block.language == "sql" and page.name not in FLOW:
                assert block.text.rstrip().endswith(";"), f"{block}: psql waits for a semicolon"
                try:
                    reader.query(block, block.text, "0" * 32)
                except psycopg.Error as error:
                    pytest.fail(f"{block}: {error}")


@pytest.mark.timeout(180)
def test_the_in_process_exporter_works_as_configuration_md_shows_it(reader: Reader) -> None:
    if reader.server is None:
        reader.up()
    (block,) = (one for one in blocks(ROOT / "docs" / "configuration.md") if one.language == "python")
    (reader.home / "nightly.py").write_text(block.text)
    reader.succeeds(block, "python nightly.py", {"SPANTREE_DATABASE_URL": reader.database_url})

    def is_shown() -> bool:
        return "nightly import" in reader.run("spantree list").stdout

    wait_until(is_shown, 30, "the execution is shown")


@pytest.mark.timeout(180)
def test_the_jobs_of_polling_md_are_watched_and_told(reader: Reader) -> None:
    if reader.server is None:
        reader.up()
    code, shell = (one for one in blocks(ROOT / "docs" / "polling.md") if one.language in ("python", "console"))
    (reader.home / "jobs.py").write_text(code.text)
    run, ask = shell.commands
    said = reader.succeeds(shell, run)
    assert "query-7 RUNNING -> SUCCESS" in said
    wait_until(lambda: "completed" in reader.succeeds(shell, ask), 30, "the job is told as completed")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_shown_can_be_read(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        match block.language:
            case "json":
                json.loads(block.text)
            case "yaml":
                assert yaml.safe_load(block.text)
            case "toml":
                tomllib.loads(block.text)
                (tmp_path / "file.toml").write_text(block.text)
                if page.name == "configuration.md":
                    load({}, {"HOME": "/home/ada"}, config=tmp_path / "file.toml")
                elif page.name == "conventions.md":
                    facts_reader(tmp_path / "file.toml")
                elif page.name == "security.md":
                    assert redactor_of(str(tmp_path / "file.toml"), "k" * 16)
            case "python":
                compile(block.text, str(block), "exec")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links {target}, which is not there"
        if anchor:
            assert anchor in _anchors(linked), f"{page.name} links {target}: no such heading"


def test_every_file_that_a_page_names_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:deploy|tests|docs|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _has(program: str) -> bool:
    return any(os.access(Path(place, program), os.X_OK) for place in os.environ.get("PATH", "").split(os.pathsep))


def test_no_exception_is_for_nothing() -> None:
    every = [command for page in PAGES for _, command in commands_of(page)]
    for pattern in list(ELSEWHERE)[:6]:
        assert any(re.match(pattern, command) for command in every), f"{pattern} is in no page any more"
