"""Which Python runs a command, and what it has: `spantree run` may be installed somewhere else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path
from typing import Final

from spantree_deploy.wrappers import is_assignment, meant_by
from spantree_exporter.errors import SpantreeError

_PYTHON: Final = re.compile(r"(python|pypy)[\d.]*t?")
_ANSWER_S: Final = 30.0
_SCRIPT_BYTES: Final = 1024
# What pip and uv write where the interpreter's path is too long or has spaces: a shell script whose second line is
# a string to Python.
_EXEC_LINE: Final = re.compile(r"""'''exec' (?:"([^"]+)"|'([^']+)'|(\S+)) "\$0" "\$@\"""")
# Programs in Python that only start another one, which is the one that is meant.
LAUNCHERS: Final = ("poetry", "pipenv", "pdm", "hatch", "tox", "nox", "honcho", "supervisord")
# Any Python 3 understands this; what it prints is all that is known of the other environment.
_PROBE: Final = """
import json, sys, sysconfig
found = {"version": list(sys.version_info[:3]), "tag": sys.implementation.cache_tag, "prefix": sys.prefix,
         "abi": "%s %s" % (sysconfig.get_config_var("SOABI"), sysconfig.get_platform()), "packages": {}}
try:
    from importlib.metadata import distributions
    for one in distributions():
        name = (one.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")
        found["packages"].setdefault(name, one.version)
except ImportError:
    pass
sys.stdout.write(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python and the packages that a program run by it would find."""

    path: Path
    version: tuple[int, int, int]
    abi: str
    """Equal where compiled modules of one can be loaded by the other."""
    prefix: str
    packages: Mapping[str, str]
    """Version by normalised name (PEP 503)."""
    isolated_by: str | None = None
    """The option of the command by which it looks neither at PYTHONPATH nor at a sitecustomize there."""

    def __str__(self) -> str:
        return f"{self.path} (Python {'.'.join(map(str, self.version))})"


def found_program(program: str, path: str) -> Path:
    """Where `program` is in `path`. Raises SpantreeError."""
    found = shutil.which(program, path=path)
    if found is None:
        raise SpantreeError(_not_found(program, path))
    return Path(found)


def _not_found(program: str, path: str) -> str:
    first, *more = program.split() or [""]
    if is_assignment(program):
        return f'"{program}" is no program: set it before spantree run, or write spantree run -- env {program} ...'
    if more and shutil.which(first, path=path):
        return f'"{program}" is taken for one word: write it without the quotes, spantree run -- {program}'
    file = Path(program)
    if not file.is_file():
        return f'"{program}" is no program that can be found on PATH; is the environment that has it active?'
    if os.access(file, os.X_OK):
        return f'"{program}" is not on PATH, but a file here: spantree run -- ./{program}'
    runs_it = "python" if file.suffix == ".py" else "sh"
    return f'"{program}" is a file that may not be executed: spantree run -- {runs_it} {program}, or chmod +x it'


def interpreter_of(command: Sequence[str], environ: Mapping[str, str]) -> Interpreter | None:
    """The Python that runs `command` in `environ`; None where that cannot be told: no Python script and no Python.

    Raises SpantreeError where the command is not there or its Python does not answer.
    """
    path = environ.get("PATH", os.defpath)
    command = meant_by(command)
    program = found_program(command[0], path)
    python = python_of(program, path)
    if python is None or program.name in LAUNCHERS:
        return None
    given = command[1:] if python == program else _shebang_of(program)[1:]
    return replace(asked(python, environ), isolated_by=isolating_option(given))


def isolating_option(words: Sequence[str]) -> str | None:
    """Which of the interpreter's options keeps it from being instrumented, of `words` that follow its name."""
    left = iter(words)
    for word in left:
        if not word.startswith("-") or word.startswith("--"):
            return None
        # What follows -c, -m, -W or -X belongs to them.
        options = re.split("[cmWX]", word, maxsplit=1)[0]
        if found := next((letter for letter in options if letter in "IES"), None):
            return f"-{found}"
        taking = word[len(options) : len(options) + 1]
        if taking in ("c", "m"):
            return None
        if len(word) == len(options) + 1:
            next(left, None)
    return None


def asked(python: Path, environ: Mapping[str, str]) -> Interpreter:
    """What `python` says of itself. Raises SpantreeError."""
    try:
        done = subprocess.run(
            [python, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=dict(environ),
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpantreeError(f"{python} cannot be asked what it has: {error}") from error
    except ValueError:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise SpantreeError(
            f"{python} does not say which packages it has ({reason}); spantree run needs Python 3.10 or newer"
        ) from None
    version = tuple(found["version"])
    return Interpreter(python, version, f"{found['tag']} {found['abi']}", found["prefix"], found["packages"])


def python_of(program: Path, path: str) -> Path | None:
    """The interpreter that runs `program`, None where that is no Python."""
    if _PYTHON.fullmatch(program.name):
        return program
    first, second = _first_lines(program)
    if first == "#!/bin/sh" and (match := _EXEC_LINE.match(second)):
        return Path(next(filter(None, match.groups())))
    words = _shebang_of(program)
    named = words[0] if words else ""
    if named and "/" not in named:
        named = shutil.which(named, path=path) or ""
    return Path(named) if named and _PYTHON.fullmatch(Path(named).name) else None


def _shebang_of(program: Path) -> list[str]:
    """What runs a script, and with which options, without an `env` before it; nothing where it is no script."""
    first, _ = _first_lines(program)
    words = shlex.split(first[2:]) if first.startswith("#!") else []
    if words and Path(words[0]).name == "env":
        return list(dropwhile(lambda word: word.startswith("-") or "=" in word, words[1:]))
    return words


def _first_lines(program: Path) -> tuple[str, str]:
    with program.open("rb") as file:
        first, _, rest = file.read(_SCRIPT_BYTES).decode(errors="replace").partition("\n")
    return first, rest.partition("\n")[0]
