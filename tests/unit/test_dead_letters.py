"""What one body can make of dead letters is bounded in number and in bytes."""

from __future__ import annotations

from tests.otlp_requests import request, span

from spantree_exporter.otlp.decode import (
    MAX_DEAD_LETTER_BYTES,
    MAX_DEAD_LETTERS,
    PROTOBUF,
    decode_request,
    examine,
)


def body_with(unusable: int, resource_bytes: int = 10) -> bytes:
    spans = [span(1, number) for number in range(1, unusable + 2)]
    for one in spans[1:]:
        one.span_id = b""
    return request(*spans, service="s" * resource_bytes).SerializeToString()


def test_unusable_spans_are_kept_up_to_a_number_and_all_of_them_are_told() -> None:
    body = body_with(MAX_DEAD_LETTERS + 500)
    decoded = decode_request(body, PROTOBUF, 1)
    assert (len(decoded.spans), len(decoded.dead), decoded.unkept) == (1, MAX_DEAD_LETTERS, 500)
    assert examine(body, PROTOBUF).rejected_spans == MAX_DEAD_LETTERS + 500


def test_a_large_resource_is_not_copied_for_each_of_them() -> None:
    decoded = decode_request(body_with(500, resource_bytes=2**20), PROTOBUF, 1)
    kept_bytes = sum(len(letter.raw) for letter in decoded.dead)
    assert MAX_DEAD_LETTER_BYTES <= kept_bytes < MAX_DEAD_LETTER_BYTES + 2 * 2**20
    assert len(decoded.dead) + decoded.unkept == 500


def test_looking_at_a_body_ends_with_the_spans_that_are_too_many() -> None:
    assert examine(body_with(50), PROTOBUF, most_spans=20).spans == 21
