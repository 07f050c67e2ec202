"""Whether the Python that a command runs can be instrumented: `spantree run` may be installed somewhere else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from spantree_exporter.errors import SpantreeError

_PYTHON: Final = re.compile(r"python[\d.]*")
# What the instrumented process imports at its start.
_NEEDED: Final = "import opentelemetry.instrumentation.auto_instrumentation, spantree_exporter.autolive"
_ANSWER_S: Final = 30.0
_SHEBANG_BYTES: Final = 512


def check_instrumentable(program: str, path: str) -> None:
    """Raise SpantreeError when `program`, looked up in `path`, is not there or is run by a Python that lacks something.

    A program that is no Python script and no Python (a shell script that starts one, say) is not looked into.
    """
    found = shutil.which(program, path=path)
    if found is None:
        raise SpantreeError(f'"{program}" is no program that can be found on PATH or beside {sys.executable}')
    python = _python_of(Path(found), path)
    if python is None or _is_ours(python):
        return
    try:
        done = subprocess.run(
            [python, "-c", _NEEDED],
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpantreeError(f"{python}, which runs {program}, cannot be asked what it has: {error}") from error
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise SpantreeError(
            f"{python}, which runs {program}, cannot be instrumented ({reason[0]}): "
            f'install it there: {python} -m pip install "spantree[run]"'
        )


def _python_of(program: Path, path: str) -> Path | None:
    """The interpreter that runs `program`, None where that is no Python."""
    if _PYTHON.fullmatch(program.name):
        return program
    with program.open("rb") as file:
        first = file.read(_SHEBANG_BYTES).split(b"\n", 1)[0].decode(errors="replace")
    if not first.startswith("#!"):
        return None
    words = shlex.split(first[2:])
    if words and Path(words[0]).name == "env":
        words = [found for word in words[1:2] if (found := shutil.which(word, path=path))]
    return Path(words[0]) if words and _PYTHON.fullmatch(Path(words[0]).name) else None


def _is_ours(python: Path) -> bool:
    # Not resolved: the Pythons of all virtual environments are links to the same file.
    return os.path.abspath(python.parent) == os.path.abspath(Path(sys.executable).parent)  # noqa: PTH100
