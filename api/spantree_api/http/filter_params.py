"""The query parameters that narrow down executions, the same ones for lists and exports."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from spantree_api.errors import InvalidParameter
from spantree_api.filters import ExecutionFilter
from spantree_api.http.params import HiddenQuery, MomentQuery, StatusFilter, Text
from spantree_api.rendering import ns_of

_NS_PER_MS = 1_000_000


async def _filter_of(
    status: Annotated[list[StatusFilter] | None, Query(description="may be given more than once")] = None,
    workflow: Annotated[Text | None, Query(description="name of the workflow, whole")] = None,
    service_name: Annotated[Text | None, Query(alias="service", description="a service that took part")] = None,
    conversation_id: Annotated[Text | None, Query(description="conversation, session or thread")] = None,
    user_id: Annotated[Text | None, Query(description="for whom it ran")] = None,
    run_id: Annotated[Text | None, Query(description="declared id of the run")] = None,
    kind: Annotated[
        Text | None, Query(description="workflow, agent, request ...; `request` lists hidden ones too")
    ] = None,
    since: MomentQuery = None,
    until: MomentQuery = None,
    min_duration_ms: Annotated[
        float | None,
        Query(
            ge=0,
            le=1e12,
            allow_inf_nan=False,
            description="shorter ones are left out; what has not ended lasts until now",
        ),
    ] = None,
    max_duration_ms: Annotated[
        float | None, Query(ge=0, le=1e12, allow_inf_nan=False, description="longer ones are left out")
    ] = None,
    error_category: Annotated[Text | None, Query(description="timeout, network, llm ...")] = None,
    project: Annotated[Text | None, Query(description="the project that it declares")] = None,
    q: Annotated[
        Text | None,
        Query(
            min_length=1,
            max_length=500,
            description="words, or beginnings of words, of names, errors and ids of executions and their nodes, "
            "or `key:value` of an attribute",
        ),
    ] = None,
    hidden: HiddenQuery = False,
) -> ExecutionFilter:
    wanted = ExecutionFilter(
        statuses=None if status is None else tuple(status),
        workflow=workflow,
        service=service_name,
        conversation_id=conversation_id,
        user_id=user_id,
        run_id=run_id,
        kind=kind,
        since_ns=None if since is None else ns_of(since),
        until_ns=None if until is None else ns_of(until),
        min_duration_ns=None if min_duration_ms is None else round(min_duration_ms * _NS_PER_MS),
        max_duration_ns=None if max_duration_ms is None else round(max_duration_ms * _NS_PER_MS),
        error_category=error_category,
        project=project,
        q=q,
        hidden=hidden or kind == "request",
    )
    if wanted.since_ns is not None and wanted.until_ns is not None and wanted.since_ns >= wanted.until_ns:
        raise InvalidParameter("until", "until is not after since: wanted a later time, since is inside the range")
    return wanted


FilterOf = Annotated[ExecutionFilter, Depends(_filter_of)]
