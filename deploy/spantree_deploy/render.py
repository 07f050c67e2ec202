"""Answers of the API -> what a person reads in a terminal, and greps in a file. Pure: lines out, nothing printed.

A line is pieces of text with a style, and what begins its continuations where a terminal folds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from spantree_deploy.console import Line, Piece, cells

# A word always stands beside the colour: colours alone say nothing in a log file, or to some people.
_STYLES: Final[Mapping[str, tuple[str, str]]] = {
    "completed": ("✔", "green"),
    "partial": ("◐", "yellow"),
    "failed": ("✘", "bold red"),
    "retried": ("↻", "yellow"),
    "running": ("…", "blue"),
    "pending": ("…", "blue"),
    "waiting": ("⏸", "magenta"),
    "skipped": ("⤼", "bright_black"),
    "cancelled": ("⊘", "bright_black"),
    "timed_out": ("⏱", "bold red"),
    "lost": ("?", "bold red"),
}
_MESSAGE_CHARS: Final = 160
_NAME_CHARS: Final = 60
_GREY: Final = "bright_black"
# What the edge that led to a node says, where it is more than "came after".
_TOLD_EDGES: Final = frozenset({"conditional", "join", "dependency", "handoff", "resume"})

Answer = Mapping[str, Any]
Printed = tuple[Line, str]


def status_piece(status: str) -> Piece:
    """The status with its sign."""
    sign, style = _STYLES.get(status, ("·", ""))
    return f"{sign} {status}", style


def _status_and_more(execution: Answer) -> Piece:
    """The status of an execution, and of one that waited that it was taken up since."""
    text, style = status_piece(execution["status"])
    return (f"{text}, taken up", "") if execution.get("resumed_by") else (text, style)


def duration_text(duration_ms: float | None) -> str:
    """A duration as a person says it."""
    if duration_ms is None:
        return "-"
    if duration_ms < 10:
        return f"{duration_ms:.1f} ms"
    if duration_ms < 1_000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 60_000:
        return f"{duration_ms / 1_000:.2f} s"
    minutes, seconds = divmod(round(duration_ms / 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def moment_text(at: str | None) -> str:
    """An RFC 3339 time to the second, in UTC as it came."""
    return "-" if at is None else at[:19].replace("T", " ")


def tree_lines(answer: Answer) -> list[Printed]:
    """An execution (the answer of /executions/{id}/tree) with its nodes, and what failed first and why.

    A node's line ends with when it began, from the start of the execution on: what overlaps ran in parallel. A single
    root that is the execution itself by name is its first line, not a second one, where it took as long.
    """
    tree = answer["tree"]
    nodes = sorted(tree["nodes"], key=lambda node: node["sequence"])
    children: defaultdict[str | None, list[Answer]] = defaultdict(list)
    known = {node["id"] for node in nodes}
    for node in nodes:
        children[node["parent_id"] if node["parent_id"] in known else None].append(node)
    attempts = _attempts_of(nodes, tree["edges"])
    reasons = _reasons(tree["edges"], nodes)
    top = children[None]
    head = execution_line(answer)
    if top and _is_merged(top[0], top, answer):
        head += _kind_and_rest(top[0], attempts, reasons, status_differs=top[0]["status"] != answer["status"])
        top = children[top[0]["id"]]
    printed: list[Printed] = [(head, "    ")]
    missed = _never_ran(tree)
    home = _home_of_missed(nodes, answer)
    if missed and home is None:
        top = [*top, *({"missed": name} for name in missed)]
    elif missed and home is not None:
        below = top if home["id"] not in known or _is_merged(home, children[None], answer) else children[home["id"]]
        below.extend({"missed": name} for name in missed)
    # A stack, because a tree may be 5,000 levels deep: (node, what stands before its children's guides).
    open_ = [(node, "", at == len(top) - 1) for at, node in reversed(list(enumerate(top)))]
    while open_:
        node, before, is_last = open_.pop()
        guide, further = ("└── ", "    ") if is_last else ("├── ", "│   ")
        printed.append(
            ([(before + guide, _GREY), *_below_line(node, answer, attempts, reasons)], before + further + "  ")
        )
        under = children[node["id"]] if "id" in node else []
        open_ += [(child, before + further, at == len(under) - 1) for at, child in reversed(list(enumerate(under)))]
    return printed


def execution_line(answer: Answer) -> list[Piece]:
    """Name, status and duration of an execution, its id and what else tells it from others."""
    marks = [f"execution {answer['execution_id']}"]
    marks += [
        f"{word} {one_line(answer[key])}"
        for word, key in (("run", "run_id"), ("conversation", "conversation_id"))
        if answer[key]
    ]
    return [
        (one_line(answer["name"]), "bold"),
        ("  ", ""),
        _status_and_more(answer),
        (f"  {duration_text(answer['duration_ms'])}", ""),
        ("  " + "  ".join(marks), _GREY),
    ]


def node_line(
    node: Answer, started_ns: int | None = None, attempts: int = 1, reasons: Sequence[str] = ()
) -> list[Piece]:
    """Name, kind, status, duration and start of a node, which attempt it is, what led to it, its error."""
    line: list[Piece] = [
        (one_line(node["name"]), ""),
        (f"  {node['kind']}", "cyan"),
        ("  ", ""),
        status_piece(node["status"]),
        (f"  {duration_text(node['duration_ms'])}", ""),
    ]
    if started_ns is not None:
        line.append((f"  {offset_text(node['started_ns'] - started_ns)}", _GREY))
    return line + _rest(node, attempts, reasons)


def offset_text(offset_ns: int) -> str:
    """When something began, from the start of the execution on; clocks of services differ, so it may be before."""
    sign = "-" if offset_ns < 0 else "+"
    return f"{sign}{duration_text(abs(offset_ns) / 1e6)}"


def failure_line(answer: Answer) -> list[Piece] | None:
    """Which node failed first and why; None where none did."""
    first = answer["first_failed_node"]
    if first is None:
        return None
    name = one_line(first["name"] or first["id"])
    return [("failed first: ", "bold"), (name, "bold red"), (f": {error_text(first)}", "")]


def executions_table(executions: Iterable[Answer]) -> list[Printed]:
    """One line for each execution, newest first."""
    return table(
        ("started (UTC)", "status", "duration", "execution", "name", "why"),
        [
            [
                (moment_text(one["started_at"]), ""),
                _status_and_more(one),
                (duration_text(one["duration_ms"]), ""),
                (one["execution_id"], ""),
                (one_line(one["name"], _NAME_CHARS), "bold"),
                (_why(one), "red"),
            ]
            for one in executions
        ],
    )


def groups_table(groups: Iterable[Answer]) -> list[Printed]:
    """One line for each cause of failures, last seen first."""
    return table(
        ("count", "state", "first seen (UTC)", "last seen (UTC)", "category", "workflows", "an example", "why"),
        [
            [
                (str(group["count"]), "bold"),
                ("reopened" if group["state"] == "open" and group["reopened_at"] else group["state"], ""),
                (moment_text(group["first_seen_at"]), ""),
                (moment_text(group["last_seen_at"]), ""),
                (group["category"] or "-", "cyan"),
                (one_line(", ".join(group["workflows"]) or "-", _NAME_CHARS), ""),
                (group["example"]["execution_id"] if group["example"] else "-", ""),
                (one_line((group["example"] and group["example"]["error_summary"]) or "-"), "red"),
            ]
            for group in groups
        ],
    )


def stuck_table(executions: Iterable[Answer]) -> list[Printed]:
    """One line for each execution that is stuck, the longest first."""
    return table(
        ("status", "open for", "last sign of life (UTC)", "execution", "name", "at"),
        [
            [
                status_piece(one["status"]),
                (duration_text(one["stuck_for_s"] * 1_000), "bold"),
                (moment_text(one["last_seen_at"]), ""),
                (one["execution_id"], ""),
                (one_line(one["name"], _NAME_CHARS), "bold"),
                (one_line(", ".join(step["name"] for step in one.get("open_steps", ())), _NAME_CHARS), ""),
            ]
            for one in executions
        ],
    )


def workflows_table(workflows: Iterable[Answer]) -> list[Printed]:
    """One line of figures for each workflow."""
    return table(
        ("workflow", "runs", "success", "failed", "partial", "open", "avg", "p50", "p95", "p99"),
        [
            [
                (one_line(one["name"], _NAME_CHARS), "bold"),
                *_numbers(one["runs"]),
                (share_text(one["success_rate"]), ""),
                *_numbers(one["failed"], one["partial"], one["open"]),
                *((duration_text(one[key]), "") for key in ("avg_ms", "p50_ms", "p95_ms", "p99_ms")),
            ]
            for one in workflows
        ],
    )


def nodes_table(nodes: Iterable[Answer]) -> list[Printed]:
    """One line of figures for each node, the worst first."""
    return table(
        ("node", "kind", "workflow", "total", "success", "failed", "retried", "avg", "p95", "last failed (UTC)"),
        [
            [
                (one_line(one["name"], _NAME_CHARS), "bold"),
                (one["kind"], "cyan"),
                (one_line(one["workflow"] or "-", _NAME_CHARS), ""),
                *_numbers(one["total"]),
                (share_text(one["success_rate"]), ""),
                *_numbers(one["failed"], one["retried"]),
                *((duration_text(one[key]), "") for key in ("avg_ms", "p95_ms")),
                (moment_text(one["last_failed_at"]), ""),
            ]
            for one in nodes
        ],
    )


def execution_stats_lines(answer: Answer) -> list[Printed]:
    """Where the time of one execution went: its steps by name, its models, and what is worth a look."""
    lines = table(
        ("step", "kind", "service", "count", "failed", "self", "of all", "total", "p50", "p95", "longest", "tokens"),
        [
            [
                (one_line(one["name"], _NAME_CHARS), "bold"),
                (one["kind"], "cyan"),
                (one_line(one["service"], _NAME_CHARS), ""),
                *_numbers(one["count"], one["failed"]),
                (duration_text(one["self_ms"]), ""),
                (share_text(one["self_share"]), _GREY),
                *((duration_text(one[key]), "") for key in ("total_ms", "p50_ms", "p95_ms", "max_ms")),
                (_tokens_text(one), ""),
            ]
            for one in answer["steps"]
        ],
    )
    if len(answer["steps"]) < answer["names"]:
        lines.append(([(f"{len(answer['steps'])} of {answer['names']} names; more: --limit", _GREY)], "    "))
    if answer["models"]:
        headings = ("model", "calls", "failed", "total", "p95", "tokens in, out", "cost")
        rows = [
            [
                (one_line(one["model"], _NAME_CHARS), "bold"),
                *_numbers(one["calls"], one["failed"]),
                *((duration_text(one[key]), "") for key in ("total_ms", "p95_ms")),
                (_tokens_text(one), ""),
                ("-" if one["cost_usd"] is None else f"${one['cost_usd']:.4f}", ""),
            ]
            for one in answer["models"]
        ]
        lines += [([("", "")], ""), *table(headings, rows)]
    for one in answer["findings"]:
        what = f"{one_line(one['message'], 400)}  {duration_text(one['total_ms'])}, first {one['first']}"
        lines.append(([(f"{one['finding'].replace('_', ' ')}: ", "bold yellow"), (what, "")], "    "))
    return lines


def _tokens_text(one: Answer) -> str:
    if one["input_tokens"] is None and one["output_tokens"] is None:
        return "-"
    return f"{one['input_tokens'] or 0}, {one['output_tokens'] or 0}"


def diff_lines(answer: Answer) -> list[Printed]:
    """What is different between two executions; what is the same is counted."""
    summary = answer["summary"]
    counted = ", ".join(f"{summary[word]} {word}" for word in ("added", "removed", "changed", "same"))
    lines: list[Printed] = [([(f"a {answer['a']}  b {answer['b']}  ", _GREY), (counted, "bold")], "    ")]
    signs = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
    other_inputs = 0
    for node in answer["nodes"]:
        if node["change"] not in signs:
            continue
        if node["differs"] == ["input"]:
            other_inputs += 1
            continue
        sign, style = signs[node["change"]]
        line: list[Piece] = [(f"{sign} {one_line(node['path'])}", style)]
        for key, tell in (("status", str), ("attempts", str), ("duration_ms", duration_text), ("error_type", str)):
            before, after = node[key]
            if node["change"] == "changed" and before != after and (key != "duration_ms" or node["slower_or_faster"]):
                line.append((f"  {key.removesuffix('_ms')} {tell(before) if before is not None else '-'}", ""))
                line.append((f" -> {tell(after) if after is not None else '-'}", "bold"))
        if node["inputs_differ"]:
            line.append(("  inputs differ", _GREY))
        lines.append((line, "    "))
    if other_inputs:
        lines.append(([(f"~ {other_inputs} of the changed ones differ in their input alone", _GREY)], "    "))
    if answer["first_difference"] is not None:
        path = one_line(answer["first_difference"]["path"])
        lines.append(([("first difference: ", "bold"), (path, "bold red")], "    "))
    return lines


def table(headings: Sequence[str], rows: Sequence[Sequence[Piece]]) -> list[Printed]:
    """Headings and rows in columns that are as wide as what is in them; the last one as it comes."""
    cells_of = [[(heading, "bold") for heading in headings], *rows]
    widths = [max(cells(row[at][0]) for row in cells_of) for at in range(len(headings))]
    printed: list[Printed] = []
    for row in cells_of:
        line: list[Piece] = []
        for at, (text, style) in enumerate(row):
            line.append((text, style))
            if at < len(row) - 1:
                line.append((" " * (widths[at] - cells(text) + 2), ""))
        while line and not line[-1][0].strip():
            line.pop()
        printed.append((line, "    "))
    return printed


def share_text(share: float | None) -> str:
    """A share from 0 to 1 in percent."""
    return "-" if share is None else f"{share * 100:.1f} %"


def error_text(node: Answer) -> str:
    """`Type: message` on one line; the type without its module, which --json has."""
    message = one_line(node["error_message"] or "")
    whole = node["error_type"] or ""
    kind = whole.rpartition(".")[2]
    if whole and message.startswith(whole):
        # Some instrumentations put the qualified name before the message, some do not: it is told one way.
        message = kind + message[len(whole) :]
    # Where the class is the code of HTTP, as newer conventions have it, the message has it, too.
    if kind and message and not message.startswith((kind, f"HTTP {kind}")):
        return f"{kind}: {message}"
    return message or kind or "no reason was given"


def one_line(text: str, most_chars: int = _MESSAGE_CHARS) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most_chars else flat[: most_chars - 1] + "…"


def _below_line(
    node: Answer, answer: Answer, attempts: Mapping[str, int], reasons: Mapping[str, list[str]]
) -> list[Piece]:
    if "missed" in node:
        return [(one_line(node["missed"]), ""), ("  ", ""), status_piece("skipped")]
    return node_line(node, answer["started_ns"], attempts.get(node["id"], 1), reasons[node["id"]])


def _kind_and_rest(
    root: Answer, attempts: Mapping[str, int], reasons: Mapping[str, list[str]], *, status_differs: bool
) -> list[Piece]:
    line: list[Piece] = [(f"  {root['kind']}", "cyan")]
    if status_differs:
        line += [("  ", ""), status_piece(root["status"])]
    return line + _rest(root, attempts.get(root["id"], 1), reasons[root["id"]])


def _rest(node: Answer, attempts: int, reasons: Sequence[str]) -> list[Piece]:
    line: list[Piece] = []
    if attempts > 1 or node["attempt"] > 1:
        line.append((f"  attempt {node['attempt']} of {max(attempts, node['attempt'])}", "yellow"))
        if node["retry"]["max_attempts"]:
            line.append((f" (at most {node['retry']['max_attempts']})", _GREY))
    if node["iteration"]:
        line.append((f"  turn {node['iteration']}", _GREY))
    if node["model"]:
        line.append((f"  {one_line(node['model'])}", _GREY))
    if node["input_tokens"] is not None or node["output_tokens"] is not None:
        line.append((f"  {node['input_tokens'] or 0}+{node['output_tokens'] or 0} tokens", _GREY))
    line += [(f"  {reason}", _GREY) for reason in reasons]
    if node["status_reason"]:
        line.append((f"  {one_line(node['status_reason'])}", _GREY))
    if node["error_type"] or node["error_message"]:
        line.append((f"  {error_text(node)}", "red"))
    return line


def _attempts_of(nodes: Sequence[Answer], edges: Iterable[Answer]) -> dict[str, int]:
    """How many attempts the task of each node has, by the node's id, where there are more than one.

    A task without a key is known by the edges between its attempts.
    """
    before = {edge["to"]: edge["from"] for edge in edges if edge["type"] == "retry"}
    tasks: dict[str, object] = {}
    highest: dict[object, int] = {}
    for node in nodes:  # in their order: an attempt comes after the one before it
        task = node["task_key"] and ("key", node["task_key"])
        tasks[node["id"]] = task = task or tasks.get(before.get(node["id"], ""), node["id"])
        highest[task] = max(highest.get(task, 1), node["attempt"])
    return {node_id: highest[task] for node_id, task in tasks.items() if highest[task] > 1}


def _reasons(edges: Iterable[Answer], nodes: Sequence[Answer]) -> defaultdict[str, list[str]]:
    """What led to each node, in the order of the tree, whatever the order of the edges."""
    order = {node["id"]: at for at, node in enumerate(nodes)}
    names = {node["id"]: one_line(node["name"]) for node in nodes}
    sources: defaultdict[tuple[str, str, str | None], list[str]] = defaultdict(list)
    told = [edge for edge in edges if edge["type"] in _TOLD_EDGES]
    for edge in sorted(told, key=lambda edge: (edge["type"], order.get(edge["from"], len(order)), edge["from"])):
        sources[edge["to"], edge["type"], edge["condition"]].append(names.get(edge["from"], "another execution"))
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for (to, kind, condition), froms in sources.items():
        value = f" = {one_line(condition)}" if condition is not None else ""
        reasons[to].append(f"← {kind}{value} ({', '.join(dict.fromkeys(froms))})")
    return reasons


def _never_ran(tree: Answer) -> list[str]:
    shown = {node["name"] for node in tree["nodes"] if node["status"] == "skipped"}
    return [name for name in tree["skipped_nodes"] if name not in shown]


def _home_of_missed(nodes: Sequence[Answer], answer: Answer) -> Answer | None:
    """The node whose steps did not run: the workflow that the execution is a run of."""
    names = [name for name in (answer.get("workflow_name"), answer["name"]) if name]
    of_workflow = [node for node in nodes if node["name"] in names]
    return next(iter(of_workflow or [node for node in nodes if node["kind"] in ("workflow", "agent")]), None)


def _is_merged(node: Answer, roots: Sequence[Answer], answer: Answer) -> bool:
    """Whether the line of the execution says all that the node's own would: its name, and how long it took."""
    if len(roots) != 1 or node is not roots[0] or node["name"] != answer["name"]:
        return False
    return node["ended_ns"] is None or duration_text(node["duration_ms"]) == duration_text(answer["duration_ms"])


def _why(execution: Answer) -> str:
    first = execution["first_failed_node"]
    if first is not None:
        return f"{one_line(first['name'] or first['id'], _NAME_CHARS)}: {error_text(first)}"
    return one_line(execution["error_summary"] or "")


def _numbers(*numbers: int) -> list[Piece]:
    return [(str(number), "") for number in numbers]
