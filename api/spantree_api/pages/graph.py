"""What led to what, as boxes and arrows: of one execution, and of all runs of a workflow. Pure.

Of an execution each step has the arrows that lead to it; where it has none, the one from the step it is a part of.
Calls (queries, requests) are left out unless they failed or are asked for. Of many steps there is one box a name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spantree_api.pages import wording
from spantree_api.pages.layered import HEIGHT, WIDTH, Layout, Way, layout
from spantree_api.timeline.alike import told_alike
from spantree_exporter.statuses import FAILED_NODE

BOXES_MAX = 400
# More arrows than this a box are a hairball: then only those to what is a part, or the most used, are drawn.
_DENSE = 3
# More boxes than these are drawn by name where so many of them are alike that this leaves a third of them.
_EACH_MAX, _ALIKE = 60, 3
_LABEL_CHARS = 20
_NOTHING: Final[Mapping[str, Any]] = {}
_MARGIN = 12.0
_CALLS = frozenset({"db", "http_client", "http_server", "rpc_client", "rpc_server", "cache", "messaging"})


@dataclass(frozen=True, slots=True)
class Box:
    """A step. `node_id` opens it; `note` is its second line."""

    label: str
    note: str
    tone: str
    sign: str
    told: str
    node_id: str | None = None
    never: bool = False
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Arrow:
    """A way from one box to another, by their numbers. `weight` from 0 to 1 is how much it is used."""

    source: int
    target: int
    type: str
    label: str
    told: str
    weight: float = 0.3
    bad: bool = False


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box in its place."""

    box: Box
    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class DrawnArrow:
    """An arrow with its path, and where its label stands."""

    arrow: Arrow
    path: str
    label_x: float
    label_y: float
    thickness: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that the picture holds."""

    boxes: list[DrawnBox]
    arrows: list[DrawnArrow]
    width: float
    height: float
    left_out: int = 0
    by_name: bool = False


def of_execution(
    nodes: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    never_run: Sequence[str],
    ways: Sequence[Mapping[str, Any]],
    *,
    every_call: bool,
    each: bool = False,
) -> Drawing:
    """The graph of one execution. `ways`, the workflow's map, tell where steps that never ran would have been.

    Many steps whose names are alike have one box a name, unless `each` is to have its own and there is room.
    """
    shown = [node for node in nodes if every_call or _is_step(node)]
    if len(shown) > (BOXES_MAX if each else _EACH_MAX):
        alike = set(told_alike(node["name"] for node in shown).values())
        if len(shown) > BOXES_MAX or len(alike) * _ALIKE <= len(shown):
            parents = {node["id"]: node["parent_id"] for node in nodes}
            return _of_names(shown, edges, parents, len(nodes) - len(shown), never_run, ways)
    number = {node["id"]: at for at, node in enumerate(shown)}
    parents = {node["id"]: node["parent_id"] for node in nodes}
    boxes = [_box(node) for node in shown]
    arrows: list[Arrow] = []
    led_to: set[int] = set()
    for edge in edges:
        source, target = number.get(edge["from"]), number.get(edge["to"])
        if edge["type"] != "child" and source is not None and target is not None and source != target:
            arrows.append(_arrow(edge, source, target))
            led_to.add(target)
    for at, node in enumerate(shown):
        above = _shown_ancestor(node["parent_id"], parents, number)
        if at not in led_to and above is not None:
            arrows.append(Arrow(above, at, "child", "", "is a part of it", 0.1))
    names = {node["name"]: at for at, node in enumerate(shown)}
    for name in never_run:
        if name not in names and len(boxes) < BOXES_MAX:
            names[name] = len(boxes)
            boxes.append(_never(name))
    never = {names[name] for name in never_run if name in names and boxes[names[name]].never}
    for way in ways:
        source, target = names.get(way["from"]), names.get(way["to"])
        if source is not None and target is not None and source != target and target in never:
            arrows.append(_never_taken(source, target, way))
    return drawing(boxes, _thinned(boxes, arrows), len(nodes) - len(shown))


def of_sums(steps: Sequence[Mapping[str, Any]], ways: Sequence[Mapping[str, Any]], *, every_call: bool) -> Drawing:
    """The graph of an execution of many steps from the sums of each name: one box a name, all of its steps counted."""
    sums: dict[str, tuple[int, int]] = {}
    left_out = 0
    for step in steps:
        if every_call or step["kind"] not in _CALLS or step["failed"]:
            count, failed = sums.get(step["name"], (0, 0))
            sums[step["name"]] = count + step["count"], failed + step["failed"]
        else:
            left_out += step["count"]
    counted: dict[tuple[str, str, bool], int] = {}
    for way in ways:
        between = way["from"], way["to"], way["type"] == "child"
        counted[between] = counted.get(between, 0) + way["count"]
    return _of_sums(sums, counted, left_out)


def of_workflow(steps: Sequence[Mapping[str, Any]], ways: Sequence[Mapping[str, Any]], runs: int) -> Drawing:
    """The map of a workflow: its most run steps, ways as thick as they are used."""
    on_a_way = {way[end] for way in ways for end in ("from", "to")}
    every = [step for step in steps if not ways or step["name"] in on_a_way]
    told = told_alike(step["name"] for step in every)
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for step in every:
        alike.setdefault(told[step["name"]], []).append(step)
    kept = dict(itertools.islice(alike.items(), BOXES_MAX))
    boxes = [_box_of_runs(name, members) for name, members in kept.items()]
    number = {name: at for at, name in enumerate(kept)}
    arrows = []
    for (source, target, kind), taken in _ways_between(ways, told).items():
        if source in number and target in number and source != target:
            arrows.append(_arrow_of_runs(number[source], number[target], kind, taken, runs))
    left_out = len(steps) - sum(map(len, kept.values()))
    return drawing(boxes, _thinned(boxes, arrows), left_out, by_name=len(alike) < len(every))


def _ways_between(
    ways: Iterable[Mapping[str, Any]], told: Mapping[str, str]
) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
    """The ways from one box to another, by their type."""
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for way in ways:
        if way["from"] in told and way["to"] in told:
            found.setdefault((told[way["from"]], told[way["to"]], way["type"]), []).append(way)
    return found


def _arrow_of_runs(source: int, target: int, kind: str, taken: Sequence[Mapping[str, Any]], runs: int) -> Arrow:
    """The arrow of a way; of several between steps that are alike that of the most used one."""
    most = max(taken, key=lambda way: way["runs"])
    failed = sum(way["failed"] for way in taken)
    label = " · ".join(part for part in (most["condition"] or "", _part_told(most["share"])) if part)
    more = f", one of {len(taken)} ways" if len(taken) > 1 else ""
    told = f"{most['from']} to {most['to']}, {kind}: {most['runs']} of {runs} runs, {failed} failed there{more}"
    return Arrow(source, target, kind, label, told, most["share"] or 0.0, failed > 0)


def _box_of_runs(name: str, members: Sequence[Mapping[str, Any]]) -> Box:
    """The box of a step of a workflow, or of those that differ in a number alone."""
    [step, *others] = sorted(members, key=lambda one: (one["success_rate"] is None, one["success_rate"] or 0.0))
    bad = step["failed"] > 0
    runs, took = f"{wording.count(step['runs'])} runs", f"p50 {wording.duration(step['p50_ms'])}"
    if bad and step["success_rate"] is not None:
        runs = f"{wording.share(1 - step['success_rate'])} fail"
    told = (
        f"{step['name']} ({step['kind']}): {step['runs']} runs, {step['failed']} failed, {step['retried']} "
        f"attempts retried, {step['skipped']} skipped, p95 {wording.duration(step['p95_ms'])}"
    )
    note = f"{runs} · {took}"
    if others:
        failing = sum(one["failed"] > 0 for one in members)
        note = f"{wording.count(len(members))} steps" + (f" · {failing} failed" if failing else "")
        told = f"{name}: {note}; {'the worst' if failing else 'one of them'} is {told}"
    return Box(name, note, "bad" if bad else "good", "✕" if bad else "", told)


def drawing(boxes: Sequence[Box], arrows: Sequence[Arrow], left_out: int = 0, *, by_name: bool = False) -> Drawing:
    """Boxes and arrows in their places."""
    found: Layout = layout(len(boxes), [(arrow.source, arrow.target) for arrow in arrows])
    drawn = [
        DrawnBox(box, round(place.x + _MARGIN, 1), round(place.y + _MARGIN, 1), _cut(box.label))
        for box, place in zip(boxes, found.places, strict=True)
    ]
    ways = [_drawn(arrow, way) for arrow, way in zip(arrows, found.ways, strict=True)]
    return Drawing(drawn, ways, found.width + 2 * _MARGIN, found.height + 2 * _MARGIN, left_out, by_name)


def _is_step(node: Mapping[str, Any]) -> bool:
    return node["kind"] not in _CALLS or node["status"] in FAILED_NODE or node["parent_id"] is None


def _shown_ancestor(node_id: str | None, parents: Mapping[str, str | None], number: Mapping[str, int]) -> int | None:
    seen: set[str] = set()
    while node_id is not None and node_id not in seen:
        if node_id in number:
            return number[node_id]
        seen.add(node_id)
        node_id = parents.get(node_id)
    return None


def _part_told(share: float | None) -> str:
    """What part of all runs went a way; nothing where all did, which the picture would be full of."""
    return "" if share == 1 else wording.share(share)


def _never(name: str) -> Box:
    return Box(name, "never ran", "calm", "↷", f"{name} did not run", never=True)


def _never_taken(source: int, target: int, way: Mapping[str, Any]) -> Arrow:
    return Arrow(source, target, "never", way["condition"] or "", "other runs went this way", 0.1)


def _box(node: Mapping[str, Any]) -> Box:
    word = wording.status_word(node["status"])
    notes = [node["kind"], wording.duration(node["duration_ms"])]
    if node["attempt"] > 1 or node["status"] == "retried":
        notes.append(f"attempt {node['attempt']}")
    if node["iteration"]:
        notes.append(f"turn {node['iteration']}")
    return Box(
        node["name"],
        " · ".join(notes),
        word.tone,
        word.sign,
        f"{node['name']}: {word.word}, {', '.join(notes)}" + (f", {node['error_type']}" if node["error_type"] else ""),
        node["id"],
        node["status"] == "skipped",
        node["on_critical_path"],
    )


def _arrow(edge: Mapping[str, Any], source: int, target: int) -> Arrow:
    label = edge["condition"] or {"retry": "retry", "resume": "resume", "handoff": "handoff"}.get(edge["type"], "")
    return Arrow(source, target, edge["type"], label, f"{edge['type']}, {edge['provenance']}", 0.3)


def _of_names(
    nodes: Sequence[Mapping[str, Any]],
    edges: Iterable[Mapping[str, Any]],
    parents: Mapping[str, str | None],
    left_out: int,
    never_run: Sequence[str],
    other_ways: Sequence[Mapping[str, Any]],
) -> Drawing:
    """One box for each name, with how often it ran; the most run ones, and what never ran."""
    name_of: dict[str, str] = {node["id"]: node["name"] for node in nodes}
    sums: dict[str, tuple[int, int]] = {}
    opened: dict[str, str] = {}
    for node in nodes:
        name, fails = node["name"], node["status"] in FAILED_NODE
        count, failed = sums.get(name, (0, 0))
        if not count or (fails and not failed):
            opened[name] = node["id"]
        sums[name] = count + 1, failed + fails
    ways: dict[tuple[str, str, bool], int] = {}
    led_to: set[str] = set()
    for edge in edges:
        if edge["type"] != "child" and edge["from"] in name_of and edge["to"] in name_of:
            way = name_of[edge["from"]], name_of[edge["to"]], False
            ways[way] = ways.get(way, 0) + 1
            led_to.add(edge["to"])
    number = {node_id: at for at, node_id in enumerate(name_of)}
    ids = list(name_of)
    for node_id, name in name_of.items():
        above = None if node_id in led_to else _shown_ancestor(parents.get(node_id), parents, number)
        if above is not None:
            way = name_of[ids[above]], name, True
            ways[way] = ways.get(way, 0) + 1
    never = {name: [way for way in other_ways if way["to"] == name] for name in never_run if name not in sums}
    return _of_sums(sums, ways, left_out, opened, never)


def _of_sums(
    sums: Mapping[str, tuple[int, int]],
    ways: Mapping[tuple[str, str, bool], int],
    left_out: int,
    opened: Mapping[str, str] | None = None,
    never: Mapping[str, Sequence[Mapping[str, Any]]] = _NOTHING,
) -> Drawing:
    """A box for each name, of which `sums` says how often it ran and failed; the most run ones, and their ways.

    `ways`: how often one led to another, or, with True, another was a part of one. `opened`: the node that a box opens.
    `never`: what never ran, and the ways that led there in other runs.
    """
    told = told_alike(sums)
    total: dict[str, tuple[int, int, str | None]] = {}
    for name, (count, failed) in sums.items():
        count_before, failed_before, node_id = total.get(told[name], (0, 0, None))
        if opened and (node_id is None or (failed and not failed_before)):
            node_id = opened[name]
        total[told[name]] = count_before + count, failed_before + failed, node_id
    # One that failed is never left out: it is what one looks for.
    kept = sorted(total, key=lambda name: (not total[name][1], -total[name][0]))[:BOXES_MAX]
    number = {name: at for at, name in enumerate(kept)}
    boxes = []
    for name in kept:
        count, failed, node_id = total[name]
        note = f"{wording.count(count)}×" + (f" · {failed} failed" if failed else "")
        opens = "" if node_id is None else f"; opens the first {'that failed' if failed else 'of them'}"
        boxes.append(
            Box(name, note, "bad" if failed else "good", "✕" if failed else "", f"{name}: {note}{opens}", node_id)
        )
    calls: dict[tuple[int, int], int] = {}
    parts: dict[tuple[int, int], int] = {}
    for (one, other, is_part), count in ways.items():
        source, target = number.get(told.get(one, "")), number.get(told.get(other, ""))
        if source is not None and target is not None and source != target:
            of = parts if is_part else calls
            of[source, target] = of.get((source, target), 0) + count
    most = max(calls.values(), default=1)
    arrows = [
        Arrow(source, target, "sequential", f"{wording.count(count)}×", f"{count} times", count / most)
        for (source, target), count in calls.items()
    ]
    arrows += [
        Arrow(source, target, "child", "", f"is a part of it, {count} times", 0.1)
        for (source, target), count in parts.items()
        if (source, target) not in calls
    ]
    arrows = _thinned(boxes, arrows)
    for name, led_there in itertools.islice(never.items(), BOXES_MAX - len(boxes)):
        boxes.append(_never(name))
        sources = {number[told[way["from"]]]: way for way in led_there if told.get(way["from"]) in number}
        arrows += [_never_taken(source, len(boxes) - 1, way) for source, way in sources.items()]
    return drawing(boxes, arrows, left_out, by_name=True)


def _thinned(boxes: Sequence[Box], arrows: Sequence[Arrow]) -> list[Arrow]:
    once = list({(arrow.source, arrow.target, arrow.type): arrow for arrow in arrows}.values())
    if len(once) <= max(40, _DENSE * len(boxes)):
        return once
    return sorted(once, key=lambda arrow: -arrow.weight)[: _DENSE * len(boxes)]


def _drawn(arrow: Arrow, way: Way) -> DrawnArrow:
    points = [(x + _MARGIN, y + _MARGIN) for x, y in way.points]
    parts = [f"M{points[0][0]:.0f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if y0 == y1:
            parts.append(f"H{x1:.0f}")
        else:
            bend = (x1 - x0) / 2
            parts.append(f"C{x0 + bend:.0f} {y0:.1f} {x1 - bend:.0f} {y1:.1f} {x1:.0f} {y1:.1f}")
    (x0, y0), (x1, y1) = points[-2:]
    return DrawnArrow(
        arrow, "".join(parts), round((x0 + x1) / 2, 1), round((y0 + y1) / 2 - 4, 1), round(1 + 3 * arrow.weight, 1)
    )


def _cut(label: str) -> str:
    return label if len(label) <= _LABEL_CHARS else f"{label[: _LABEL_CHARS - 1]}…"


BOX_WIDTH, BOX_HEIGHT = WIDTH, HEIGHT
