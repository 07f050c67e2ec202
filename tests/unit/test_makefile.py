"""`make` on machines that lack something: one sentence that says what to do, nothing half-made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python_that(directory: Path, fails_at: str) -> Path:
    """An interpreter that cannot run programs in which `fails_at` occurs."""
    program = directory / "python that lacks something"
    program.write_text(f'#!/bin/sh\ncase "$*" in *"{fails_at}"*) exit 1;; esac\nexit 0\n')
    program.chmod(0o755)
    return program


def install(directory: Path, python: Path | str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", "install", f"VENV={directory}/venv", f"PYTHON={python}"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("fails_at", "said"),
    [
        ("sys.version_info", "spantree needs Python 3.11 or newer, {python} is older (or no Python)"),
        ("ensurepip", "{python} cannot make virtual environments: install its venv module"),
    ],
)
def test_says_what_is_missing(fails_at: str, said: str, tmp_path: Path) -> None:
    python = python_that(tmp_path, fails_at)
    done = install(tmp_path, python)
    assert done.returncode != 0
    assert said.format(python=python) in done.stderr
    assert not (tmp_path / "venv").exists()


def test_says_so_when_no_python_was_found(tmp_path: Path) -> None:
    done = install(tmp_path, "")
    assert done.returncode != 0
    assert "spantree needs Python 3.11 or newer, and none was found" in done.stderr


def test_help_lists_the_targets() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    for target in ("demo", "test", "check", "bench"):
        assert f"make {target} " in done.stdout
