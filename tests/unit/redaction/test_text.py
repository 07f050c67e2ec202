"""Secrets are found wherever in a text they stand, what looks like them stays, and no text makes it slow."""

from __future__ import annotations

import time

import pytest

from spantree_exporter.redaction import linear
from spantree_exporter.redaction.rules import DEFAULT_RULES, LEAVING_RULES, rules_from
from spantree_exporter.redaction.text import TextRedactor

KEY = b"k" * 16
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dGhlIHNpZ25hdHVyZQ"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow-x\n-----END RSA PRIVATE KEY-----"


@pytest.fixture(params=["RE2", "Python"])
def redactor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TextRedactor:
    """By RE2, which servers have, and without it, as in most services."""
    if request.param == "Python":
        monkeypatch.setattr("spantree_exporter.redaction.linear.re2_or_none", lambda: None)
    return TextRedactor(DEFAULT_RULES)


@pytest.mark.parametrize(
    ("text", "left", "kinds"),
    [
        ("Authorization: Bearer abcdefghijkl.mnop", "Authorization: Bearer <redacted>", ["bearer"]),
        ("authorization: Basic dXNlcjpwYXNz\r\nHost: x", "authorization: Basic <redacted>\r\nHost: x", ["basic"]),
        ("authorization: hunter2hunter2", "authorization: <redacted>", ["authorization"]),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: <redacted>\nHost: x", ["cookie"]),
        ("set-cookie: sid=abc; Path=/; HttpOnly", "set-cookie: <redacted>", ["cookie"]),
        (f"got {JWT} back", "got <redacted> back", ["jwt"]),
        (f"line\\n{JWT}", "line\\n<redacted>", ["jwt"]),
        (f"a {PEM} b", "a <redacted> b", ["pem"]),
        ("cut -----BEGIN PRIVATE KEY-----\nMIIE", "cut <redacted>", ["pem"]),
        ("postgresql://app:hunter2@db/x", "postgresql://app:<redacted>@db/x", ["url_credentials"]),
        ("redis://:p@ss@host:6379/0", "redis://:<redacted>@host:6379/0", ["url_credentials"]),
        ("https:\\/\\/u:p\\/@h", "https:\\/\\/u:p\\/@h", []),
        ("https:\\/\\/u:pw@h", "https:\\/\\/u:<redacted>@h", ["url_credentials"]),
        ("https://0123456789abcdef0123@sentry.example/1", "https://<redacted>@sentry.example/1", ["url_credentials"]),
        ("GET /login?token=abc&x=1", "GET /login?token=<redacted>&x=1", ["token"]),
        ("https://x/?a=1&api_key=abc#top", "https://x/?a=1&api_key=<redacted>", ["api_key"]),
        ("https://s3/x?X-Amz-Signature=0af&n=1", "https://s3/x?X-Amz-Signature=<redacted>&n=1", ["url_signature"]),
        ("u?r=%3Ftoken%3Dabc%26n%3D1", "u?r=%3Ftoken%3D<redacted>%26n%3D1", ["token"]),
        ('{"password": "hunter2", "n": 1}', '{"password": "<redacted>", "n": 1}', ["password"]),
        ('{"password":12345,"n":1}', '{"password":"<redacted>","n":1}', ["password"]),
        ('{"a":{"secrets":{"x":["}",1]}},"n":1}', '{"a":{"secrets":"<redacted>"},"n":1}', ["secret"]),
        (r'{\"password\": \"hun\\\"ter2\", \"n\": 1}', r'{\"password\": \"<redacted>\", \"n\": 1}', ["password"]),
        (
            r'{"a": "{\"b\": \"{\\\"token\\\": \\\"x\\\"}\"}"}',
            r'{"a": "{\"b\": \"{\\\"token\\\": \\\"<redacted>\\\"}\"}"}',
            ["token"],
        ),
        ("{'client_secret': 'x', 'n': True}", "{'client_secret': '<redacted>', 'n': True}", ["secret"]),
        ('{"passwd": "cut he', '{"passwd": "<redacted>', ["password"]),
        ('"name": "Cookie", "value": "a=b"', '"name": "Cookie", "value": "<redacted>"', ["cookie"]),
        (
            '{"key":"password","value":{"stringValue":"x"}}',
            '{"key":"password","value":{"stringValue":"<redacted>"}}',
            ["password"],
        ),
        ("DB_PASSWORD=hunter2 next", "DB_PASSWORD=<redacted> next", ["password"]),
        ("user=a&password=b&n=1", "user=a&password=<redacted>&n=1", ["password"]),
        ("password: hunter", "password: <redacted>", ["password"]),
        ("login(user='a', password='b', n=1)", "login(user='a', password='<redacted>', n=1)", ["password"]),
        ("AccountKey=abc==;Suffix=x", "AccountKey=<redacted>;Suffix=x", ["private_key"]),
        ("psql --password hunter2 -U x", "psql --password <redacted> -U x", ["password"]),
        ("run --api-key=abc", "run --api-key=<redacted>", ["api_key"]),
        ("<ns:password>hunter2</ns:password>", "<ns:password><redacted></ns:password>", ["password"]),
        ("AKIAIOSFODNN7EXAMPLE", "<redacted>", ["aws_key"]),
        ("key sk-proj-abcdefghijklmnop1234 is", "key <redacted> is", ["sk_key"]),
        ("ghp_abcdefghijklmnopqrstuv", "<redacted>", ["github_token"]),
        ("xoxb-123456789012-abcdefgh", "<redacted>", ["slack_token"]),
        ("AIzaSyA1234567890abcdefghijklmnopqrstu", "<redacted>", ["google_key"]),
        ("hf_abcdefghijklmnopqrst1", "<redacted>", ["service_key"]),
        ("ALTER ROLE app WITH PASSWORD 'it''s' VALID", "ALTER ROLE app WITH PASSWORD '<redacted>' VALID", ["password"]),
        ("CREATE USER 'a'@'%' IDENTIFIED BY 'x y'", "CREATE USER 'a'@'%' IDENTIFIED BY '<redacted>'", ["password"]),
        (
            "alter user a identified with `sha256_password` by 'x', b identified by password '*12'",
            "alter user a identified with `sha256_password` by '<redacted>', b identified by password '<redacted>'",
            ["password"],
        ),
        ("SELECT PASSWORD('x'), 'y'", "SELECT PASSWORD('<redacted>'), 'y'", ["password"]),
        ("OPTIONS (user 'a', password E'x\\'y')", "OPTIONS (user 'a', password E'<redacted>')", ["password"]),
        (
            "payload=%7B%22password%22%3A%22hunter2%22%2C%22n%22%3A1%7D",
            "payload=%7B%22password%22%3A%22<redacted>%22%2C%22n%22%3A1%7D",
            ["password"],
        ),
        ("%22token%22%3A+%22x%22", "%22token%22%3A+%22<redacted>%22", ["token"]),
        ("PASS_PHRASE=x pass-word: y", "PASS_PHRASE=<redacted> pass-word: <redacted>", ["password"]),
        ("naïve password=crème, dort", "naïve password=<redacted>, dort", ["password"]),
    ],
)  # fmt: skip
def test_a_secret_goes_and_all_else_stays(redactor: TextRedactor, text: str, left: str, kinds: list[str]) -> None:
    assert redactor.text(text) == (left, kinds)
    assert redactor.text(left) == (left, [])


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens is 4096", "gen_ai.usage.input_tokens=12", '{"completion_tokens": 12}', "next_page_token=abc",
        "the password is wrong", "Invalid token: unexpected end of input", "SyntaxError: Unexpected token: identifier",
        "TypeError: f() takes 1 positional argument", "keyword: token order", "basic understanding of things",
        "bearer authentication is wanted", '{"password": null, "token": "", "secret": false}',
        "password=${DB_PASSWORD}",
        "https://host:8080/path?email=a@b.example", "ssh://git@github.com/x/y", "task-abcdefgh-ijklmnop",
        "sk-learn-pipeline-for-texts", "session.id=abc", "Secret::Store is a class", "kubectl get secret my-app",
        "card 4111 1111 1111 1111", "ada@example.org", "k8s.secret.name=db", "token => ",
        "refused by 'host'", "a user identified by its 'name'", "ALTER ROLE a PASSWORD NULL", "IDENTIFIED BY '***'",
        "%22next_page_token%22%3A%22x%22", "by pass: wordy",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(redactor: TextRedactor, text: str) -> None:
    assert redactor.text(text) == (text, [])


