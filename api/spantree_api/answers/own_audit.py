"""Who asked what of spantree itself: the shape of the answers."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from spantree_api.answers.executions import documented


@documented
class OwnAuditEntry(TypedDict):
    """One request that spantree answered or refused, or one change by a command."""

    at: str
    actor_kind: str
    """`token`, `person`, `local` (an account of an operating system), `anyone` (no token was ever made), `nobody` (not
    let in), `service` (spantree itself)"""
    actor: str
    """the beginning of the token that names it, the person, the account"""
    scope: str | None
    channel: str
    """`http`, `grpc`, `command` or `service`"""
    action: str
    """`read`, `list`, `export`, `analyze`, `create`, `update`, `delete`, `test`, `login`, `refused` ..."""
    object_type: str | None
    object_id: str | None
    method: str | None
    route: str | None
    """the template of the path, never its query"""
    status: int | None
    times: int
    """how often the same was asked within some seconds"""
    address: str | None
    details: dict[str, Any]
    """of a change: what was changed"""


@documented
class OwnAuditPage(TypedDict):
    """Events, newest first."""

    entries: list[OwnAuditEntry]
    next_cursor: str | None
    """give it as `cursor` for the next page; null on the last one"""
