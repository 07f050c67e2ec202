"""Which part may know which: import-linter's contracts, and what an import brings along."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from spantree_api.statements import load_statements

ROOT = Path(__file__).parents[2]


def loaded_by(module: str) -> set[str]:
    """The modules that are there once `module` has been imported, in a Python of its own."""
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    # In a process of its own: import-linter configures logging, which would silence the loggers of the tests after it.
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "module",
    [
        "spantree_exporter",
        "spantree_exporter.tracing",
        "spantree_exporter.asgi",
        "spantree_exporter.polling",
        "spantree_exporter.live",
        "spantree_exporter.autolive",
        "spantree_exporter.sdk",
        "spantree_exporter.postgres.store",
    ],
)
def test_what_a_service_imports_brings_no_server_with_it(module: str) -> None:
    servers = {"grpc", "fastapi", "starlette", "uvicorn", "pydantic", "typer", "rich", "httpx"}
    assert loaded_by(module) & servers == set()


@pytest.mark.parametrize("module", ["spantree_exporter.facts", "spantree_exporter.assemble"])
def test_meaning_needs_no_database(module: str) -> None:
    assert loaded_by(module) & {"psycopg", "psycopg_pool", "psycopg_binary"} == set()


def test_collector_and_api_know_nothing_of_each_other() -> None:
    assert not any(name.startswith("spantree_api") for name in loaded_by("spantree_collector.app"))
    assert not any(name.startswith("spantree_collector") for name in loaded_by("spantree_api.app"))


def test_asking_for_help_loads_no_server() -> None:
    assert loaded_by("spantree_deploy.cli") & {"fastapi", "uvicorn"} == set()


def test_routes_name_no_statement() -> None:
    # Reads have one home, spantree_api/reads and reader.py, so that a second caller finds them.
    named = load_statements()
    routes = ROOT / "api" / "spantree_api" / "routes"
    found = {
        (file.name, name)
        for file in routes.glob("*.py")
        for name in re.findall(r"""snapshot\.\w+\(\s*["'(]+(\w+)""", file.read_text(encoding="utf-8"))
        if name in named
    }
    assert found == set(), "move these reads into a module of spantree_api/reads"


def test_an_advisory_lock_is_one_purpose_s() -> None:
    # Retention once took the number of the folding of figures, which then stood still until retention was through.
    of_number: dict[str, set[str]] = {}
    for file in (ROOT / "exporter" / "spantree_exporter" / "sql").rglob("*.sql"):
        for number in re.findall(r"advisory\w+\(1936744814, (\d+)\)", file.read_text(encoding="utf-8")):
            of_number.setdefault(number, set()).add(file.stem)
    assert of_number == {
        "0": {"migrate"},
        "1": {"010_partitions"},
        "2": {"rollup"},
        "3": {"060_own_audit"},
        "4": {"retention"},
        "5": {"span_terms"},
    }


def test_what_says_that_it_is_pure_is_held_to_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    held = {
        name
        for contract in settings["tool"]["importlinter"]["contracts"]
        for name in contract.get("source_modules", ())
    }
    parts = [ROOT / part / f"spantree_{part}" for part in ("exporter", "collector", "api", "deploy")]
    said = set()
    for part in parts:
        for file in part.rglob("*.py"):
            text = file.read_text(encoding="utf-8").split("\n\n", 1)[0]
            if re.search(r"\bPure\b", text):
                said.add(".".join(file.relative_to(part.parent).with_suffix("").parts).removesuffix(".__init__"))
    free = {name for name in said if not any(name == one or name.startswith(f"{one}.") for one in held)}
    # It takes a route's template apart as the router does.
    assert free == {"spantree_api.asked"}, "name these in an import contract of pyproject.toml"
