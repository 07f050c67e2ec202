"""A process that uses an embedded server, for tests that kill it, start many of it, or run it as somebody else.

    python tests/postgres_user.py DATA [--pg-bin DIR] [--account NAME] [--without-ptrace]

Prints one JSON line: {"url", "pid"} as soon as the server is in use, or {"error"}. Waits for the end of its input,
stops, and prints {"stopped"}: whether the server is gone. `UserProcess` is the other end.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

from spantree_deploy.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

# prctl(2), capabilities(7)
_PR_CAPBSET_DROP = 24
_CAP_SYS_PTRACE = 19


class UserProcess:
    """Such a process, started but not waited for."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(data_dir), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def answer(self) -> dict[str, Any]:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the user process ended with {self._process.wait()} and said nothing; its stderr is above"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> dict[str, Any]:
        """Let it stop using the server; returns what it says then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.answer()

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End it, whatever state it is in."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--pg-bin", type=Path)
    parser.add_argument("--account")
    parser.add_argument("--without-ptrace", action="store_true")
    arguments = parser.parse_args()
    if arguments.without_ptrace:
        drop_ptrace_and_start_again()
    if arguments.account:
        become(arguments.account)
    server = EmbeddedPostgres(arguments.data, pg_bin=arguments.pg_bin, durable=False)
    try:
        server.start()
    except EmbeddedPostgresError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    print(json.dumps({"url": server.url, "pid": server.pid}), flush=True)
    sys.stdin.read()
    server.stop()
    print(json.dumps({"stopped": server.pid is None}), flush=True)
    return 0


def become(account: str) -> None:
    """Become `account` for good, with everything imported: it may be unable to read this interpreter's files."""
    entry = pwd.getpwnam(account)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def drop_ptrace_and_start_again() -> None:
    """Be the root of a container, who may not look into processes of other accounts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_CAPBSET_DROP, _CAP_SYS_PTRACE, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl refused to drop CAP_SYS_PTRACE")
    words = [word for word in sys.argv if word != "--without-ptrace"]
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    sys.exit(main())
