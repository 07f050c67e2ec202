"""Which Python runs a command, and what it has: `spantree run` may be installed somewhere else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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

    def __str__(self) -> str:
        return f"{self.path} (Python {'.'.join(map(str, self.version))})"


def found_program(program: str, path: str) -> Path:
    """Where `program` is in `path`. Raises SpantreeError."""
    found = shutil.which(program, path=path)
    if found is None:
        raise SpantreeError(
            f'"{program}" is no program that can be found on PATH; is the environment that has it active?'
        )
    return Path(found)


def interpreter_of(command: Sequence[str], environ: Mapping[str, str]) -> Interpreter | None:
    """The Python that runs `command` in `environ`; None where that cannot be told: no Python script and no Python.

    Raises SpantreeError where the command is not there or its Python does not answer.
    """
    path = environ.get("PATH", os.defpath)
    program = found_program(command[0], path)
    python = python_of(program, path)
    if python is None or program.name in LAUNCHERS:
        return None
    return asked(python, environ)


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
    with program.open("rb") as file:
        lines = file.read(_SCRIPT_BYTES).decode(errors="replace").split("\n")
    if not lines[0].startswith("#!"):
        return None
    if lines[0] == "#!/bin/sh" and len(lines) > 1 and (match := _EXEC_LINE.match(lines[1])):
        return Path(next(filter(None, match.groups())))
    words = shlex.split(lines[0][2:])
    if words and Path(words[0]).name == "env":
        named = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), None)
        words = [found] if named and (found := shutil.which(named, path=path)) else []
    return Path(words[0]) if words and _PYTHON.fullmatch(Path(words[0]).name) else None
