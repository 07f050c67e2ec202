"""An analysis -> lines for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spantree_deploy.console import Piece
from spantree_deploy.render import Printed, moment_text, one_line

_GREY = "bright_black"


def analysis_lines(answer: Any) -> list[Printed]:
    """What the analysis says, one thing a line; what it does not know has no line."""
    if answer["first_failed_node"] is None:
        return [([(one_line(answer["message"] or "no failed nodes"), "")], "    ")]
    lines = [
        _line("cause", answer["root_cause"], "bold red"),
        _line("why there", answer["first_failed_node"]["why"]),
    ]
    if answer["known_error"]:
        lines.append(_line("known as", answer["known_error"], "cyan"))
    good = answer["differs_from_last_good"]
    if good is not None:
        lines += _difference(good)
    same = answer["same_cause"]
    if same is not None:
        said = f"{same['count']} others in 30 days, since {moment_text(same['first_seen_at'])} UTC"
        lines.append(_line("same cause", said + (f", in {', '.join(same['workflows'])}" if same["workflows"] else "")))
    if answer["suggestion"]:
        lines.append(_line("suggestion", answer["suggestion"]))
    lines += _listed("fix", answer["fixes"])
    lines += _listed("prevention", answer["prevention"])
    lines.append(_line("by", answer["model"] or "rules", _GREY))
    if answer["fallback"]:
        lines.append(_line("no model", answer["fallback"], "yellow"))
    return lines


def _difference(good: Any) -> list[Printed]:
    first = good["first_difference"]
    said = f"{good['changed_count']} steps went differently" + (f", first {first['path']}" if first else "")
    lines = [_line("last good run", f"{good['execution_id']}: {said}")]
    for one in good["versions"]:
        here, before = one["version"]
        lines.append(
            _line("version", f"{one['service']} {here or '-'}, in the last good run {before or '-'}", "yellow")
        )
    return lines


def _listed(name: str, texts: Iterable[str]) -> list[Printed]:
    return [_line(name, text) for text in texts]


def _line(name: str, text: str, style: str = "") -> Printed:
    pieces: list[Piece] = [(f"{name:<14}", "bold"), (one_line(text, 2_000), style)]
    return pieces, " " * 14
