"""Tenants: each one's spans in its own rows, whatever ids they share; tokens as the database and a watch know them."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.factories import span
from tests.tables import project_all, query
from tests.waiting import wait_until

from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.store import Store
from spantree_exporter.token_watch import TokenWatch
from spantree_exporter.tokens import ANYONE, Identity, KnownTokens, TokenBook, digest_of


def test_the_same_spans_of_two_tenants_are_each_stored_and_projected(migrated_url: str) -> None:
    with closing(Store(migrated_url)) as store:
        for tenant_id in (3, 0):
            # The parent comes later, so that the projector does it.
            assert store.write([span(2, parent=1)], tenant_id=tenant_id).spans == 1
            assert store.write([span(1)], tenant_id=tenant_id).spans == 1
        assert store.write([span(1)], tenant_id=3).duplicates == 1
        project_all(migrated_url, store)
        for table, rows in (("span", 2), ("node", 2), ("execution", 1), ("resource", 1), ("trace", 1)):
            counted = query(migrated_url, f"SELECT tenant_id, count(*) FROM spantree.{table} GROUP BY 1 ORDER BY 1")
            assert counted == [(0, rows), (3, rows)], table
        assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]


def test_tenants_are_added_renamed_and_dropped_and_numbers_are_given_out_once(migrated_url: str) -> None:
    with TokenBook(migrated_url) as book:
        assert [book.add_tenant("blue"), book.add_tenant("green", spans_per_s_max=100)] == [1, 2]
        book.rename_tenant("green", "red")
        book.drop_tenant("red")
        assert book.add_tenant("red") == 3
        assert [(one.tenant_id, one.name) for one in book.tenants()] == [(0, "default"), (1, "blue"), (3, "red")]
        with pytest.raises(OperatorError, match="of this name is there already"):
            book.add_tenant("blue")
        with pytest.raises(OperatorError, match="lower-case letters"):
            book.add_tenant("No Name")
        with pytest.raises(OperatorError, match='no tenant "black": there are default, blue, red'):
            book.create_token("black", "read")
        with pytest.raises(OperatorError, match="cannot be dropped"):
            book.drop_tenant("default")


def test_a_watch_knows_good_tokens_and_forgets_the_others(migrated_url: str, tmp_path: Path) -> None:
    kept = tmp_path / "tokens.json"
    watch = TokenWatch(migrated_url, kept, interval_s=0.05)
    watch.start()

    def known() -> KnownTokens:
        assert watch.known is not None
        return watch.known

    try:
        wait_until(lambda: watch.known is not None, 10, "the watch has looked")
        assert known().identity_of(None, 0) is ANYONE
        with TokenBook(migrated_url) as book:
            book.add_tenant("blue", spool_bytes_max=1000)
            soon = datetime.now(UTC) + timedelta(hours=1)
            token = book.create_token("blue", "ingest", soon, "the shop")
            wait_until(lambda: known().by_digest != {}, 10, "the token is known")
            expires_ns = known().by_digest[digest_of(token)].expires_ns
            assert expires_ns is not None
            identity = Identity(1, "blue", "ingest", token[:12], expires_ns, None, 1000)
            assert known().identity_of(token, 0) == identity
            assert (identity.may("ingest"), identity.may("read")) == (True, False)
            # From now on nobody is anyone, and what was known outlives a restart without the database.
            assert known().identity_of(None, 0) is None
            assert known().identity_of(token + "x", 0) is None
            assert known().identity_of(token, expires_ns) is None
            wait_until(
                lambda: TokenWatch("postgresql://127.0.0.1:1/nowhere", kept).known == watch.known,
                10,
                "it is on the disk",
            )
            assert (kept.stat().st_mode & 0o777, token in kept.read_text()) == (0o600, False)
            book.revoke_token(token[:12])
            wait_until(lambda: known().by_digest == {}, 10, "the token is revoked")
            assert known().required
            assert [(one.token_id, one.tenant, one.scope, one.note) for one in book.tokens()] == [
                (token[:12], "blue", "ingest", "the shop")
            ]
    finally:
        watch.stop()
