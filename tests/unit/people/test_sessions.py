"""Cookies of who has logged in: forged and ended ones are none, and what is remembered of them is bounded."""

from __future__ import annotations

import pytest

from spantree_api.people import sessions
from spantree_api.people.sessions import Login, Session, Sessions

KEY = "a key of at least thirty-two characters"
LOGIN = Login("state", "nonce", "verifier", "/failures")


def begun(made: Sessions, subject: str = "ada") -> Session:
    session = made.session_of(made.session_cookie(subject, subject.title(), ("read",)))
    assert session is not None
    return session


def test_a_cookie_is_good_in_every_process_with_the_key_and_for_what_it_was_made_for() -> None:
    one, other = Sessions(KEY, 60), Sessions(KEY, 60)
    cookie = one.session_cookie("ada", "Ada", ("read", "admin"))
    session = other.session_of(cookie)
    assert session is not None
    assert (session.subject, session.name, session.values) == ("ada", "Ada", ("read", "admin"))
    assert Sessions(KEY + "!", 60).session_of(cookie) is None
    assert (one.login_of(one.login_cookie(LOGIN)), one.login_of(cookie)) == (LOGIN, None)
    assert one.session_of(one.login_cookie(LOGIN)) is None
    assert one.session_of("x" * 4_001) is None


def test_one_that_was_ended_is_refused_and_another_of_the_same_person_is_not() -> None:
    made = Sessions(KEY, 60)
    cookies = [made.session_cookie("ada", "Ada", ()) for _ in range(2)]
    first = made.session_of(cookies[0])
    assert first is not None
    made.end(first)
    assert (made.session_of(cookies[0]), made.session_of(cookies[1]) is not None) == (None, True)


def test_what_has_ended_is_remembered_up_to_a_number_and_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_ENDED_MAX", 3)
    made = Sessions(KEY, 60)
    ended = [begun(made) for _ in range(5)]
    for session in ended:
        made.end(session)
    assert list(made._ended) == [session.session_id for session in ended[2:]]
    # Cookies of before have become too old by themselves.
    monkeypatch.setattr("time.monotonic", lambda: max(made._ended.values()) + 1)
    made.end(last := begun(made))
    assert list(made._ended) == [last.session_id]
