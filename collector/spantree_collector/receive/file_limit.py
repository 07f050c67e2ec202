"""How many files the process may have open, shared among its ports, so that none can take all of them."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger(__name__)

# More than all ports together have use for; some systems let a process have a billion, and tables grow with that.
_WANTED_FILES = 16_384
# Spool, pipes, database connections, modules being imported.
_KEPT_FILES = 256
# With less than this part of the connections that are wanted, clients are turned away in ordinary use.
_SCARCE = 0.1


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
    files = raise_file_limit()
    permitted = max(1, min(wanted, int((files - _KEPT_FILES) * part) // files_each))
    if permitted < wanted * _SCARCE:
        log.warning(
            "this process may have %d files open, which leaves one of its ports %d connections of at most %d; let it "
            "have some thousand (ulimit -n, LimitNOFILE= of systemd)",
            files,
            permitted,
            wanted,
        )
    return permitted
