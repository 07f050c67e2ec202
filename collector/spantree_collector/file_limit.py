"""How many files the process may have open, shared among its ports, so that none can take all of them."""

from __future__ import annotations

import resource

# More than all ports together have use for; some systems let a process have a billion, and tables grow with that.
_WANTED_FILES = 16_384
# Spool, pipes, database connections, modules being imported.
_KEPT_FILES = 256


def raise_file_limit() -> int:
    """Let this process have as many files as the system permits, up to what is of use; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return _WANTED_FILES if soft == resource.RLIM_INFINITY else soft


def connections_within(wanted: int, part: float, files_each: int = 1) -> int:
    """As many of `wanted` connections as fit into this part of the files, at least one."""
    files = int((raise_file_limit() - _KEPT_FILES) * part)
    return max(1, min(wanted, files // files_each))
