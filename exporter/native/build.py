"""Builds spantree_exporter._hot_path by the C compiler that is there; without one spantree goes its Python way.

    python exporter/native/build.py                           into the checkout, unless what is there is up to date
    python exporter/native/build.py --sanitize --into FOLDER  with AddressSanitizer and UBSan

Needs only the standard library: `make install` and the wheel (hatch_build.py) both call it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
PACKAGE = SOURCES.parent / "spantree_exporter"
NAME = "_hot_path"
# As sysconfig's flags for extension modules, without those of whoever built Python (paths, -g, warnings).
_FLAGS = ("-std=c11", "-O3", "-fPIC", "-fvisibility=hidden", "-fwrapv", "-DNDEBUG", "-Wall", "-Wextra")
_SANITIZE = ("-std=c11", "-O1", "-g", "-fPIC", "-fno-omit-frame-pointer", "-fsanitize=address,undefined")
_TIMEOUT_S = 120


class NotBuilt(Exception):
    """There is no compiled module, for the reason that this says and what to do about it."""


def module_in(folder: Path) -> Path:
    """Where the module for the Python that runs this lies in `folder`."""
    return folder / f"{NAME}{sysconfig.get_config_var('EXT_SUFFIX')}"


def build(folder: Path, environ: Mapping[str, str], *, sanitize: bool = False) -> Path:
    """The module, built into `folder`, or what is there if it is newer than its source. Raises NotBuilt."""
    if sys.implementation.name != "cpython" or os.name != "posix":
        raise NotBuilt(f"no build for {sys.implementation.name} on {sys.platform}")
    made = module_in(folder)
    if made.is_file() and made.stat().st_mtime >= max(path.stat().st_mtime for path in SOURCES.iterdir()):
        return made
    compiler = shlex.split(environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    if shutil.which(compiler[0], path=environ.get("PATH")) is None:
        compiler = ["cc"]
    if shutil.which(compiler[0], path=environ.get("PATH")) is None:
        raise NotBuilt("there is no C compiler: install one, such as gcc, then run this again")
    headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    if not any(Path(header, "Python.h").is_file() for header in headers):
        raise NotBuilt("Python's headers are missing: install them (Debian, Ubuntu: python3-dev), then run this again")
    folder.mkdir(parents=True, exist_ok=True)
    # Beside it and renamed, so that a process that has the old one open keeps it.
    being_made = made.with_name(f".{made.name}.{os.getpid()}")
    link = ("-bundle", "-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-shared",)
    command = [
        *compiler,
        *(_SANITIZE if sanitize else _FLAGS),
        *shlex.split(environ.get("CPPFLAGS", "")),
        *shlex.split(environ.get("CFLAGS", "")),
        *(f"-I{header}" for header in sorted(headers)),
        *map(str, sorted(SOURCES.glob("*.c"))),
        *link,
        *shlex.split(environ.get("LDFLAGS", "")),
        "-o",
        str(being_made),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise NotBuilt(f"{shlex.join(compiler)} failed: {said[-1] if len(said) == 1 else said[0]}")
        being_made.replace(made)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuilt(f"{shlex.join(compiler)} failed: {error}") from error
    finally:
        being_made.unlink(missing_ok=True)
    return made


def main() -> int:
    """Build, say in one line what came of it, and end with 1 where there is no compiled module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=PACKAGE)
    parser.add_argument("--sanitize", action="store_true")
    arguments = parser.parse_args()
    try:
        build(arguments.into, os.environ, sanitize=arguments.sanitize)
    except NotBuilt as error:
        print(f"hot path: Python, not compiled, at about twice the CPU a span ({error})")
        return 1
    print("hot path: compiled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
