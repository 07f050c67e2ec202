"""`spantree list`, `tree`, `failures`, `stuck`, `diff` and `stats`: what happened, in a terminal.

Each asks the API and takes its parameters as options of the same names, with a dash or an underscore.
"""

from __future__ import annotations

import json as json_text
import re
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from spantree_deploy import console, render
from spantree_deploy import options as opt
from spantree_deploy.client import ApiClient, NotAnswered, api_of
from spantree_deploy.following import Following
from spantree_deploy.moments import moment
from spantree_deploy.settings import Settings
from spantree_exporter.errors import SpantreeError
from spantree_exporter.ids import trace_id_from_hex

_FOLLOW_S: Final = 1.0
_LOOK_AGAIN_S: Final = 5.0
# The newest execution of these statuses, instead of an id.
BY_WORD: Final = {"last": None, "last-failed": ["failed", "partial", "timed_out"]}
_PART_OF_A_PATH: Final = re.compile(r"[\w-]+")
_ENDED: Final = frozenset({"completed", "failed", "partial", "skipped", "cancelled", "timed_out", "lost"})

Json = Annotated[bool, typer.Option("--json", help="the API's answer as it is")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]
Execution = Annotated[
    str, typer.Argument(metavar="ID", help="the trace id: 32 hex digits, or a UUID; or last, last-failed")
]
Hidden = Annotated[bool, typer.Option("--hidden", help="also health checks, probes and lone client calls")]
Limit = Annotated[int, typer.Option(help="how many at most", min=1, max=200)]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the page before", show_default=False)]
Text = Annotated[str | None, typer.Option(show_default=False)]
Since = Annotated[
    str | None, typer.Option(help="2h, 7d, today, 2026-11-28 or a time; inside the range", show_default=False)
]
Until = Annotated[str | None, typer.Option(help="the same; outside the range", show_default=False)]
Duration = Annotated[float | None, typer.Option(min=0, show_default=False)]


def list_executions(
    status: Annotated[
        list[str] | None, typer.Option(help="failed, running, lost ...; may be repeated", show_default=False)
    ] = None,
    workflow: Text = None,
    service: Annotated[str | None, typer.Option(help="one that took part", show_default=False)] = None,
    conversation_id: Text = None,
    user_id: Text = None,
    run_id: Text = None,
    kind: Annotated[str | None, typer.Option(help="workflow, agent, request ...", show_default=False)] = None,
    project: Text = None,
    since: Since = None,
    until: Until = None,
    min_duration_ms: Duration = None,
    max_duration_ms: Duration = None,
    error_category: Text = None,
    q: Annotated[
        str | None,
        typer.Option("--q", help="text in names and errors, or key:value of an attribute", show_default=False),
    ] = None,
    hidden: Hidden = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on with each execution that changes, a line each time")
    ] = False,
    ids: Annotated[bool, typer.Option("--ids", help="the ids alone, for scripts")] = False,
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List executions, newest first, one line each."""
    now = datetime.now(UTC)
    parameters = {
        "status": status or None,
        "workflow": workflow,
        "service": service,
        "conversation_id": conversation_id,
        "user_id": user_id,
        "run_id": run_id,
        "kind": kind,
        "project": project,
        "since": moment("--since", since, now),
        "until": moment("--until", until, now),
        "min_duration_ms": min_duration_ms,
        "max_duration_ms": max_duration_ms,
        "error_category": error_category,
        "q": q,
        "hidden": hidden or None,
        "limit": limit,
        "cursor": cursor,
    }
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    with api_of(settings) as api:
        if follow:
            _follow_list(api, parameters, ids=ids, json=json)
            return
        answer = api.get("executions", parameters)
    if json:
        print_json(answer)
    elif ids:
        console.out.lines(([(one["execution_id"], "")], "") for one in answer["executions"])
    elif not answer["executions"]:
        console.out.print("no execution is like that")
    else:
        console.out.lines(render.executions_table(answer["executions"]))
    if not json and not ids:
        _say_more(answer, limit)
        _say_hidden(answer)


def tree(
    execution: Execution,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on showing what changes, until it has ended")
    ] = False,
    root: Annotated[str | None, typer.Option(help="only this node and those below it", show_default=False)] = None,
    depth: Annotated[int | None, typer.Option(help="levels below the root", min=0, show_default=False)] = None,
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Print one execution: its nodes, their statuses and durations, what failed first and why."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    parameters = {"root": root, "depth": depth}
    with api_of(settings) as api:
        execution = id_of(api, execution)
        if follow:
            _follow(api, execution, parameters, json)
            return
        answer = api.get(f"executions/{execution}/tree", parameters)
    if json:
        print_json(answer)
    else:
        print_tree(answer)
        _say_page(api, f"/executions/{answer['execution_id']}")


def failures(
    hours: Annotated[int, typer.Option(help="how far back", min=1, max=168)] = 24,
    group: Annotated[bool, typer.Option("--group", help="by cause: how often, since when, an example")] = False,
    state: Annotated[str | None, typer.Option(help="of groups: open, resolved or ignored", show_default=False)] = None,
    user_id: Text = None,
    workflow: Text = None,
    category: Annotated[str | None, typer.Option(help="timeout, network, llm ...", show_default=False)] = None,
    hidden: Hidden = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List failed and partial executions, newest first, with the node that failed first and why."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    if group and user_id is not None:
        raise SpantreeError("--user-id does not go with --group: groups are counted over all users")
    if state is not None and not group:
        raise SpantreeError("--state is of groups: give --group, too")
    parameters = {
        "workflow": workflow,
        "category": category,
        "hidden": hidden or None,
        "limit": limit,
        "cursor": cursor,
    }
    with api_of(settings) as api:
        if group:
            since = moment("--hours", f"{hours}h", datetime.now(UTC))
            answer = api.get("failures/groups", {**parameters, "since": since, "state": state})
        else:
            answer = api.get("failures", {**parameters, "hours": hours, "user_id": user_id})
    if json:
        print_json(answer)
    elif not (answer["groups"] if group else answer["failures"]):
        console.out.print(f"no execution failed in the last {hours} h")
    elif group:
        console.out.lines(render.groups_table(answer["groups"]))
        _say_more(answer, limit)
        _say_page(api, "/failures")
    else:
        console.out.lines(render.executions_table(answer["failures"]))
        _say_more(answer, limit)
        _say_page(api, "/failures")


def stuck(
    hidden: Hidden = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """List executions that are pending, running or waiting for too long, and lost ones; the longest first."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    with api_of(settings) as api:
        answer = api.get("stuck", {"hidden": hidden or None, "limit": limit, "cursor": cursor})
    if json:
        print_json(answer)
    elif not answer["executions"]:
        console.out.print("no execution is stuck")
    else:
        console.out.lines(render.stuck_table(answer["executions"]))
    if not json and answer.get("next_cursor") is not None:
        console.step(f"the oldest {limit}; more: --limit, or --cursor {answer['next_cursor']}")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="the trace id of one execution; or last, last-failed")],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", help="of the other; last-good: the newest completed one of the same workflow before A"
        ),
    ] = "last-good",
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Say what went differently in two executions: steps added, removed, changed, and the first difference."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    with api_of(settings) as api:
        answer = api.get(f"executions/{id_of(api, a)}/diff/{id_of(api, b)}")
    if json:
        print_json(answer)
    else:
        console.out.lines(render.diff_lines(answer))


