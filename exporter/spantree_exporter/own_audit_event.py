"""What a line of the own audit says. Settings know it too: nothing here needs a database."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID, uuid4

ActorKind: TypeAlias = Literal["token", "person", "local", "anyone", "nobody", "service"]
Channel: TypeAlias = Literal["http", "grpc", "command", "service"]
Level: TypeAlias = Literal["changes", "content", "all"]
DEFAULT_KEPT_DAYS: Final = 400
"""Thirteen months: a year can be looked back upon whole."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who: `name` is the beginning of a token, a person or an account; empty where there is none."""

    kind: ActorKind
    name: str = ""
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the own audit. `times`: how many equal requests it stands for. Nothing in it is a secret."""

    actor: Actor
    channel: Channel
    action: str
    tenant_id: int = 0
    object_type: str | None = None
    object_id: str | None = None
    method: str | None = None
    route: str | None = None
    status: int | None = None
    address: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: UUID = field(default_factory=uuid4)


def local_actor() -> Actor:
    """The account of the operating system that this process runs as."""
    try:
        return Actor("local", getpass.getuser())
    except (OSError, KeyError):
        # A container's number without a name.
        return Actor("local", f"uid {os.getuid()}")
