"""`python -m spantree_collector.receive.examiner_process FD`: examines large bodies in a process of its own.

The collector starts it (examiners.py) and talks to it through the pipe FD: first ExaminerSetup, then for each body its
encoding and its bytes, which are answered with an Examination or the error that examining raised. What the kernel does
not let it have, memory or processor time, ends a body, or this process with it.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

from spantree_collector.receive.examination import BodyExaminer, Examination
from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.write.child_process import end_before_the_collector, end_with_the_collector, limit_address_space
from spantree_collector.write.garbage_collection import tune_garbage_collector
from spantree_collector.write.memory import trim
from spantree_exporter.redaction import Redactor
from spantree_exporter.redaction.rules import Rules

_TRIM_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ExaminerSetup:
    """What such a process needs to know. It travels by the pipe, for arguments can be read by others."""

    rules: Rules | None = field(repr=False)
    max_objects: int
    max_bytes: int  # of memory
    max_work_s: float  # of processor time for one body


def main() -> None:
    """Examine bodies until the pipe ends."""
    end_with_the_collector()
    end_before_the_collector()
    connection = Connection(int(sys.argv[1]))
    try:
        setup: ExaminerSetup = connection.recv()
        tune_garbage_collector()
        examiner = BodyExaminer(None if setup.rules is None else Redactor(setup.rules), setup.max_objects)
        limit_address_space(setup.max_bytes)
        # A process that ends over a body leaves no picture of it on the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        while True:
            encoding: str = connection.recv()
            _answer(connection, encoding, examiner, setup)
    except (EOFError, OSError):
        return


def _answer(connection: Connection, encoding: str, examiner: BodyExaminer, setup: ExaminerSetup) -> None:
    _limit_processor_time(setup.max_work_s)
    size_bytes = 0
    redacted: bytes | None = None
    answer: Examination | Exception
    try:
        plain = connection.recv_bytes()
        size_bytes = len(plain)
        answer = examiner.examine(plain, encoding)
        if answer.body is not plain:
            redacted = answer.body
        answer = replace(answer, body=b"")
    except MemoryError:
        answer = BodyTooLarge(
            f"examining the request takes more than {setup.max_bytes} bytes of memory; send smaller batches"
        )
    except (EOFError, OSError):
        raise
    except Exception as error:
        answer = error
    plain = b""
    connection.send((answer, redacted is not None))
    if redacted is not None:
        connection.send_bytes(redacted)
    if size_bytes >= _TRIM_BYTES:
        redacted = None
        trim()


def _limit_processor_time(more_s: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    wanted_s = int(used.ru_utime + used.ru_stime + more_s) + 1
    _, hard_s = resource.getrlimit(resource.RLIMIT_CPU)
    if hard_s == resource.RLIM_INFINITY or wanted_s <= hard_s:
        resource.setrlimit(resource.RLIMIT_CPU, (wanted_s, hard_s))


if __name__ == "__main__":
    main()
