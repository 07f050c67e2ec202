"""Fixtures that every test may ask for: a PostgreSQL server, an empty database, a migrated database."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.citus_cluster import nodes_of
from tests.citus_exceptions import reason_of
from tests.postgres import name_of, new_database, shards_of, throw_away_server

from spantree_exporter.postgres import partitions

# Examples are timed by the wall clock, which tells more of a busy machine than of the code; pytest's timeout stays.
settings.register_profile("spantree", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spantree")

# Tests' spans have fixed dates that must not become too old; the window itself has tests of its own.
partitions.DEFAULT_DAYS_BACK = 20_000  # type: ignore[misc]
os.environ["SPANTREE_PARTITION_DAYS_BACK"] = "20000"

# A job in the background of a shell without job control ignores Ctrl-C, and so would the servers that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what does not hold on a Citus cluster, where there is one."""
    given = os.environ.get("SPANTREE_TEST_DATABASE_URL")
    if not given or not nodes_of(given):
        return
    for item in items:
        if reason := reason_of(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=f"not on Citus: {reason}"))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server for the session: SPANTREE_TEST_DATABASE_URL (whose user may create databases), else one of our own.

    It may be the coordinator of a Citus cluster: what has `migrated_url` is then distributed.
    """
    given = os.environ.get("SPANTREE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with throw_away_server() as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh, empty database."""
    with new_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def _migrated_template(postgres_url: str) -> Iterator[str]:
    # Imported here, so that tests without a schema run while the schema is being worked on.
    from spantree_exporter.postgres.migrate import migrate

    with new_database(postgres_url) as url:
        migrate(url, shards=shards_of(postgres_url))
        yield name_of(url)


@pytest.fixture
def migrated_url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    """A fresh database with the schema of this build: a copy, in a fraction of the time that migrating takes."""
    with new_database(postgres_url, template=_migrated_template) as url:
        yield url
