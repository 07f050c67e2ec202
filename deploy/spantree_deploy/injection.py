"""What a service's Python needs to be instrumented, and what of it can be lent from this environment.

Where all is there nothing is lent but spantree_exporter itself, which is pure Python. Where packages are missing and it
is the same Python, these are linked into a folder that comes last in its sys.path, so that its own packages always win;
and only where they fit its own. Otherwise a sentence says what to install there: packages for one Python are never
shown to another.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import spantree_exporter
from spantree_deploy.interpreter import Interpreter, asked
from spantree_exporter.errors import SpantreeError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NEEDED: Final = (
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp-proto-http",
)
"""Distributions without which nothing is traced."""
INSTRUMENTATION: Final = "opentelemetry-instrumentation-"
_OLDEST: Final = (3, 10, 0)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Injection:
    """What the start of the service's Python adds to it."""

    append: Sequence[str] = ()
    """Directories that come last in its sys.path."""
    lent: Sequence[str] = field(default=(), compare=False)
    """The distributions in them."""

    @property
    def package(self) -> str:
        """Where spantree_exporter is."""
        return str(Path(spantree_exporter.__file__).parent)

    @property
    def site(self) -> str:
        """The directory with the sitecustomize that starts it all."""
        return str(Path(self.package) / "run_site")


def injection_for(python: Interpreter | None, environ: Mapping[str, str]) -> Injection:
    """What makes `python` instrumentable. Raises SpantreeError with what to install where that cannot be.

    None stands for a command that is not known to be a Python program: it may start one, which is left as it is.
    """
    if python is None:
        return Injection()
    if python.version < _OLDEST:
        raise SpantreeError(f"{python} is too old to be instrumented: OpenTelemetry needs Python 3.10 or newer")
    if python.isolated_by is not None:
        raise SpantreeError(
            f"{python} reads no PYTHONPATH with {python.isolated_by}, by which it is instrumented: start it without"
        )
    missing = [name for name in NEEDED if name not in python.packages]
    is_same_python = python.abi == _ours().abi
    if not missing:
        wanted = instrumentations_to_lend(python) if is_same_python else []
    elif not is_same_python:
        raise SpantreeError(
            f"{python} lacks {', '.join(missing)}, and this spantree is installed for another Python "
            f"({_ours()}): {_remedy(python, missing)}"
        )
    else:
        wanted = [*missing, *instrumentations_to_lend(python)]
    lent, conflicts = _closure(wanted, python.packages, must=missing)
    if conflicts:
        raise SpantreeError(f"{python} lacks {', '.join(missing)}, and {conflicts[0]}: {_remedy(python, missing)}")
    return Injection((str(_folder_of(lent, environ)),), sorted(lent)) if lent else Injection()


def instrumentations_to_lend(python: Interpreter) -> list[str]:
    """The instrumentations that are installed here and not there."""
    return [name for name in _here() if name.startswith(INSTRUMENTATION) and name not in python.packages]


def _remedy(python: Interpreter, missing: Sequence[str]) -> str:
    return f"install what it lacks there: {python.path} -m pip install {' '.join(missing)}"


def _closure(
    wanted: Iterable[str], theirs: Mapping[str, str], *, must: Sequence[str]
) -> tuple[dict[str, importlib.metadata.Distribution], list[str]]:
    """(what has to be lent for `wanted`, why that of `must` which cannot be lent cannot)."""
    lent: dict[str, importlib.metadata.Distribution] = {}
    conflicts: list[str] = []
    for name in wanted:
        more, conflict = _with_requirements(name, theirs, lent)
        if conflict is None:
            lent |= more
        elif name in must:
            conflicts.append(conflict)
    return lent, conflicts


def _with_requirements(
    name: str, theirs: Mapping[str, str], lent: Mapping[str, importlib.metadata.Distribution]
) -> tuple[dict[str, importlib.metadata.Distribution], str | None]:
    from packaging.requirements import InvalidRequirement, Requirement

    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in theirs or one in found or one in lent:
            continue
        distribution = _here().get(one)
        if distribution is None:
            return {}, f"{one} is not installed here either"
        found[one] = distribution
        for text in distribution.requires or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            needed = normalised(requirement.name)
            version = theirs.get(needed)
            if version is not None and not _fits(requirement, version):
                return {}, f"{one} {distribution.version} of this environment needs {requirement}, it has {version}"
            waiting.append(needed)
    return found, None


def _fits(requirement: Requirement, version: str) -> bool:
    """Whether a package that is there will do.

    OpenTelemetry's packages pin each other to the patch release, and a service gets the newest of its API with FastAPI
    alone. A patch release changes no interface, so that another one does.
    """
    from packaging.version import Version

    if requirement.specifier.contains(version, prereleases=True):
        return True
    pins = [one for one in requirement.specifier if one.operator == "==" and not one.version.endswith(".*")]
    if not normalised(requirement.name).startswith("opentelemetry-") or len(pins) != len(requirement.specifier):
        return False
    return all(Version(version).release[:2] == Version(one.version).release[:2] for one in pins)


def _folder_of(lent: Mapping[str, importlib.metadata.Distribution], environ: Mapping[str, str]) -> Path:
    """A folder with links to the files of these distributions, the same one for the same set."""
    links: dict[str, Path] = {}
    for distribution in lent.values():
        for file in distribution.files or ():
            # "..": scripts in bin; __pycache__ of single modules is made anew
            if file.parts[0] not in ("..", "__pycache__") and file.suffix != ".pth":
                top = file.parts[0]
                links[top] = Path(str(distribution.locate_file(top)))
    name = hashlib.sha256("\n".join(f"{top} {at}" for top, at in sorted(links.items())).encode()).hexdigest()[:16]
    folder = _cache(environ) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="spantree-run-"))
    for top, target in links.items():
        link = folder / top
        if not link.is_symlink():
            # Another `spantree run` may make it at this moment.
            temporary = folder / f".{top}.{os.getpid()}"
            temporary.symlink_to(target)
            temporary.replace(link)
    return folder


def _cache(environ: Mapping[str, str]) -> Path:
    named = environ.get("XDG_CACHE_HOME", "")
    return (
        Path(named) if named.startswith("/") else Path(environ.get("HOME") or "/nowhere", ".cache")
    ) / "spantree/run"


@cache
def _here() -> Mapping[str, importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    for one in importlib.metadata.distributions():
        found.setdefault(normalised(one.metadata["Name"] or ""), one)
    return found


@cache
def _ours() -> Interpreter:
    return asked(Path(sys.executable), os.environ)


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503); what follows the name is cut off."""
    match = _NAME.match(name)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
