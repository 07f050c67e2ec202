"""Which tokens are good, of those that the database has told."""

from __future__ import annotations

from spantree_exporter.tokens import ANYONE, Identity, KnownTokens, digest_of


def test_a_token_is_good_until_the_moment_it_expires() -> None:
    ada = Identity(1, "blue", "read", "spt_ada", expires_ns=100)
    known = KnownTokens({digest_of("ada"): ada}, required=True)
    assert (known.identity_of("ada", 99), known.identity_of("ada", 100)) == (ada, None)
    assert (known.identity_of("bob", 99), known.identity_of(None, 99)) == (None, None)
    assert KnownTokens().identity_of(None, 99) == ANYONE


def test_what_is_longer_than_any_token_is_none_whatever_it_is_known_as() -> None:
    long = "x" * 201
    known = KnownTokens({digest_of(text): ANYONE for text in (long, long[1:])}, required=True)
    assert (known.identity_of(long[1:], 0), known.identity_of(long, 0)) == (ANYONE, None)
