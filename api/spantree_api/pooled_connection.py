"""A connection of the API's pool: with a session of its own, on the server that takes writes where that is wanted."""

from __future__ import annotations

import time
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import AsyncConnection

from spantree_exporter.errors import OperatorError
from spantree_exporter.postgres.patience import HAS_LIMIT, NoAnswer
from spantree_exporter.postgres.session import (
    BEGIN_WITHIN_S,
    KEPT,
    SESSION,
    any_server_is_next,
    check_kept,
    shared,
    without_address,
)

# Reading goes on by a standby while there is no primary, and it is the primary that is back within seconds.
_SECOND_CHOICE_S: Final = 20.0


class Attempts:
    """What became of the last attempt to connect: None where it succeeded, or where there was none."""

    def __init__(self) -> None:
        self.failure: OperatorError | psycopg.Error | None = None

    def why(self) -> str | None:
        """Why it failed, in words."""
        return None if self.failure is None else without_address(self.failure)


class PooledConnection(AsyncConnection[Any]):
    """Made by `connect` with the settings of psycopg and four more, one of them `answer_within_s`.

    `attempts` is told what becomes of it, `set_up` is a statement to be executed once, with its parameters, and by the
    settings `primary_first` a server is looked for before any that the URL leads to is taken.
    """

    answer_within_s: float | None = None
    leave_at_s = float("inf")
    """By time.monotonic(): when another server is looked for, where this is one to read from only."""

    @classmethod
    async def connect(cls, conninfo: str = "", **settings: Any) -> Self:
        """Connect. Raises psycopg.Error, OperatorError."""
        attempts: Attempts = settings.pop("attempts")
        set_up: tuple[LiteralString, dict[str, object]] = settings.pop("set_up")
        primary_first: dict[str, Any] = settings.pop("primary_first")
        answer_within_s: float = settings.pop("answer_within_s")
        try:
            connection = await cls._begun(conninfo, primary_first, settings)
            try:
                await connection.execute(*set_up)
            except BaseException:
                await connection.close()
                raise
        except (OperatorError, psycopg.Error) as error:
            attempts.failure = error
            raise
        attempts.failure = None
        connection.answer_within_s = answer_within_s
        return connection

    @classmethod
    async def _begun(cls, conninfo: str, primary_first: dict[str, Any], settings: dict[str, Any]) -> Self:
        connection = await cls._attempt(conninfo, primary_first, settings)
        try:
            if await connection._is_shared():
                await connection.close()
                connection = await cls._attempt(conninfo, primary_first, settings)
                await connection._is_shared()
                cursor = await connection.execute(KEPT)
                check_kept(await cursor.fetchone())
        except BaseException:
            await connection.close()
            raise
        return connection

    async def wait(self, gen: Any, *arguments: Any, **more: Any) -> Any:
        """As psycopg's. Raises OperationalError where it takes longer than `answer_within_s`; None: any time."""
        if self.answer_within_s is None or not HAS_LIMIT:
            return await super().wait(gen, *arguments, **more)
        try:
            return await super().wait(gen, *arguments, **{"timeout": self.answer_within_s, **more})
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise NoAnswer(self.answer_within_s) from error

    async def _is_shared(self) -> bool:
        cursor = await self.execute(SESSION)
        return shared(await cursor.fetchone(), self.info.backend_pid)

    @classmethod
    async def _attempt(cls, conninfo: str, primary_first: dict[str, Any], settings: dict[str, Any]) -> Self:
        try:
            connection = await super().connect(conninfo, **settings, **primary_first)
        except psycopg.OperationalError as error:
            if not primary_first or not any_server_is_next(error):
                raise
            connection = await super().connect(conninfo, **settings)
            connection.leave_at_s = time.monotonic() + _SECOND_CHOICE_S
        connection.answer_within_s = BEGIN_WITHIN_S
        return connection
