"""The release before this one, as a rolling upgrade meets it: its code out of git, on this environment's packages."""

from __future__ import annotations

import os
import subprocess
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("exporter", "collector", "api", "deploy")


@dataclass(frozen=True, slots=True)
class Release:
    """A commit, and the newest migration that it has."""

    commit: str
    newest_migration: int


# The last commit whose schema was that of migrations 0001 to 0007.
ON_ONE_SERVER = Release("414ed07ea86146a1862f0167bec26e25fdffac42", 7)
# That one knows no Citus; this is the last whose schema, which it distributes, was that of 0001 to 0035.
ON_CITUS = Release("21764764085220febc70221ca354d319b46f12f1", 35)


def previous_release(directory: Path, release: Release) -> dict[str, str]:
    """Unpack it into `directory`; the variables with which `python -m spantree_...` is its code.

    Skips the test where the clone has no such commit.
    """
    try:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", release.commit, *_PACKAGES], capture_output=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(
            f"the previous release, commit {release.commit[:12]}, is not in this clone: a shallow one gets it by "
            '"git fetch --unshallow"'
        )
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return {
        "PYTHONPATH": os.pathsep.join(str(directory / package) for package in _PACKAGES),
        # No setting of its.
        "SPANTREE_API_JAEGER_PORT": "",
    }
