"""Known errors: what ours recognise, what a person's file may say, and that matching is bounded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spantree_api.failures.known_errors import known_errors_of
from spantree_api.failures.known_errors_file import load_known_errors, our_known_errors
from spantree_exporter.errors import ConfigError


@pytest.mark.parametrize(
    ("error_type", "message", "name"),
    [
        ("TypeError", "charge() takes 1 positional argument but 2 were given", "signature_mismatch"),
        ("TypeError", "run() got an unexpected keyword argument 'user'", "signature_mismatch"),
        ("TypeError", "f() missing 1 required positional argument: 'x'", "signature_mismatch"),
        ("TypeError", "'NoneType' object is not subscriptable", "none_value"),
        ("AttributeError", "'NoneType' object has no attribute 'get'", "none_value"),
        ("TypeError", "Cannot read properties of undefined (reading 'id')", "none_value"),
        ("openai.NotFoundError", "The model `gpt-9` does not exist or you do not have access to it", "model_not_found"),
        ("ollama.ResponseError", 'model "llama9" not found, try pulling it first', "model_not_found"),
        ("openai.RateLimitError", "Rate limit reached for requests per min", "rate_limit"),
        ("openai.RateLimitError", "You exceeded your current quota, please check your plan", "quota_exceeded"),
        ("ClientError", "ThrottlingException: Rate exceeded", "rate_limit"),
        ("BadRequestError", "This model's maximum context length is 8192 tokens", "context_too_long"),
        ("anthropic.BadRequestError", "prompt is too long: 210000 tokens > 200000 maximum", "context_too_long"),
        ("httpx.ReadTimeout", "", "timeout"),
        ("asyncio.exceptions.TimeoutError", None, "timeout"),
        ("grpc.RpcError", "DEADLINE_EXCEEDED: took 5 s", "timeout"),
        ("ConnectionRefusedError", "[Errno 111] Connection refused", "connection_refused"),
        ("httpx.ConnectError", "[Errno -2] Name or service not known", "dns"),
        ("httpx.ConnectError", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "tls_certificate"),
        ("httpx.RemoteProtocolError", "Server disconnected without sending a response.", "connection_lost"),
        ("MemoryError", "", "out_of_memory"),
        ("OSError", "[Errno 28] No space left on device", "disk_full"),
        ("PermissionError", "[Errno 13] Permission denied: '/data'", "permission_denied"),
        ("HTTPError", "403 Forbidden", "permission_denied"),
        ("AuthenticationError", "Incorrect API key provided", "authentication_failed"),
        ("jwt.ExpiredSignatureError", "Signature has expired", "key_expired"),
        ("KeyError", "'OPENAI_API_KEY'", "setting_missing"),
        ("KeyError", "'order'", "key_missing"),
        ("ModuleNotFoundError", "No module named 'torch'", "import_missing"),
        ("json.JSONDecodeError", "Expecting value: line 1 column 1 (char 0)", "json_invalid"),
        ("pydantic_core.ValidationError", "1 validation error for Order", "validation_failed"),
        ("psycopg.errors.DeadlockDetected", "deadlock detected", "deadlock"),
        ("psycopg.errors.UniqueViolation", "duplicate key value violates unique constraint", "unique_violation"),
        ("psycopg.errors.UndefinedTable", 'relation "orders" does not exist', "schema_behind"),
        ("langgraph.errors.GraphRecursionError", "Recursion limit of 25 reached", "recursion"),
        ("OperationalError", "FATAL: sorry, too many clients already", "too_many_connections"),
        ("shop.CardDeclined", "card declined", None),
        (None, None, None),
        (None, "error 14290", None),
        ("Weird", "quotation", None),
    ],
)
def test_common_errors_are_recognised(error_type: str | None, message: str | None, name: str | None) -> None:
    advice = our_known_errors().advice_for(error_type, message, "code")
    assert advice.name == name
    assert advice.suggestion


def test_an_unknown_error_has_the_advice_of_its_category_or_of_none() -> None:
    ours = our_known_errors()
    assert ours.advice_for("X", "y", "network").suggestion.startswith("The other side could not be reached")
    assert ours.advice_for("X", "y", "of a newer version") == ours.advice_for("X", "y", None)


def test_a_persons_file_comes_before_ours(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(
        """
        [[error]]
        name = "card_declined"
        match = [{ type = "CardDeclined", message = "code * of bank*" }, { message = "declined by issuer" }]
        suggestion = "Ask the customer for another card."
        fixes = ["Show the form again."]

        [category.code]
        suggestion = "Ask the team of the step."
        """
    )
    known = load_known_errors(file)
    assert known.advice_for("shop.CardDeclined", "code 51 of bank 7", None).fixes == ("Show the form again.",)
    assert known.advice_for("shop.CardDeclined", "code 51", None).name is None
    assert known.advice_for(None, "it was DECLINED by issuer.", None).name == "card_declined"
    assert known.advice_for("X", "y", "code").suggestion == "Ask the team of the step."
    assert known.advice_for("MemoryError", None, None).name == "out_of_memory"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1", "x is no part of the known errors"),
        ("[[error]]\nname = 'a'", "has no suggestion"),
        ("[[error]]\nname = 'a'\nsuggestion = 'b'", "has no match"),
        ("[[error]]\nname = 'a'\nsuggestion = 'b'\nmatch = [{ regex = '.*' }]", "match wants type, message or both"),
        ("[[error]]\nname = 'a'\nsuggestion = 'b'\nmatch = [{ type = '*' }]", "match wants type, message or both"),
        ("[[error]]\nmatch = [{ type = 'a' }]\nsuggestion = 'b'", "has no name"),
        ("[[error]]\nname = 'a'\nsuggestion = 'b'\nmatch = [{ type = 'a' }]\nfix = 1", "fix is no field"),
        ("[category.code]\nsuggestion = 'a'\nfixes = 'b'", "fixes wants at most"),
        ("error = 1", "known errors are tables"),
        ("a = [", "are no TOML"),
        ("#" * 2**20 + "\n#", "are larger than"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "known.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load_known_errors(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; SPANTREE_API_KNOWN_ERRORS"):
        load_known_errors(tmp_path / "none.toml")


def test_the_cost_of_a_match_grows_with_pattern_and_message_only() -> None:
    entry = {"name": "x", "suggestion": "y", "match": [{"message": "a*" * 99 + "b"}, {"type": "a*" * 99 + "b"}]}
    known = known_errors_of({"error": [entry] * 1_000, "category": {"unknown": {"suggestion": "?"}}})
    began_s = time.process_time()
    assert known.advice_for("a" * 10_000, "a" * 1_000_000, None).name is None
    # 2,000 patterns of 99 pieces each; by a regular expression that goes back it would be for ever.
    assert time.process_time() - began_s < 10
