"""Answers of the API -> what a person reads in a terminal. Pure: rich renderables in, nothing printed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

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
# What the edge that led to a node says, where it is more than "came after".
_TOLD_EDGES: Final = frozenset({"conditional", "join", "dependency", "handoff", "resume"})

Answer = Mapping[str, Any]

# What a terminal acts on instead of showing it: C0 and C1 controls, of which the picture is shown, and what turns the
# direction of writing. Names and messages come from whoever sends spans.
_UNSAFE: Final = (
    {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
    | {0x7F: 0x2421}
    | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
)


def safe(value: Any) -> Any:
    """An answer, or a part of it, with texts that do nothing to a terminal."""
    if isinstance(value, str):
        return value.translate(_UNSAFE)
    if isinstance(value, Mapping):
        return {safe(key): safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [safe(inner) for inner in value]
    return value


def status_text(status: str) -> Text:
    """The status with its sign."""
    sign, style = _STYLES.get(status, ("·", ""))
    return Text(f"{sign} {status}", style=style)


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
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def execution_tree(answer: Answer) -> Tree:
    """An execution (the answer of /executions/{id}/tree) with its nodes, and what failed first and why."""
    answer = safe(answer)
    tree = answer["tree"]
    names = {node["id"]: node["name"] for node in tree["nodes"]}
    attempts = _attempts_of(tree["nodes"])
    told = _told_edges(tree["edges"], names)
    shown = Tree(execution_line(answer), guide_style="bright_black")
    branches: dict[str | None, Tree] = {None: shown}
    for node in sorted(tree["nodes"], key=lambda node: node["sequence"]):
        above = branches.get(node["parent_id"], shown)
        branches[node["id"]] = above.add(node_line(node, attempts.get(node["task_key"], 1), told[node["id"]]))
    for name in _without_span(tree):
        shown.add(Text.assemble((name, ""), "  ", status_text("skipped")))
    return shown


def execution_line(answer: Answer) -> Text:
    """Name, status and duration of an execution, its id and what else tells it from others."""
    answer = safe(answer)
    line = Text.assemble(
        (answer["name"], "bold"), "  ", status_text(answer["status"]), f"  {duration_text(answer['duration_ms'])}"
    )
    marks = [f"execution {answer['execution_id']}"]
    marks += [
        f"{word} {answer[key]}" for word, key in (("run", "run_id"), ("conversation", "conversation_id")) if answer[key]
    ]
    line.append("  " + "  ".join(marks), style="bright_black")
    return line


def node_line(node: Answer, attempts: int = 1, told: Sequence[str] = ()) -> Text:
    """Name, kind, status, duration of a node, which attempt it is, what led to it, its error."""
    node = safe(node)
    line = Text.assemble((node["name"], ""), (f"  {node['kind']}", "cyan"), "  ", status_text(node["status"]))
    line.append(f"  {duration_text(node['duration_ms'])}")
    if attempts > 1 or node["attempt"] > 1:
        line.append(f"  attempt {node['attempt']} of {max(attempts, node['attempt'])}", style="yellow")
        if node["retry"]["max_attempts"]:
            line.append(f" (at most {node['retry']['max_attempts']})", style="bright_black")
    if node["iteration"]:
        line.append(f"  turn {node['iteration']}", style="bright_black")
    if node["model"]:
        tokens = f" {node['input_tokens'] or 0}+{node['output_tokens'] or 0} tokens" if _has_tokens(node) else ""
        line.append(f"  {node['model']}{tokens}", style="bright_black")
    for what in told:
        line.append(f"  {what}", style="bright_black")
    if node["status_reason"]:
        line.append(f"  {one_line(node['status_reason'])}", style="bright_black")
    if node["error_type"] or node["error_message"]:
        line.append(f"  {error_text(node)}", style="red")
    return line


def failure_text(answer: Answer) -> Text | None:
    """Which node failed first and why; None where none did."""
    first = safe(answer["first_failed_node"])
    if first is None:
        return None
    return Text.assemble(
        ("failed first: ", "bold"), (first["name"] or first["id"], "bold red"), f": {error_text(first)}"
    )


def failures_table(answer: Answer) -> Table:
    """The answer of /failures."""
    # Two lines for each: an id alone is 32 characters wide, and a terminal often 80.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    table.add_column("started (UTC)", no_wrap=True)
    table.add_column("execution", min_width=32, overflow="fold")
    table.add_column("failed first, and why", overflow="fold")
    for failure in safe(answer["failures"]):
        first = failure["first_failed_node"]
        started = failure["started_at"][:19].replace("T", " ")
        table.add_row(
            Text.assemble(started, "\n", status_text(failure["status"])),
            Text.assemble((one_line(failure["name"]), "bold"), "\n", failure["execution_id"]),
            Text.assemble((one_line(first["name"] or first["id"]), "bold"), "\n", (error_text(first), "red"))
            if first
            else Text(one_line(failure["error_summary"] or "-")),
        )
    return table


def error_text(node: Answer) -> str:
    """`Type: message` on one line; the type without its module, which --json has."""
    message = one_line(node["error_message"] or "")
    kind = (node["error_type"] or "").rpartition(".")[2]
    if kind and message and not message.startswith(kind):
        return f"{kind}: {message}"
    return message or kind or "no reason was given"


def one_line(text: str) -> str:
    """The beginning of a text, on one line."""
    flat: str = safe(" ".join(text.split()))
    return flat if len(flat) <= _MESSAGE_CHARS else flat[: _MESSAGE_CHARS - 1] + "…"


def _attempts_of(nodes: Iterable[Answer]) -> dict[str | None, int]:
    highest: dict[str | None, int] = {}
    for node in nodes:
        if node["task_key"] is not None:
            highest[node["task_key"]] = max(highest.get(node["task_key"], 1), node["attempt"])
    return highest


def _told_edges(edges: Iterable[Answer], names: Mapping[str, str]) -> defaultdict[str, list[str]]:
    sources: dict[tuple[str, str, str | None], list[str]] = {}
    for edge in edges:
        if edge["type"] in _TOLD_EDGES:
            source = names.get(edge["from"], "another execution")
            sources.setdefault((edge["to"], edge["type"], edge["condition"]), []).append(source)
    told: defaultdict[str, list[str]] = defaultdict(list)
    for (to, kind, condition), froms in sources.items():
        value = f" = {condition}" if condition is not None else ""
        told[to].append(f"← {kind}{value} ({', '.join(dict.fromkeys(froms))})")
    return told


def _without_span(tree: Answer) -> list[str]:
    shown = {node["name"] for node in tree["nodes"] if node["status"] == "skipped"}
    return [name for name in tree["skipped_nodes"] if name not in shown]


def _has_tokens(node: Answer) -> bool:
    return node["input_tokens"] is not None or node["output_tokens"] is not None