def test_a_hash_is_the_same_for_equal_secrets_and_another_by_another_key() -> None:
    rules = {"mode": "hash"}
    first, other = (TextRedactor(rules_from(rules, key)) for key in (KEY, b"x" * 16))
    text = "password=hunter2 token=hunter2 secret=other"
    redacted, kinds = first.text(text)
    hashes = [part.partition("=")[2] for part in redacted.split()]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(len(one) == len("<redacted:0123456789abcdef>") for one in hashes)
    assert kinds == ["password", "token", "secret"]
    assert first.text(redacted) == (redacted, [])
    assert other.text(text)[0] != redacted


def test_what_is_dropped_leaves_what_it_stood_in_whole() -> None:
    redactor = TextRedactor(rules_from({"mode": "drop"}))
    assert redactor.text('{"password": "x", "n": 1}')[0] == '{"password": "", "n": 1}'
    assert redactor.text('{"password": 12, "n": 1}')[0] == '{"password": "", "n": 1}'
    assert redactor.text("GET /?token=abc&x=1")[0] == "GET /?&x=1"
    assert redactor.text("see postgresql://app:pw@db/x")[0] == "see postgresql://app:@db/x"


def test_cards_and_addresses_go_only_if_asked(redactor: TextRedactor) -> None:
    text = "ada@example.org paid with 4111 1111 1111 1111, order 4111111111111112"
    assert redactor.text(text) == (text, [])
    asked = TextRedactor(rules_from({"cards": True, "emails": True}))
    assert asked.text(text) == ("<email> paid with <redacted>, order 4111111111111112", ["card", "email"])


