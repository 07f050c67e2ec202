"""The release before this one, as a rolling upgrade meets it: its code out of git, on this environment's packages."""

from __future__ import annotations

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The last commit whose schema was that of migrations 0001 to 0007.
COMMIT = "414ed07ea86146a1862f0167bec26e25fdffac42"
NEWEST_MIGRATION = 7
_PACKAGES = ("exporter", "collector", "api", "deploy")


def previous_release(directory: Path) -> dict[str, str]:
    """Unpack it into `directory`; the variables with which `python -m spantree_...` is its code.

    Skips the test where the clone has no such commit.
    """
    try:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", COMMIT, *_PACKAGES], capture_output=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(
            f"the previous release, commit {COMMIT[:12]}, is not in this clone: a shallow one gets it by "
            '"git fetch --unshallow"'
        )
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(directory, filter="data")
    return {
        "PYTHONPATH": os.pathsep.join(str(directory / package) for package in _PACKAGES),
        # No setting of its.
        "SPANTREE_API_JAEGER_PORT": "",
    }
