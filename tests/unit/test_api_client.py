"""The API as commands ask it: whose fault it is that an answer is not where it is to go."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

import pytest

from spantree_deploy.client import ApiClient, NotAnswered


class _Answering:
    """A transport whose answer has one part, and then breaks off by `fault`."""

    def __init__(self, fault: OSError | None = None) -> None:
        self._fault = fault

    def get(self, target: str) -> tuple[int, bytes]:
        raise NotImplementedError

    post = get

    def copy(self, target: str, write: Callable[[bytes], object]) -> tuple[int, Mapping[str, str], bytes]:
        write(b"part")
        if self._fault is not None:
            raise self._fault
        return 200, {"x-next": "1"}, b""


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(errno.EPIPE, "")])
def test_what_cannot_be_written_is_no_fault_of_the_api(fault: OSError) -> None:
    def full(part: bytes) -> None:
        raise fault

    with pytest.raises(OSError) as raised:
        ApiClient(_Answering(), "http://h").copy("export/nodes", {}, full)
    assert raised.value is fault


def test_an_answer_that_breaks_off_is_one() -> None:
    parts: list[bytes] = []
    with pytest.raises(NotAnswered, match=r"no API answers at http://h \(Connection reset by peer\)"):
        api = ApiClient(_Answering(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")), "http://h")
        api.copy("export/nodes", {}, parts.append)
    assert parts == [b"part"]