def test_rules_of_ones_own_come_besides() -> None:
    own = {
        "without": ["jwt"],
        "keep": ["app.*.token"],
        "key": [{"name": "patient", "match": "*.patient_id"}, {"name": "plan", "match": "tarif_größe"}],
        "pattern": [{"name": "ticket", "match": r"\bTCK-([0-9]{4})\b", "mode": "drop"}],
    }
    redactor = TextRedactor(rules_from(own))
    assert redactor.text(JWT) == (JWT, [])
    assert redactor.text("x TCK-1234 TCK-12345 é") == ("x TCK- TCK-12345 é", ["ticket"])
    assert redactor.text("app.x.token=abc other.token=abc") == ("app.x.token=abc other.token=<redacted>", ["token"])
    assert redactor.text("app.patient_id=7 patient_id=7") == ("app.patient_id=<redacted> patient_id=7", ["patient"])
    assert redactor.text('{"tarif_größe": "XL"}') == ('{"tarif_größe": "<redacted>"}', ["plan"])


def test_a_rule_that_fails_costs_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(secret: str) -> bool:
        raise RuntimeError("a rule of no use")

    monkeypatch.setattr("spantree_exporter.redaction.text.is_nothing", fail)
    assert TextRedactor(DEFAULT_RULES).text("Bearer abcdefghijkl.mnop") == ("<redacted>", ["rule_failed"])


PIECES = [
    "a.", "password=", "eyJ", "eyJaaaaaaa.", "://", "://a:", "-----BEGIN ", "-----BEGIN RSA PRIVATE KEY-----", "@",
    "1 ",
    "bearer ", "sk-", "a@", "token=>", "\\", '="', "cookie: ", "cookie:", "authorization: basic ", 'password="',
    'password=\\"', "<password>", "--password ", "token ", '{"secret":{', "hf_", "password\\", "passwordpassword",
    "4 4",
    "?sig=", "aaaaaaaaaaaaaaaaaaaa.",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_hostile_text_costs_what_its_length_does(piece: str) -> None:
    redactor = TextRedactor(LEAVING_RULES)
    began_s = time.process_time()
    redactor.text(piece * (200_000 // len(piece)))
    # Half a second where it is slowest; anything that grew with the square would take minutes.
    assert time.process_time() - began_s < 20


def test_re2_is_there_for_the_tests() -> None:
    assert linear.re2_or_none() is not None
