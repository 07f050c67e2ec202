"""Which server runs on the data of the settings: a file that it holds locked for as long as it lives.

    data_dir/api.json    {"url": "http://127.0.0.1:8000", "database": "<digest>", "addresses": {"otlp_http_port": 4318}}
    0600, flock(LOCK_EX)

The kernel drops the lock with the process, however that ends, so what a lock is on is true. `database` tells commands
for another PostgreSQL that this is not their API; it is a digest because the URL may hold a password.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from spantree_deploy.settings import Settings
from spantree_exporter.errors import ConfigError, SpantreeError

_FILE: Final = "api.json"
_EMBEDDED: Final = "embedded"
_TRIES: Final = 10
_BETWEEN_TRIES_S: Final = 0.02
_ADDRESSES: Final = ("host", "api_host", "api_port", "otlp_http_port", "otlp_grpc_port", "otlp_endpoint")


@contextmanager
def announced(settings: Settings, url: str, listening: Settings | None = None) -> Iterator[None]:
    """Tell commands on this machine, for the time of the block, that the API is at `url`.

    `listening` has the addresses that were really taken, where a collector runs, too.
    Nothing is told where another server already does, or where the directory cannot be written: commands then read the
    database themselves.
    """
    with contextlib.ExitStack() as stack:
        # Not fatal: this makes commands quicker, nothing more.
        with contextlib.suppress(OSError, ImportError):
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(settings.data_dir / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            _lock(descriptor)
            os.ftruncate(descriptor, 0)
            addresses = {} if listening is None else {name: getattr(listening, name) for name in _ADDRESSES}
            told = {"url": url, "database": _database(settings), "addresses": addresses}
            os.pwrite(descriptor, json.dumps(told).encode(), 0)
        yield


def refuse_twice(settings: Settings) -> None:
    """Raise ConfigError where a server runs on the embedded PostgreSQL of the settings already."""
    url = running_api(settings) if settings.is_embedded else None
    if url is not None:
        raise ConfigError(
            [
                f"spantree runs already on the data in {settings.data_dir}, its pages are at {url}; to run another one "
                "give it another --data and other ports"
            ]
        )


def has_data(settings: Settings) -> bool:
    """Whether there is a PostgreSQL to ask: one that is named, or the embedded one, which has been made.

    Raises SpantreeError where this account may not look.
    """
    if not settings.is_embedded or os.path.exists(settings.data_dir / "pgdata"):  # noqa: PTH110  no error without rights
        return True
    if os.path.exists(settings.data_dir) and not os.access(settings.data_dir, os.R_OK | os.X_OK):  # noqa: PTH110
        raise SpantreeError(f"{settings.data_dir} may not be read by this account: run this as the one that owns it")
    return False


def no_data(settings: Settings, flags: str) -> SpantreeError:
    """The sentence for whoever asks of a place where nothing was ever stored; `flags` name another place."""
    return SpantreeError(
        f"there is no data in {settings.data_dir}: run `spantree up` first, or name the place with {flags}"
    )


def running_api(settings: Settings) -> str | None:
    """The URL of the API that runs on the data and the database of the settings, None where none is known to."""
    told = _told(settings)
    return None if told is None else str(told["url"])


def as_it_runs(settings: Settings) -> Settings:
    """The settings with the addresses of what runs on their data and database, for those left at their defaults."""
    told = _told(settings)
    if told is None:
        return settings
    default = Settings(data_dir=settings.data_dir)
    known = {name: value for name, value in told.get("addresses", {}).items() if name in _ADDRESSES}
    return replace(
        settings,
        **{name: value for name, value in known.items() if getattr(settings, name) == getattr(default, name)},
    )


def _told(settings: Settings) -> dict[str, Any] | None:
    """What a server that still runs on the data and the database of the settings has told, None where none has."""
    try:
        descriptor = os.open(Path(settings.data_dir, _FILE), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not _is_locked(descriptor):
            return None  # what it says is of a server that has ended
        told: dict[str, Any] = json.loads(os.pread(descriptor, 65_536, 0))
        return told if told["url"] and told["database"] == _database(settings) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Hold the file for as long as it is open. Raises OSError where another server holds it."""
    import fcntl  # Windows has none, and no servers either

    for _ in range(_TRIES):
        # A command that looks whether it is locked holds it for a moment, too.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_BETWEEN_TRIES_S)
    raise BlockingIOError("another server holds the file")


def _is_locked(descriptor: int) -> bool:
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except ImportError:
        return False
    except OSError:
        return True
    return False


def _database(settings: Settings) -> str:
    if settings.database_url is None:
        return _EMBEDDED
    # PG* variables complete a libpq string, so they are a part of which database it is.
    completed = [f"{name}={os.environ[name]}" for name in sorted(os.environ) if name.startswith("PG")]
    return hashlib.sha256("\n".join([settings.database_url, *completed]).encode()).hexdigest()
