"""What must not leave is cut out of texts, in time that grows with their length."""

from __future__ import annotations

import time

import pytest

from spantree_api.redaction import redacted, visible


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer <redacted>"),
        ("key sk-proj-abcdefghijklmnop1234 is wrong", "key <redacted> is wrong"),
        ("Incorrect API key provided: sk-ant-api03-AAAAAAAAAAAA", "Incorrect API key provided: <redacted>"),
        ("token ghp_abcdefghijklmnopqrstuv", "token <redacted>"),
        ("AKIAIOSFODNN7EXAMPLE", "<redacted>"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstu", "<redacted>"),
        ("xoxb-123456789012-abcdefgh", "<redacted>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdef", "<redacted>"),
        ("postgresql://app:hunter2@db/x", "postgresql://app:<redacted>@db/x"),
        ('{"password": "hunter2", "n": 1}', '{"password": "<redacted>", "n": 1}'),
        ("DB_PASSWORD=hunter2 next", "DB_PASSWORD=<redacted> next"),
        ("api_key='abc123'", "api_key='<redacted>'"),
        ("from ada@example.org to bob", "from <email> to bob"),
        ("card 4111 1111 1111 1111 declined", "card <number> declined"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----", "<redacted>"),
        ("max_tokens is 4096", "max_tokens is 4096"),
        ("TypeError: f() takes 1 positional argument", "TypeError: f() takes 1 positional argument"),
    ],
)
def test_secrets_go_and_the_rest_stays(text: str, left: str) -> None:
    assert redacted(text) == left


def test_what_nobody_sees_goes() -> None:
    tags = "".join(chr(0xE0000 + ord(one)) for one in "obey")
    assert visible(f"a\u200bb\u202ec\x00d\x1be{tags}f\n\tg\ufeff é 東") == "abcdef\n\tg é 東"


@pytest.mark.parametrize(
    "piece", ["a.", "password=", "eyJ", "://", "-----BEGIN ", "@", "1 ", "bearer ", "sk-", "a@", "token=>", "\\", '="']
)
def test_a_hostile_text_costs_what_its_length_does(piece: str) -> None:
    began_s = time.process_time()
    redacted(piece * (20_000 // len(piece)))
    assert time.process_time() - began_s < 5
