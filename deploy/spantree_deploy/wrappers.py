"""Programs that only become, or start, the one that their command line ends with: `env`, `timeout`, `nice`, `tini`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Final

# By name: the options that take a word, and how many words stand before the command.
_WRAPPERS: Final[Mapping[str, tuple[str, int]]] = {
    "env": ("uC", 0),
    "timeout": ("ks", 1),
    "gtimeout": ("ks", 1),
    "nice": ("n", 0),
    "ionice": ("cn", 0),
    "nohup": ("", 0),
    "setsid": ("", 0),
    "stdbuf": ("ioe", 0),
    "time": ("fo", 0),
    "tini": ("p", 0),
    "dumb-init": ("r", 0),
    "gosu": ("", 1),
    "su-exec": ("", 1),
}
# They make or find an environment for what they run, which only they know.
_ENVIRONMENTS: Final = {
    "uv": "uv run --",
    "poetry": "poetry run",
    "pipenv": "pipenv run",
    "pdm": "pdm run",
    "hatch": "hatch run",
    "pixi": "pixi run",
    "conda": "conda run --no-capture-output -n ENVIRONMENT",
}
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")


def meant_by(command: Sequence[str]) -> list[str]:
    """The command that `command` comes to, without the wrappers before it; as it is where there is none behind them."""
    inner = list(command)
    while inner and (wrapper := _WRAPPERS.get(PurePath(inner[0]).name)) is not None:
        inner = _after(inner[1:], *wrapper)
    return inner or list(command)


def behind_which(command: Sequence[str]) -> str | None:
    """How `spantree run` is put behind the program that chooses the environment of `command`; None where none does."""
    words = meant_by(command)
    name = PurePath(words[0]).name if words else ""
    return f"{_ENVIRONMENTS[name]} spantree run -- ..." if name in _ENVIRONMENTS and "run" in words else None


def is_assignment(word: str) -> bool:
    """Whether `word` sets a variable, as the shell and `env` take it."""
    return _ASSIGNMENT.match(word) is not None


def _after(words: list[str], taking: str, before: int) -> list[str]:
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            at += 1
            break
        if word.startswith("-") and word != "-":
            at += 2 if len(word) == 2 and word[1] in taking else 1
        elif is_assignment(word):
            at += 1
        else:
            break
    return words[at + before :]