def stats(
    workflow: Annotated[
        str | None, typer.Argument(metavar="WORKFLOW", help="the nodes of one workflow", show_default=False)
    ] = None,
    nodes: Annotated[bool, typer.Option("--nodes", help="figures of nodes, worst success rate first")] = False,
    execution: Annotated[
        str | None,
        typer.Option(
            "--execution",
            metavar="ID",
            help="where the time of one execution went: its id, or last, last-failed",
            show_default=False,
        ),
    ] = None,
    days: Annotated[int, typer.Option(help="how far back", min=1, max=30)] = 7,
    since: Annotated[
        str | None, typer.Option(help="instead of --days: 2h, today, 2026-11-28; by whole hours", show_default=False)
    ] = None,
    until: Until = None,
    hidden: Hidden = False,
    limit: Limit = 50,
    json: Json = False,
    api_url: opt.ApiUrl = None,
    ca: opt.Ca = None,
    data: opt.DataDir = None,
    database_url: opt.Database = None,
    config: opt.Config = None,
    set_: opt.Set = None,
) -> None:
    """Counts, success rates and durations of workflows, or of nodes; or of the steps of one execution."""
    settings = opt.settings_of(config, set_, data_dir=data, database_url=database_url, api_url=api_url, ca=ca)
    if execution is not None:
        if nodes or workflow is not None:
            raise SpantreeError("--execution does not go with a workflow or --nodes: those are of many executions")
        _stats_of_execution(settings, execution, limit, json=json)
        return
    of_nodes = nodes or workflow is not None
    now = datetime.now(UTC)
    ranged = {"days": days, "since": moment("--since", since, now), "until": moment("--until", until, now)}
    with api_of(settings) as api:
        if of_nodes:
            answer = api.get("stats/nodes", {**ranged, "workflow": workflow, "limit": limit})
        else:
            answer = api.get("stats/workflows", {**ranged, "hidden": hidden or None, "limit": limit})
    found = answer["nodes"] if of_nodes else answer["workflows"]
    if json:
        print_json(answer)
    elif not found:
        when = f"in the last {days} days" if since is until is None else "in that time"
        console.out.print(f"nothing ran {when}" + (f" of {workflow}" if workflow else ""))
    else:
        console.out.lines(render.nodes_table(found) if of_nodes else render.workflows_table(found))


def _stats_of_execution(settings: Settings, execution: str, limit: int, *, json: bool) -> None:
    with api_of(settings) as api:
        answer = api.get(f"executions/{id_of(api, execution)}/stats", {"limit": limit})
        if json:
            print_json(answer)
        elif not answer["steps"]:
            console.out.print("no step has come yet")
        else:
            console.out.lines(render.execution_stats_lines(answer))
            _say_page(api, f"/executions/{answer['execution_id']}/statistics")


