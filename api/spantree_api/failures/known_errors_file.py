"""Reads the known errors: ours, and those of the file that SPANTREE_API_KNOWN_ERRORS names."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from spantree_api.failures.known_errors import KnownErrors, known_errors_of
from spantree_exporter.errors import ConfigError

_FILE_MAX_BYTES: Final = 2**20


@cache
def our_known_errors() -> KnownErrors:
    """Those of known_errors.toml."""
    text = resources.files(__package__).joinpath("known_errors.toml").read_text(encoding="utf-8")
    return known_errors_of(tomllib.loads(text))


def load_known_errors(path: Path | None) -> KnownErrors:
    """Ours, those of the file before them where one is named.

    Raises ConfigError where the file cannot be read, is no TOML or holds something unknown; all faults at once.
    """
    if path is None:
        return our_known_errors()
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
        if len(content) > _FILE_MAX_BYTES:
            raise ConfigError([f"the known errors {path} are larger than {_FILE_MAX_BYTES} bytes"])
        document = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(
            [f"the known errors {path} cannot be read: {error.strerror}; SPANTREE_API_KNOWN_ERRORS names them"]
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([f"the known errors {path} are no TOML: {error}"]) from None
    try:
        theirs = known_errors_of(document)
    except ConfigError as error:
        raise ConfigError([f"the known errors {path}: {fault}" for fault in error.faults]) from None
    return theirs.before(our_known_errors())
