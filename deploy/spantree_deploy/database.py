"""The PostgreSQL that the settings name: one of the user's own, or the embedded one for as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spantree_deploy.embedded import EmbeddedPostgres
from spantree_deploy.settings import Settings

Report = Callable[[str], None]
"""Told in a few words about each step that may take longer than a blink."""
PostgresWatch = Callable[[EmbeddedPostgres | None], None]
"""Told of the embedded server when it runs, and None when it is about to be stopped."""


@contextmanager
def postgres_of(
    settings: Settings, report: Report = lambda step: None, watch: PostgresWatch = lambda postgres: None
) -> Iterator[str]:
    """The URL of the settings' PostgreSQL; spantree's own one runs at least for the time of the block."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with EmbeddedPostgres(settings.data_dir, pg_bin=settings.pg_bin, report=report) as postgres:
        watch(postgres)
        try:
            yield postgres.url
        finally:
            watch(None)
