"""OTLP/HTTP: what a receiver has to refuse, with which status, and that its answer is a google.rpc.Status."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from spantree_deploy.conform import http_accepted, messages
from spantree_deploy.conform.check import (
    BAD_DATA,
    BINARY,
    COMPRESSION,
    HTTP_FAILURES,
    HTTP_REQUEST,
    HTTP_RESPONSE,
    MUST,
    OTHER_RESPONSES,
    SHOULD,
    Check,
    NotServed,
    expect,
)
from spantree_deploy.conform.targets import JSON, PROTOBUF, TRACES, Answer, Targets, json_of

_RETRYABLE = (429, 502, 503, 504)


def checks() -> Iterator[Check]:
    """The checks of this module."""
    for what, made in messages.MALFORMED:
        yield Check("http", BAD_DATA, MUST, f"protobuf: {what} is 400", _bad_data(made))
    for section, level, what, run in _CHECKS:
        yield Check("http", section, level, what, run)


def status_of(answer: Answer) -> Status:
    """The Status in the body of a refusal. Raises Deviation where there is none."""
    what = f"the body of the {answer.status} is no google.rpc.Status"
    try:
        if answer.content_type == JSON:
            told = json_of(answer.body)
            # Details may be of types that are not known here.
            status = Status()
            ParseDict({name: told[name] for name in ("code", "message") if name in told}, status)
            return status
        expect(answer.content_type == PROTOBUF, f'{what}: its content-type is "{answer.content_type}"')
        return Status.FromString(answer.body)
    except (DecodeError, ParseError, ValueError, TypeError):
        expect(False, f"{what}: {answer.body[:80]!r}")
        raise


def _bad_data(made: Callable[[], bytes]) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(made())
        expect(answer.status == 400, f"answers {answer.status}")

    return run


def _malformed(targets: Targets) -> Answer:
    return targets.over_http.post(b"this is no protobuf")


def _status_body(targets: Targets) -> None:
    status_of(_malformed(targets))


def _same_content_type(targets: Targets) -> None:
    for content_type, sent in ((PROTOBUF, b"no protobuf"), (JSON, b"{no json")):
        answer = targets.over_http.post(sent, content_type)
        expect(answer.content_type == content_type, f'{content_type} is answered in "{answer.content_type}"')


def _message(targets: Targets) -> None:
    expect(status_of(_malformed(targets)).message, "Status.message is empty")


def _details(targets: Targets) -> None:
    details = status_of(_malformed(targets)).details
    found = [detail.type_url for detail in details]
    expect(any(detail.Is(BadRequest.DESCRIPTOR) for detail in details), f"Status.details has no BadRequest: {found}")


def _json_status(targets: Targets) -> None:
    answer = targets.over_http.post(b"{not json", JSON)
    expect(status_of(answer).message, "message of the Status is empty")


def _json_as_protobuf(targets: Targets) -> None:
    answer = targets.over_http.post(b'{"resourceSpans": []}', PROTOBUF)
    expect(answer.status == 400, f"answers {answer.status}")


def _broken_gzip(sent: Callable[[], bytes]) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(sent(), content_encoding="gzip")
        expect(answer.status == 400, f"answers {answer.status}")
        status_of(answer)

    return run


def _content_type(content_type: str | None) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(messages.body(), content_type)
        expect(answer.status == 415, f"answers {answer.status}")

    return run


def _status_of_415(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body(), "text/plain")
    expect(400 <= answer.status < 500, f"answers {answer.status}")
    status_of(answer)


def _unknown_encoding(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body(), content_encoding="rot13")
    expect(400 <= answer.status < 500, f"answers {answer.status}, as if it could read it")
    status_of(answer)


def _unknown_encoding_is_415(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body(), content_encoding="rot13")
    expect(answer.status == 415, f"answers {answer.status}")


def _method(method: str) -> Callable[[Targets], None]:
    def run(targets: Targets) -> None:
        answer = targets.over_http.post(b"", method=method)
        expect(answer.status in (405, 501), f"answers {answer.status}")

    return run


def _allow(targets: Targets) -> None:
    answer = targets.over_http.post(b"", method="GET")
    if answer.status != 405:
        raise NotServed(f"GET is answered {answer.status}")
    expect("POST" in answer.headers.get("allow", ""), f"405 with Allow {answer.headers.get('allow')!r}")


def _status_of_405(targets: Targets) -> None:
    answer = targets.over_http.post(b"", method="PUT")
    expect(400 <= answer.status < 600, f"answers {answer.status}")
    status_of(answer)


def _unknown_path(targets: Targets) -> None:
    answer = targets.over_http.post(messages.body(), path="/v1/tracks")
    expect(answer.status == 404, f"answers {answer.status}")


def _status_of_404(targets: Targets) -> None:
    status_of(targets.over_http.post(messages.body(), path="/v1/tracks"))


def _goes_on(targets: Targets) -> None:
    connection = targets.over_http.connection()
    try:
        for sent in (b"no protobuf", b"\x0a\x05", b"\xff" * 100):
            targets.over_http.post(sent, connection=connection)
        http_accepted.accepted(targets.over_http.post(messages.body(), connection=connection))
    finally:
        connection.close()


def _invalid_utf8(targets: Targets) -> None:
    sent = messages.body(messages.span(name="NAME")).replace(b"NAME", b"\xff\xfe\xfd\xfc")
    answer = targets.over_http.post(sent)
    expect(answer.status in (200, 400), f"answers {answer.status}")


def _deep(targets: Targets) -> None:
    value = b"\x10\x01"
    for _ in range(200):
        value = _field(2, _field(5, value)) if len(value) > 10**6 else _field(5, _field(1, value))
    sent = messages.request(messages.span()).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    span = sent + _field(9, _field(1, b"deep") + _field(2, value))
    answer = targets.over_http.post(_field(1, _field(2, _field(2, span))))
    expect(answer.status in (200, 400), f"answers {answer.status}")


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size >= 0x80:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + length + bytes((size,)) + content


def oversized(size_bytes: int) -> bytes:
    """A valid request of about `size_bytes`, which compresses well."""
    span = messages.span(name="x" * 2**20)
    return messages.body(*[span] * (size_bytes // 2**20 + 1))


def _limit_after_decompression(targets: Targets) -> Answer:
    sent = gzip.compress(oversized(targets.oversize_bytes), 1)
    return targets.over_http.post(sent, content_encoding="gzip")


def _is_limited(targets: Targets) -> None:
    answer = _limit_after_decompression(targets)
    expect(answer.status != 200, f"takes {len(oversized(targets.oversize_bytes))} bytes out of a small gzip")
    expect(answer.status not in _RETRYABLE, f"answers {answer.status}, so that clients send it again and again")


def _is_413(targets: Targets) -> None:
    answer = _limit_after_decompression(targets)
    if answer.status == 200:
        raise NotServed("takes it")
    expect(answer.status == 413, f"answers {answer.status}")


def _declared_length(targets: Targets) -> None:
    http = targets.over_http
    if http.tls or http.headers:
        raise NotServed("asked without TLS and headers only")
    head = f"POST {http.prefix}{TRACES} HTTP/1.1\r\nhost: {http.host}\r\ncontent-type: {PROTOBUF}\r\n"
    came = http.raw(f"{head}content-length: {2**40}\r\n\r\n".encode() + messages.body(), then_end=True)
    expect(not came.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), f"answers {came[:40]!r}")


_CHECKS: list[tuple[str, str, str, Callable[[Targets], None]]] = [
    (HTTP_FAILURES, MUST, "the body of a 400 is a google.rpc.Status", _status_body),
    (HTTP_FAILURES, MUST, "JSON: the body of a 400 is a google.rpc.Status", _json_status),
    (HTTP_RESPONSE, MUST, "a refusal has the content-type of the request", _same_content_type),
    (HTTP_FAILURES, SHOULD, "Status.message says what is wrong", _message),
    (BAD_DATA, SHOULD, "Status.details has a BadRequest", _details),
    (BINARY, MUST, "JSON that is said to be protobuf is 400", _json_as_protobuf),
    (COMPRESSION, MUST, "what is no gzip, and said to be, is 400", _broken_gzip(lambda: b"this is no gzip")),
    (COMPRESSION, MUST, "gzip that is cut off is 400", _broken_gzip(lambda: gzip.compress(messages.body())[:-6])),
    (
        COMPRESSION,
        MUST,
        "gzip with a wrong checksum is 400",
        _broken_gzip(lambda: gzip.compress(messages.body())[:-8] + b"\x00" * 8),
    ),
    (OTHER_RESPONSES, SHOULD, "another content-type is 415 (RFC 9110)", _content_type("text/plain")),
    (OTHER_RESPONSES, SHOULD, "no content-type is 415 (RFC 9110)", _content_type(None)),
    (HTTP_FAILURES, MUST, "the body of the answer to another content-type is a Status", _status_of_415),
    (HTTP_FAILURES, MUST, "an unknown content-encoding is refused with a Status", _unknown_encoding),
    (OTHER_RESPONSES, SHOULD, "an unknown content-encoding is 415 (RFC 9110)", _unknown_encoding_is_415),
    (HTTP_REQUEST, SHOULD, "GET is 405 (RFC 9110)", _method("GET")),
    (HTTP_REQUEST, SHOULD, "PUT is 405 (RFC 9110)", _method("PUT")),
    (HTTP_REQUEST, SHOULD, "DELETE is 405 (RFC 9110)", _method("DELETE")),
    (OTHER_RESPONSES, SHOULD, "405 says in Allow what may be sent (RFC 9110)", _allow),
    (HTTP_FAILURES, MUST, "the body of a 405 is a google.rpc.Status", _status_of_405),
    (HTTP_REQUEST, SHOULD, "an unknown path is 404", _unknown_path),
    (HTTP_FAILURES, SHOULD, "the body of a 404 is a google.rpc.Status", _status_of_404),
    (HTTP_FAILURES, MUST, "after refusals the connection and the receiver go on", _goes_on),
    (BAD_DATA, MUST, "a name that is no UTF-8 is taken or 400", _invalid_utf8),
    (BAD_DATA, MUST, "a value of 200 levels is taken or 400", _deep),
    (HTTP_REQUEST, MUST, "the size after decompression is limited, and the refusal is final", _is_limited),
    (HTTP_REQUEST, SHOULD, "what is too large is 413", _is_413),
    (HTTP_REQUEST, MUST, "a length that nothing follows is no success and no fault of the server", _declared_length),
]
