"""The API as commands ask it: whose fault it is that an answer is not where it is to go."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable, Mapping
from http.client import RemoteDisconnected

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


class _Refusing(_Answering):
    """A transport that answers as a server without this request's token, or of the other scheme."""

    def __init__(self, answer: tuple[int, bytes] | Exception) -> None:
        super().__init__()
        self._answer = answer

    def get(self, target: str) -> tuple[int, bytes]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("where", "answer", "told"),
    [
        (
            "http://h",
            (401, b'{"error": {"code": "unauthorized", "message": "a token is wanted"}}'),
            "a token is wanted (commands send the one that SPANTREE_TOKEN holds)",
        ),
        (
            "http://h",
            RemoteDisconnected("Remote end closed connection without response"),
            "no API answers at http://h (Remote end closed connection without response; does it speak https? then name "
            "it by https://); `spantree up` says on which address its API is: name it with --api-url or "
            "SPANTREE_API_URL",
        ),
        (
            "https://h",
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
            "no API answers at https://h ([SSL: WRONG_VERSION_NUMBER] wrong version number; does it speak http? then "
            "name it by http://); `spantree up` says on which address its API is: name it with --api-url or "
            "SPANTREE_API_URL",
        ),
    ],
)
def test_what_a_command_lacks_is_told(where: str, answer: tuple[int, bytes] | Exception, told: str) -> None:
    with pytest.raises(NotAnswered) as raised:
        ApiClient(_Refusing(answer), where).get("executions")
    assert str(raised.value) == told
