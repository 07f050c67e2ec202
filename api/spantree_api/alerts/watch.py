"""Looks at what the rules of alerts ask for, and delivers their messages.

    changes, open executions, figures --(one process at a time)--> messages --(any process)--> webhooks

A message is put into the outbox in the transaction that notes how far was looked, so each is made once; it is claimed
for a minute and sent until the receiver has taken it, so it is delivered at least once, whichever process ends.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from spantree_api.alerts import messages as events
from spantree_api.alerts.messages import Message, Rule
from spantree_api.alerts.rules_file import FileRule
from spantree_api.config import ApiConfig
from spantree_api.database import Database, Snapshot
from spantree_api.errors import ApiError, Unavailable
from spantree_api.figures.hours import figures_range
from spantree_api.figures.stats import Durations
from spantree_api.reader import Reader
from spantree_api.reads import alerts as reads
from spantree_api.reads import changes, lists
from spantree_api.reads.stats import workflow_figures
from spantree_api.stored_rows import ExecutionRow, StuckRow
from spantree_api.webhooks import NOBODYS_NAMES, Outcome, post, resolvers, signature
from spantree_exporter.rollup import KEY_LENGTH

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_WINDOWS_S: Final = 5.0
_OPEN_S: Final = 10.0
_DROP_S: Final = 3_600.0
_LOG_INTERVAL_S: Final = 60.0
# A turn that has begun may end by itself: cancelled in the midst of a query, the driver complains.
_ENDING_S: Final = 1.0
# Transactions of projections that one look takes in, and bytes of what they changed: some thousand executions.
_CHANGES: Final = 200
_CHANGED_BYTES: Final = 64 * 2**10
# Executions that one rule is held against before other requests of this process have their turn: some milliseconds.
_AT_ONCE: Final = 100
# Executions that are open for too long, some at a time.
_OPEN_ROWS: Final = 500
# Days of which a workflow's usual duration is made, and how long it is remembered.
_USUAL_DAYS: Final = 7
_USUAL_S: Final = 60.0
_USUAL_NAMES: Final = 1_000
# An execution that is projected anew long after its last span came is none that something happened to.
_NEWS_S: Final = 90_000.0
# Clocks of collectors and of PostgreSQL differ.
_CLOCKS_S: Final = 300.0
_NS_PER_S: Final = 1_000_000_000
_RETRY_S: Final = 2.0
_RETRY_MAX_S: Final = 3_600.0
# A receiver that fails again and again is given pauses of up to this, whatever else waits for it.
_REST_MAX_S: Final = 600.0
_REOPENED: Final = timedelta(days=7)


class AlertWatch:
    """The two loops of one process, over all tenants. Made in the event loop; `start` begins, `close` ends them."""

    def __init__(
        self, database: Database, config: ApiConfig, clock: Callable[[], int], file_rules: Sequence[FileRule] | None
    ) -> None:
        self._database = database
        self._config = config
        self._clock = clock
        self._file_rules = file_rules
        self._tasks: list[asyncio.Task[None]] = []
        self._delivering: dict[int, asyncio.Task[bool]] = {}  # by tenant
        self._ending = asyncio.Event()
        self._tenants: dict[int, Alerts] = {}
        self._logged_at_s = float("-inf")

    def start(self) -> None:
        """Begin to look and to deliver, whether the database is there or not."""
        for name, turn in (("look", self._look), ("deliver", self._deliver)):
            self._tasks.append(asyncio.create_task(self._again(turn), name=f"spantree-alerts-{name}"))

    async def close(self) -> None:
        """End both; what was being sent is sent again by whoever is next."""
        self._ending.set()
        tasks = [*self._tasks, *self._delivering.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=_ENDING_S)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, ApiError):
                await task

    async def _again(self, turn: Callable[[], Awaitable[bool]]) -> None:
        """`turn` after `turn`: at once where it says that there is more, else after a second."""
        while not self._ending.is_set():
            more = False
            try:
                more = await turn()
            except ApiError as error:
                self._complain("alerts wait for the database: %s", error)
            except Exception:
                self._complain("a defect in the alerts; they go on", trace=True)
            if not more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._ending.wait()

    async def _look(self) -> bool:
        """Look for each tenant in turn; whether one of them has more."""
        own = self._of(self._config.tenant_id)
        if self._file_rules is not None:
            await own.take_file_rules(self._file_rules)
            self._file_rules = None
        async with self._database.snapshot() as snapshot:
            tenants = await reads.tenants_with_rules(snapshot)
        for gone in self._tenants.keys() - {*tenants, self._config.tenant_id}:
            await self._tenants[gone].give_up()
            del self._tenants[gone]
        more = False
        failed: Exception | None = None
        for tenant_id in tenants:
            try:
                more = await self._of(tenant_id).look() or more
            except Exception as error:
                if isinstance(error, Unavailable) and error.code == "database_unavailable":
                    raise
                failed = failed or error  # told once those after it had their turn
        if failed is not None:
            raise failed
        return more

    async def _deliver(self) -> bool:
        """Send some messages of each tenant, which waits for no receiver of another; whether there were any."""
        for tenant_id, one in self._tenants.items():
            if tenant_id not in self._delivering:
                self._delivering[tenant_id] = asyncio.create_task(one.deliver(), name="spantree-alerts-tenant")
        if not self._delivering:
            return False
        await asyncio.wait(self._delivering.values(), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        ended = [self._delivering.pop(one) for one, task in list(self._delivering.items()) if task.done()]
        results = [task.result() for task in ended]  # of all: an error of one is told
        return any(results)

    def _of(self, tenant_id: int) -> Alerts:
        if (found := self._tenants.get(tenant_id)) is None:
            config = replace(self._config, tenant_id=tenant_id)
            found = self._tenants[tenant_id] = Alerts(self._database, config, self._clock)
        return found

    def _complain(self, template: str, *arguments: object, trace: bool = False) -> None:
        if time.monotonic() - self._logged_at_s >= _LOG_INTERVAL_S:
            self._logged_at_s = time.monotonic()
            _log.warning(template, *arguments, exc_info=trace)


class Alerts:
    """The rules and messages of one tenant, as one process looks at them and delivers them."""

    def __init__(self, database: Database, config: ApiConfig, clock: Callable[[], int]) -> None:
        self._database = database.of(config.tenant_id)
        self._config = config
        self._clock = clock
        self._usual: dict[str, tuple[float, events.UsualDuration]] = {}
        self._next_s: dict[str, float] = {}
        self._resting: dict[UUID, tuple[int, float]] = {}  # rule -> failures in a row, and until when none is sent
        self._full_logged_at_s = float("-inf")
        # Its own: names that one tenant has chosen hold up no other's.
        self._names = resolvers()

    async def look(self) -> bool:
        """Make the messages of all that the rules find now; whether there is more to look at."""
        async with self._database.snapshot() as snapshot:
            rules = await reads.all_rules(snapshot, self._config.tenant_id)
            full = await reads.full_rules(snapshot, self._config.tenant_id) if rules else frozenset()
        enabled = [rule for rule in rules if rule.body.enabled and rule.id not in full]
        for rule in rules:
            if rule.id in full:
                self._complain_of_full(rule)
        if self._is_due("drop", _DROP_S):
            async with self._database.transaction() as transaction:
                more = await reads.drop_old_messages(transaction, self._config.tenant_id)
            if more:
                del self._next_s["drop"]  # at the next look
        if not enabled:
            return False
        await self._look_at_open([rule for rule in enabled if rule.body.kind in ("stuck", "lost")])
        await self._look_at_windows([rule for rule in enabled if rule.looks_at_windows])
        await self._look_at_reopened([rule for rule in enabled if rule.body.kind == "reopened_group"])
        return await self.look_at_changes([rule for rule in enabled if rule.looks_at_changes])

    async def look_at_changes(self, rules: Sequence[Rule]) -> bool:
        """Make the messages of what changed since the last look; whether there is more to look at."""
        tenant_id = self._config.tenant_id
        if not rules:
            return False
        newest = await changes.newest_position(self._database, tenant_id)
        async with self._database.transaction() as transaction:
            if not await reads.lock_alerts(transaction, tenant_id):
                return False
            noted = await reads.position_of(transaction, tenant_id)
            begin = min(rule.from_position for rule in rules)
            # While there was no rule nobody looked, and nobody has to.
            position = begin if noted is None or noted < begin else noted
            if noted is not None and position >= newest:
                return False
            traces, reached = await changes.traces_after(transaction, tenant_id, position, _CHANGES, _CHANGED_BYTES)
            now_ns = self._clock()
            rows = await changes.read_executions(transaction, tenant_id, list(traces))
            usual, groups = await self._known_before(transaction, rules, list(rows.values()), now_ns)
            for rule in rules:
                messages = await self._of_changed(rule, list(rows.values()), traces, usual, groups, now_ns)
                await reads.put_messages(transaction, tenant_id, messages, now_ns)
            if reached == position:
                reached = newest  # what changed in between is not kept any more
            await reads.put_position(transaction, tenant_id, reached)
        return reached < newest

    async def _known_before(
        self, transaction: Snapshot, rules: Sequence[Rule], rows: Sequence[ExecutionRow], now_ns: int
    ) -> tuple[dict[str, events.UsualDuration], dict[str, events.GroupRow]]:
        """The usual durations and the groups of failures that rules hold executions against."""
        kinds = {rule.body.kind for rule in rules}
        usual: dict[str, events.UsualDuration] = {}
        groups: dict[str, events.GroupRow] = {}
        if "duration" in kinds:
            names = {row.execution.workflow_name for row in rows if row.execution.workflow_name is not None}
            usual = await self._usual_durations(transaction, names, now_ns)
        if "new_group" in kinds:
            fingerprints = {row.execution.error_fingerprint for row in rows if row.execution.error_fingerprint}
            groups = await reads.groups_of(transaction, self._config.tenant_id, fingerprints)
        return usual, groups

    async def _of_changed(
        self,
        rule: Rule,
        rows: Sequence[ExecutionRow],
        positions: dict[UUID, int],
        usual: dict[str, events.UsualDuration],
        groups: dict[str, events.GroupRow],
        now_ns: int,
    ) -> list[Message]:
        """The messages of one rule, as many as may wait."""
        lost_after_s = self._config.lost_after_s
        oldest_ns = max(rule.active_since_ns - _CLOCKS_S * _NS_PER_S, now_ns - _NEWS_S * _NS_PER_S)
        messages: list[Message] = []
        for number, row in enumerate(rows, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if positions[row.trace_id] <= rule.from_position or row.execution.last_seen_ns < oldest_ns:
                continue
            message = events.of_changed(rule, row, usual, groups, now_ns, lost_after_s)
            if message is not None:
                messages.append(message)
            if len(messages) >= reads.MOST_WAITING:
                self._complain_of_full(rule)
                break
        return messages

    async def _usual_durations(
        self, transaction: Snapshot, names: Iterable[str], now_ns: int
    ) -> dict[str, events.UsualDuration]:
        now_s = time.monotonic()
        reader = Reader(transaction, self._config, now_ns)
        found = {}
        for name in names:
            known = self._usual.get(name)
            if known is None or now_s - known[0] > _USUAL_S:
                figures = await workflow_figures(reader, figures_range(now_ns, _USUAL_DAYS), name)
                if figures is None:
                    usual = events.UsualDuration(None, 0)
                else:
                    key = name[:KEY_LENGTH]
                    p95_ms = Durations(figures.durations).quantile_ms(key, key, 0.95, figures.row.avg_ms)
                    usual = events.UsualDuration(p95_ms, figures.row.runs - figures.row.open - figures.row.waited)
                if len(self._usual) >= _USUAL_NAMES:
                    self._usual.clear()
                known = self._usual[name] = (now_s, usual)
            found[name] = known[1]
        return found

    async def _look_at_open(self, rules: Sequence[Rule]) -> None:
        """What /stuck lists. Any process may look: of what two find, one message is made."""
        if not rules or not self._is_due("open", _OPEN_S):
            return
        now_ns = self._clock()
        made = dict.fromkeys((rule.id for rule in rules), 0)
        async with self._database.snapshot() as snapshot:
            reader = Reader(snapshot, self._config, now_ns)
            # Of long ago it is no news any more: what had no message then needs none, and would get a second one else.
            async with aclosing(lists.stuck_since(reader, now_ns - round(_NEWS_S * _NS_PER_S), _OPEN_ROWS)) as pieces:
                async for rows in pieces:
                    for rule in rules:
                        if made[rule.id] < reads.MOST_WAITING:
                            made[rule.id] += await self._put_open(rule, rows, now_ns)
                        await asyncio.sleep(0)
        for rule in rules:
            if made[rule.id] >= reads.MOST_WAITING:
                self._complain_of_full(rule)

    async def _put_open(self, rule: Rule, rows: Sequence[StuckRow], now_ns: int) -> int:
        """Make the messages of one rule about some of what /stuck lists; how many were new."""
        lost_after_s = self._config.lost_after_s
        found = (events.of_open(rule, one.row, one.after_s, now_ns, lost_after_s) for one in rows)
        messages = [message for message in found if message is not None]
        if not messages:
            return 0
        async with self._database.transaction() as transaction:
            return await reads.put_messages(transaction, self._config.tenant_id, messages, now_ns)

    async def _look_at_windows(self, rules: Sequence[Rule]) -> None:
        """Failure rates and sums over a window, under the lock: who finds one beyond its limit first tells it."""
        if not rules or not self._is_due("windows", _WINDOWS_S):
            return
        now_ns, tenant_id = self._clock(), self._config.tenant_id
        async with self._database.transaction() as transaction:
            if not await reads.lock_alerts(transaction, tenant_id):
                return
            for rule in rules:
                window_s = rule.body.window_s or events.DEFAULT_RATE_WINDOW_S
                figures = await reads.figures(transaction, tenant_id, rule, window_s, now_ns)
                beyond = events.beyond(rule, figures)
                new = await reads.newly_beyond(transaction, tenant_id, rule, beyond)
                messages = [events.of_window(rule, name, beyond[name], now_ns) for name in new]
                await reads.put_messages(transaction, tenant_id, messages, now_ns)

    async def _look_at_reopened(self, rules: Sequence[Rule]) -> None:
        if not rules or not self._is_due("reopened", _WINDOWS_S):
            return
        now_ns, tenant_id = self._clock(), self._config.tenant_id
        since = max(min(rule.active_since for rule in rules), datetime.fromtimestamp(now_ns / 1e9, UTC) - _REOPENED)
        async with self._database.transaction() as transaction:
            groups = await reads.reopened_groups(transaction, tenant_id, since)
            found = (events.of_reopened(rule, group) for rule in rules for group in groups)
            messages = [message for message in found if message is not None]
            await reads.put_messages(transaction, tenant_id, messages, now_ns)

    async def deliver(self) -> bool:
        """Send some messages that are due; whether there were any."""
        async with self._database.transaction() as transaction:
            claimed = await reads.claim_messages(transaction, self._config.tenant_id, self._rests())
        await asyncio.gather(*map(self._send, claimed))
        return bool(claimed)

    async def give_up(self) -> None:
        """Let go of the messages that nobody is to send any more, those that wait for a failing receiver, too."""
        async with self._database.transaction() as transaction:
            await reads.give_up_messages(transaction, self._config.tenant_id)

    async def _send(self, message: reads.ClaimedRow) -> None:
        tenant_id = self._config.tenant_id
        if message.webhook_url is None or message.secret is None:
            async with self._database.transaction() as transaction:
                await reads.settle_message(transaction, tenant_id, message.id, delivered=False, dropped=True)
            return
        outcome = await send(self._config, message.id, message.body, message.webhook_url, message.secret, self._names)
        self._note_receiver(message.rule_id, outcome)
        wait_s = min(_RETRY_MAX_S, _RETRY_S * 2.0 ** min(message.attempts - 1, 20)) * random.uniform(0.8, 1.2)  # noqa: S311
        async with self._database.transaction() as transaction:
            await reads.settle_message(
                transaction,
                tenant_id,
                message.id,
                delivered=outcome.delivered,
                wait_s=wait_s,
                answer_status=outcome.status,
                error=outcome.error,
            )

    def _rests(self) -> list[UUID]:
        """The rules whose receivers have a pause now."""
        now_s = time.monotonic()
        # Of one that has not failed for long, and of rules that are gone, nothing is remembered.
        self._resting = {one: rest for one, rest in self._resting.items() if rest[1] > now_s - _REST_MAX_S}
        return [rule_id for rule_id, (_, until_s) in self._resting.items() if until_s > now_s]

    def _note_receiver(self, rule_id: UUID, outcome: Outcome) -> None:
        failures, until_s = self._resting.pop(rule_id, (0, 0.0))
        if outcome.delivered:
            return
        now_s = time.monotonic()
        if until_s <= now_s:  # of those that were sent together one counts
            failures, until_s = failures + 1, now_s + min(_REST_MAX_S, _RETRY_S * 2.0 ** min(failures, 20))
        self._resting[rule_id] = (failures, until_s)

    def _complain_of_full(self, rule: Rule) -> None:
        now_s = time.monotonic()
        if now_s - self._full_logged_at_s >= _LOG_INTERVAL_S:
            self._full_logged_at_s = now_s
            _log.warning(
                "%d messages of the alert rule %s wait for their receiver: no more are made until some are delivered",
                reads.MOST_WAITING,
                rule.id,
            )

    async def take_file_rules(self, rules: Sequence[FileRule]) -> None:
        """The rules of the file, and no others of a file."""
        tenant_id = self._config.tenant_id
        position = await changes.newest_position(self._database, tenant_id)
        async with self._database.transaction() as transaction:
            known = {rule.id: rule for rule in await reads.all_rules(transaction, tenant_id) if rule.source == "file"}
            for rule_id in known.keys() - {rule.id for rule in rules}:
                await reads.delete_rule(transaction, tenant_id, rule_id)
            for rule in rules:
                body, changed_by = rule.body, None
                if (before := known.get(rule.id)) is not None:
                    changed_by = before.changed_by
                    # What the API may change stays as it is where the file says nothing of it.
                    kept = {"enabled", "silenced_until"} - rule.body.model_fields_set
                    body = body.model_copy(update={name: getattr(before.body, name) for name in kept})
                await reads.put_rule(transaction, tenant_id, rule.id, body, rule.secret, "file", position, changed_by)

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s.get(what, 0.0):
            return False
        self._next_s[what] = now_s + every_s
        return True


async def send(
    config: ApiConfig, event_id: UUID, body: str, url: str, secret: str, names: Executor = NOBODYS_NAMES
) -> Outcome:
    """One attempt to deliver a message. Never raises."""
    content = body.encode()
    headers = {
        "content-type": "application/json",
        "user-agent": "spantree",
        "x-spantree-signature": signature(secret, content),
        "idempotency-key": str(event_id),
    }
    return await post(url, headers, content, config.private_hosts, names)