def print_tree(answer: Any) -> None:
    """The tree, and which node failed first and why."""
    console.out.lines(render.tree_lines(answer))
    failure = render.failure_line(answer)
    if failure is not None:
        console.out.lines([(failure, "    ")])
    for name, where in (("jaeger", "jaeger_url"), ("grafana", "grafana_url")):
        if answer.get(where):
            console.out.print(f"{name}: {answer[where]}")


def print_json(answer: Any, *, indent: int | None = 2) -> None:
    """JSON for another program, whatever the terminal."""
    sys.stdout.write(console.safe_json(json_text.dumps(answer, indent=indent, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def id_of(api: ApiClient, word: str) -> str:
    """The id that `word` is, or that of the newest execution for `last` and `last-failed`. Raises SpantreeError."""
    if word not in BY_WORD:
        # Of what is one part of a path the API says by itself what is wrong with it; the rest would lead elsewhere.
        return word if _PART_OF_A_PATH.fullmatch(word) else trace_id_from_hex(word).hex()
    found = api.get("executions", {"limit": 1, "status": BY_WORD[word]})["executions"]
    if not found:
        raise SpantreeError(f"there is no {word.replace('-', ' ')} execution: `spantree list` shows what there is")
    return str(found[0]["execution_id"])


def _follow_list(api: ApiClient, parameters: dict[str, Any], *, ids: bool, json: bool) -> None:
    """The list, the newest last, then each execution that changes: a line, its id, or one JSON text a line."""
    if not api.streams:
        raise SpantreeError("--follow needs a server: start `spantree up`, or name its API with --api-url")

    def show(executions: list[Any]) -> None:
        if json:
            for one in executions:
                print_json(one, indent=None)
        elif ids:
            console.out.lines([([(one["execution_id"], "")], "") for one in executions])
        elif executions:
            console.out.lines(render.executions_table(executions)[1:])

    filters = {name: value for name, value in parameters.items() if name not in ("limit", "cursor")}
    # Listened first, then loaded: so nothing in between is missed.
    with Following(api, "stream", {**filters, "events": "execution"}) as following:
        following.wait(_FOLLOW_S)
        show(api.get("executions", parameters)["executions"][::-1])
        while True:
            show([event.data for event in following.wait(_LOOK_AGAIN_S) if event.kind == "execution"])


def _follow(api: ApiClient, execution: str, parameters: dict[str, Any], json: bool) -> None:
    """A page that is drawn anew where somebody watches; in a pipe the lines that are new, or one JSON text a line."""
    with Following(api, f"executions/{execution}/stream", {}) as following:
        _follow_tree(api, execution, parameters, following, json=json)


def _follow_tree(
    api: ApiClient, execution: str, parameters: dict[str, Any], following: Following, *, json: bool
) -> None:
    shown: Any = None
    printed: set[str] = set()
    while True:
        try:
            answer = api.get(f"executions/{execution}/tree", parameters)
        except NotAnswered as error:
            # A server that is started again is waited for, one that was never there is not.
            if error.status != 404 and (shown is None or error.status not in (None, 503)):
                raise
            if shown is None:
                console.step(f"{error}; waiting for it")
                shown = {}
        else:
            if _without_clock(answer) != shown:
                shown = _without_clock(answer)
                if json:
                    print_json(answer, indent=None)
                elif console.out.is_terminal:
                    console.out.clear()
                    print_tree(answer)
                else:
                    new = [line for line in render.tree_lines(answer) if _mark(line) not in printed]
                    printed |= {_mark(line) for line in new}
                    console.out.lines(new)
            if answer["status"] in _ENDED:
                if not json and not console.out.is_terminal and (failure := render.failure_line(answer)):
                    console.out.lines([(failure, "    ")])
                return
        # Also without a change now and then: time alone makes an execution lost.
        following.wait(_LOOK_AGAIN_S if shown else _FOLLOW_S)


def _without_clock(answer: Any) -> Any:
    """What of an answer changes only when something happened: an open step lasts longer at each look."""
    nodes = [
        {key: value for key, value in node.items() if key != "duration_ms" or node["ended_ns"] is not None}
        for node in answer["tree"]["nodes"]
    ]
    return {"status": answer["status"], "nodes": nodes, "missed": answer["tree"]["skipped_nodes"]}


def _mark(line: render.Printed) -> str:
    """A line without its guides and its durations: they change with every later line and every look."""
    return "".join(text for text, style in line[0][1:] if not text.strip().endswith((" ms", " s", " min")))


def _say_more(answer: Any, limit: int) -> None:
    # On standard error: a count of the lines on standard output is a count of executions.
    if answer["next_cursor"] is not None:
        console.step(f"the newest {limit}; more: --limit, or --cursor {answer['next_cursor']}")


def _say_page(api: ApiClient, path: str) -> None:
    # On standard error, as it is no part of the result.
    if (address := api.page(path)) is not None:
        console.step(f"in a browser: {address}")


def _say_hidden(answer: Any) -> None:
    if answer.get("hidden_count"):
        console.step(
            f"{answer['hidden_count']} hidden of the same time (health checks, probes ...): --hidden shows them"
        )
