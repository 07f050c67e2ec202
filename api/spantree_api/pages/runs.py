"""`/runs/{id}`: a run over all its traces. `/conversations`, and the turns of one. `/compare/{a}/{b}`: two runs."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from spantree_api.http.any_text import any_text
from spantree_api.pages.frame import name_of, path_of, render, segment_of, with_query
from spantree_api.pages.in_process import NotAnswered, ask, position

router = APIRouter(include_in_schema=False)
# Steps that a page shows at most.
_NODES = 500
_TURNS = 20


@router.get(f"/runs/{any_text('run_id')}")
async def run_page(request: Request, run_id: str) -> Response:
    """The executions of a run and its steps over all traces."""
    begins = await position(request)
    run = await ask(request, f"/runs/{path_of(name_of(request, run_id))}")
    nodes = run["tree"]["nodes"]
    return render(
        request, "run.html", position=begins, run=run, nodes=nodes[:_NODES], left_out=max(0, len(nodes) - _NODES)
    )


@router.get("/conversations")
async def conversations_page(request: Request, cursor: str | None = None) -> Response:
    """Conversations, newest turn first."""
    page = await ask(request, "/conversations", {"cursor": cursor})
    return render(request, "conversations.html", page=page, cursor=cursor)


@router.get(f"/conversations/{any_text('conversation_id')}")
async def conversation_page(request: Request, conversation_id: str, cursor: str | None = None) -> Response:
    """The turns of a conversation in the order they were spoken, the newest ones at first."""
    conversation_id = name_of(request, conversation_id)
    path = f"/conversations/{path_of(conversation_id)}"
    begins = await position(request)
    page = await ask(request, f"{path}/turns", {"limit": _TURNS, "cursor": cursor})
    following = page["next_cursor"]
    return render(
        request,
        "conversation.html",
        conversation_id=conversation_id,
        position=begins,
        turns=list(reversed(page["turns"])),
        earlier=None
        if following is None
        else with_query(f"/conversations/{segment_of(conversation_id)}", {"cursor": following}),
    )


@router.get("/compare/{a}/{b}")
async def compare_page(request: Request, a: str, b: str) -> Response:
    """What went differently in two executions, the first steps of it; `?all=1` also what did not."""
    try:
        diff = await ask(request, f"/executions/{path_of(a)}/diff/{path_of(b)}")
    except NotAnswered as refusal:
        if b != "last-good" or refusal.status != 404:
            raise
        # Of the first one, if it is there, there is nothing good to compare with.
        one = await ask(request, f"/executions/{path_of(a)}")
        return render(request, "compare_none.html", 404, execution=one, message=str(refusal))
    one = await ask(request, f"/executions/{diff['a']}")
    other = await ask(request, f"/executions/{diff['b']}")
    every = request.query_params.get("all") == "1"
    nodes = [node for node in diff["nodes"] if every or node["change"] != "same"]
    return render(
        request,
        "compare.html",
        diff=diff,
        a=one,
        b=other,
        nodes=nodes[:_NODES],
        left_out=max(0, len(nodes) - _NODES),
        every=every,
    )
