"""The own audit of the API: who asked it for what, written behind the answers in batches, never before one.

Requests that change nothing and are equal within a batch are one event with a count. Of who is nobody only so many are
told one by one, for anybody can ask for anything without end. What waits is bounded; what the database does not take is
tried again, and what there is no room for is counted and logged once a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spantree_api.asked import Asked, Templates, asked
from spantree_api.database import Database
from spantree_api.errors import ApiError
from spantree_api.stored_rows import CountRow, records
from spantree_exporter.own_audit import as_json
from spantree_exporter.own_audit_event import Actor, Channel, Event, Level
from spantree_exporter.tokens import ANYONE, Identity

log = logging.getLogger(__name__)

NOBODY: Final = Actor("nobody")
_WAITING_MAX: Final = 10_000
_BATCH: Final = 500
_LONGEST_PAUSE_S: Final = 30.0
_LOG_INTERVAL_S: Final = 60.0
_LAST_WRITE_S: Final = 2.0
# Refusals of nobody that are told by route and address, in so long; the rest of each status is one line, as the
# collector's are.
_MINUTE_S: Final = 60.0
_OF_NOBODY_MAX: Final = 100
REFUSED: Final = frozenset({401, 403})
"""Statuses of who was not let in, or not allowed."""


@dataclass(slots=True)
class AuditNote:
    """What a route tells of a change beyond its path. No secret and no text of a search belongs in it."""

    object_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def note_of(state: dict[str, Any]) -> AuditNote:
    """The note of a request, out of its state."""
    note: AuditNote = state.setdefault("audit", AuditNote())
    return note


async def _note_of_request(request: Request) -> AuditNote:
    return note_of(request.scope.setdefault("state", {}))


NoteOf = Annotated[AuditNote, Depends(_note_of_request)]
"""The note of a request, for a route that changes something."""


def actor_of(identity: Identity) -> Actor:
    """Who asks, as the own audit names them."""
    if identity.person:
        return Actor("person", identity.person, identity.scope)
    if identity.token_id:
        return Actor("token", identity.token_id, identity.scope)
    return Actor("anyone", "", identity.scope)


def changed_by(identity: Identity, said: str | None) -> str | None:
    """Whose a change is: the caller's identity; the caller's word only where nobody has one."""
    return identity.person_name or actor_of(identity).name or said


class OwnAudit:
    """What waits to be written, and the task that writes it. For the event loop that `start` is called in."""

    def __init__(self, level: Level, flush_s: float, count_lost: Callable[[int], None] = lambda events: None) -> None:
        self.level: Level = level
        self._flush_s = flush_s
        self._count_lost = count_lost
        self._waiting: deque[Event] = deque()
        self._equal: dict[tuple[object, ...], Event] = {}
        self._nobodys = _Nobodys()
        self._database: Database | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = 0
        self._logged_at_s = float("-inf")

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._waiting) + len(self._equal)

    def add(self, event: Event, *, is_change: bool) -> None:
        """Have it written soon. Returns at once; beyond what may wait it is lost, and counted."""
        if is_change:
            if self._has_room():
                self._waiting.append(event)
            return
        key = (
            event.actor, event.channel, event.action, event.tenant_id, event.object_type, event.object_id,
            event.method, event.route, event.status, event.address,
        )  # fmt: skip
        known = self._equal.get(key)
        if known is not None:
            self._equal[key] = replace(known, times=known.times + 1)
        elif event.action == "refused" and event.actor == NOBODY and not self._nobodys.may_be_told(event):
            return
        elif self._has_room():
            self._equal[key] = event

    def start(self, database: Database) -> None:
        """Begin to write."""
        self._database = database
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what waits, for at most two seconds, and end."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        self._waiting.extend(self._nobodys.rest(whole_minutes=False))
        try:
            async with asyncio.timeout(_LAST_WRITE_S):
                while self.waiting:
                    await self._write()
        except (ApiError, TimeoutError) as error:
            self._lose(self.waiting, str(error) or "PostgreSQL took too long at the end")

    async def _run(self) -> None:
        pause_s = self._flush_s
        while True:
            await asyncio.sleep(pause_s)
            self._waiting.extend(self._nobodys.rest())
            try:
                while self.waiting:
                    await self._write()
                pause_s = self._flush_s
            except ApiError as error:
                pause_s = min(max(pause_s * 2, 0.1), _LONGEST_PAUSE_S)
                self._complain("%d events of the own audit wait for PostgreSQL: %s", self.waiting, error)
            except Exception:
                pause_s = _LONGEST_PAUSE_S
                log.exception("the own audit is written again in %.0f s: a defect", pause_s)

    async def _write(self) -> None:
        assert self._database is not None  # noqa: S101  # start has set it
        self._waiting.extend(self._equal.values())
        self._equal.clear()
        batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        try:
            async with self._database.transaction() as transaction:
                await transaction.all("write_own_audit", {"events": as_json(batch)}, records(CountRow))
        except BaseException:
            # Those that were stored before the answer was lost are left alone the next time: their ids are known.
            self._waiting.extendleft(reversed(batch))
            raise

    def _has_room(self) -> bool:
        if self.waiting < _WAITING_MAX:
            return True
        self._lose(1, f"{_WAITING_MAX} wait already")
        return False

    def _lose(self, events: int, why: str) -> None:
        self._lost += events
        self._count_lost(events)
        self._complain("%d events of the own audit are lost: %s", self._lost, why)

    def _complain(self, message: str, *arguments: object) -> None:
        if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            log.warning(message, *arguments)


class _Nobodys:
    """Which refusals of nobody are told one by one, and what the others of a minute come to."""

    def __init__(self) -> None:
        self._began_s = float("-inf")
        self._left = 0
        self._rest: dict[tuple[Channel, int | None], Event] = {}

    def may_be_told(self, event: Event) -> bool:
        """Whether `event` is one of the first of this minute; the others are counted."""
        if not self._rest and time.monotonic() - self._began_s >= _MINUTE_S:
            self._began_s, self._left = time.monotonic(), _OF_NOBODY_MAX
        if self._left > 0:
            self._left -= 1
            return True
        key = (event.channel, event.status)
        known = self._rest.get(key)
        self._rest[key] = (
            Event(NOBODY, event.channel, event.action, status=event.status, details={"senders": "many"}, at=event.at)
            if known is None
            else replace(known, times=known.times + 1)
        )
        return False

    def rest(self, *, whole_minutes: bool = True) -> list[Event]:
        """What the others came to, a line for each status; with `whole_minutes` once their minute is over."""
        if not self._rest or (whole_minutes and time.monotonic() - self._began_s < _MINUTE_S):
            return []
        told = list(self._rest.values())
        self._rest.clear()
        return told


class OwnAuditing:
    """ASGI middleware around everything that may refuse: hands what was asked, and the status, to the own audit."""

    def __init__(
        self,
        app: ASGIApp,
        audit: OwnAudit,
        base: str,
        templates: Callable[[], Iterable[str]],
        channel: Channel = "http",
        actor: Actor | None = None,
    ) -> None:
        """`base` is what the API's routes are below of, `actor` who asks where nobody is authenticated.

        `templates` are asked for once, when the first request is refused.
        """
        self._app = app
        self._audit = audit
        self._base = base
        self._paths = templates
        self._templates: Templates | None = None
        self._channel: Channel = channel
        self._actor = actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http" or "audit" in scope.get("state", {}):
            # A page asks the API in its own name: one request of a person is told once.
            await self._app(scope, receive, send)
            return
        note = note_of(scope.setdefault("state", {}))
        is_told = False

        async def noting(message: Message) -> None:
            nonlocal is_told
            if message["type"] == "http.response.start" and not is_told:
                # Not at its end: a stream has none for hours.
                is_told = True
                self._tell(scope, message["status"], note)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not is_told:
                self._tell(scope, 500, note)
            raise

    def _tell(self, scope: Scope, status: int, note: AuditNote) -> None:
        # A browser without a token is led to where one logs in, by another status.
        is_refused = status in REFUSED or "refused" in scope["state"]
        route: Any = scope.get("route")
        template: str | None = getattr(route, "path", None)
        # A route that was included knows its own path alone (seen with FastAPI 0.165).
        if template is not None and scope["path"].startswith(self._base) and not template.startswith(self._base):
            template = self._base + template
        if template is None and is_refused:
            template = self._template(scope["path"])
        if template is None:
            return
        wanted = asked(scope["method"], template, scope.get("path_params", {}))
        if wanted is None or not (is_refused or wanted.is_recorded(self._audit.level)):
            return
        if not is_refused and self._actor is None and "identity" not in scope["state"]:
            # Of who is nobody only what is open is answered, such as a log-out of who was not logged in: it changes
            # nothing, and told it would let anybody fill the audit.
            return
        action = "refused" if is_refused else wanted.action
        event = self._event(scope, status, template, action, wanted, note)
        self._audit.add(event, is_change=wanted.category == "change" and not is_refused)

    def _event(self, scope: Scope, status: int, template: str, action: str, wanted: Asked, note: AuditNote) -> Event:
        state = scope["state"]
        identity = state.get("identity") or state.get("refused")
        actor = self._actor or (actor_of(identity) if isinstance(identity, Identity) else NOBODY)
        client = scope.get("client")
        return Event(
            actor,
            self._channel,
            action,
            identity.tenant_id if isinstance(identity, Identity) else ANYONE.tenant_id,
            wanted.object_type,
            note.object_id or wanted.object_id,
            scope["method"],
            template,
            status,
            client[0] if client else None,
            note.details,
        )

    def _template(self, path: str) -> str | None:
        if self._templates is None:
            self._templates = Templates(self._paths())
        return self._templates.of(path)
