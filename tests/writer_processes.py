"""The processes of a collector, found as the operating system knows them."""

from __future__ import annotations

from pathlib import Path

from tests.waiting import wait_until


def writer_pids(collector_pid: int) -> set[int]:
    """The writer processes that a collector has at the moment."""
    return child_pids(collector_pid, "spantree_collector.write.writer_process")


def child_pids(collector_pid: int, module: str = "spantree_collector.") -> set[int]:
    """The processes of that module that a collector has at the moment: by default those that write and examine."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = (directory / "stat").read_text().rpartition(")")[2].split()[1]
            command = (directory / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == collector_pid and module.encode() in command:
            found.add(int(directory.name))
    return found


def wait_for_writers(collector_pid: int, count: int) -> set[int]:
    """Its writer processes, once there are `count`."""
    wait_until(lambda: len(writer_pids(collector_pid)) == count, 20, f"{count} writer processes run")
    return writer_pids(collector_pid)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
