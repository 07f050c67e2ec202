"""Failures of the same cause, as groups that people open, resolve and ignore."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query, Response

from spantree_api.answers.failure_groups import FailureGroupDetail, FailureGroupPage, GroupPatch, GroupState
from spantree_api.authentication import IdentityOf
from spantree_api.cursor import GroupCursor
from spantree_api.errors import InvalidParameter, NotFound
from spantree_api.failures.groups import bucket_hours, change_answer, group_answer, group_answers
from spantree_api.http.params import CursorQuery, HiddenQuery, LimitQuery, MomentQuery, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.own_audit import NoteOf, changed_by
from spantree_api.reader import Reader
from spantree_api.reads.failure_groups import (
    GroupFilter,
    change_group,
    changes_of_group,
    counts_of_groups,
    examples_of_groups,
    group,
    groups_of_range,
)
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf

router = api_router("failures")
_DAY_NS = 86_400_000_000_000
_DEFAULT_DAYS = 7
# Fifty buckets of the trend a group, of eight days each.
_DAYS_MAX = 400
Fingerprint = Annotated[
    Text, Path(max_length=100, description="`fingerprint` of a group, `error_fingerprint` of others")
]


@router.get("/failures/groups", response_model=FailureGroupPage, responses=error_answers(422, 503))
async def list_groups(
    service: ServiceOf,
    state: Annotated[GroupState | None, Query()] = None,
    workflow: Annotated[Text | None, Query(description="only failures of this workflow")] = None,
    category: Annotated[Text | None, Query(description="error category: timeout, network, llm ...")] = None,
    since: MomentQuery = None,
    hidden: HiddenQuery = False,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Response:
    """Failures of the same cause, last seen first, with how many there were since `since` (7 days ago if not given)."""
    after = None if cursor is None else GroupCursor.decode(cursor)
    async with service.reader() as reader:
        since_ns = _since_ns(reader, None if since is None else ns_of(since))
        wanted = GroupFilter(since_ns, state, workflow, category, hidden)
        groups, following = await groups_of_range(reader, wanted, limit, after)
        counts = await counts_of_groups(reader, groups, wanted, bucket_hours(since_ns, reader.now_ns))
        examples = await examples_of_groups(reader, groups)
    page: FailureGroupPage = {
        "groups": group_answers(groups, counts, examples, since_ns, reader.now_ns),
        "since": rfc3339(since_ns),
        "next_cursor": None if following is None else following.encode(),
    }
    return json_answer(page)


@router.get("/failures/groups/{fingerprint}", response_model=FailureGroupDetail, responses=error_answers(404, 422, 503))
async def get_group(service: ServiceOf, fingerprint: Fingerprint, since: MomentQuery = None) -> Response:
    """One group, hidden executions included, with the changes of its state."""
    async with service.reader() as reader:
        answer = await _detail(reader, fingerprint, None if since is None else ns_of(since))
    return json_answer(answer)


@router.patch(
    "/failures/groups/{fingerprint}", response_model=FailureGroupDetail, responses=error_answers(404, 413, 422, 503)
)
async def patch_group(
    service: ServiceOf, identity: IdentityOf, note: NoteOf, fingerprint: Fingerprint, change: GroupPatch
) -> Response:
    """Resolve, ignore or open a group, with a note; each change is a line of its history."""
    if change.state is None and change.note is None:
        raise InvalidParameter("state", "neither state nor note is given: wanted what is to change")
    note.details = {name: value for name, value in (("state", change.state), ("by", change.by)) if value is not None}
    by = changed_by(identity, change.by)
    async with service.writer() as writer:
        if not await change_group(writer, fingerprint, change.state, change.note, by):
            raise _unknown(fingerprint)
        answer = await _detail(writer, fingerprint, None)
    return json_answer(answer)


async def _detail(reader: Reader, fingerprint: str, since_ns: int | None) -> FailureGroupDetail:
    found = await group(reader, fingerprint)
    if found is None:
        raise _unknown(fingerprint)
    wanted = GroupFilter(_since_ns(reader, since_ns), hidden=True)
    counts = await counts_of_groups(reader, [found], wanted, bucket_hours(wanted.since_ns, reader.now_ns))
    examples = await examples_of_groups(reader, [found])
    changes = await changes_of_group(reader, fingerprint)
    return {
        **group_answer(found, counts, examples[0] if examples else None, wanted.since_ns, reader.now_ns),
        "since": rfc3339(wanted.since_ns),
        "history": [change_answer(row) for row in changes],
    }


def _since_ns(reader: Reader, since_ns: int | None) -> int:
    if since_ns is None:
        return reader.now_ns - _DEFAULT_DAYS * _DAY_NS
    if since_ns < reader.now_ns - _DAYS_MAX * _DAY_NS:
        raise InvalidParameter("since", f"since is too long ago: wanted at most {_DAYS_MAX} days")
    if since_ns > reader.now_ns:
        raise InvalidParameter("since", "since is in the future: wanted an earlier time")
    return since_ns


def _unknown(fingerprint: str) -> NotFound:
    return NotFound(
        f"no group of failures {fingerprint!r}: nothing has failed of it, or its figures are a few seconds behind",
        {"fingerprint": fingerprint},
    )
