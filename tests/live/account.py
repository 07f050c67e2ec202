"""What spantree tells of a run, held against what its program wrote down: each difference is one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]

_FLOW: Final = frozenset({"sequential", "conditional", "parallel", "join", "handoff"})
# A join of which only one source ran, or branches that began one by one, may be told as the plainer thing.
_AS_GOOD: Final = {"join": {"join", "sequential"}, "parallel": {"parallel", "sequential"}}


def differences(run: Json, trees: Iterable[Json | None]) -> list[str]:
    """Where the one execution among `trees` says something else than `run`; empty if it says all that happened."""
    told = [tree for tree in trees if tree is not None and not tree["hidden"]]
    if len(told) != 1:
        return [f"{len(told)} executions are told, not one"]
    tree = told[0]
    found: list[str] = []
    if tree["status"] != run["status"]:
        found.append(f"status {tree['status']}, was {run['status']}")
    found += _nodes(run, tree)
    found += _edges(run, tree)
    found += _skipped(run, tree)
    found += _facts(run["told"], tree)
    return sorted(found)


def _nodes(run: Json, tree: Json) -> list[str]:
    told = [(node["name"], node["attempt"], node["status"], _class(node)) for node in tree["tree"]["nodes"]]
    found: list[str] = []
    for node in run["nodes"]:
        true = (node["name"], node["attempt"], node["status"], node["error_type"])
        # A program that does not know the class of what was raised leaves it open.
        fits = [one for one in told if one == true or (true[3] is None and one[:3] == true[:3])]
        if fits:
            told.remove(fits[0])
        else:
            found.append(f"node {true} is not told")
    names = {node["name"] for node in run["nodes"]}
    return found + [f"node {node} was not" for node in told if node[0] in names and node[0] != tree["name"]]


_WRONG: Final = frozenset({"failed", "retried", "timed_out"})


def _class(node: Json) -> str | None:
    error_type: str | None = node["error_type"] if node["status"] in _WRONG else None
    return error_type.rpartition(".")[2] if error_type else None


def _edges(run: Json, tree: Json) -> list[str]:
    names = {node["id"]: node["name"] for node in tree["tree"]["nodes"]}
    told: dict[tuple[str, str], set[tuple[str, str | None]]] = {}
    for edge in tree["tree"]["edges"]:
        if edge["type"] in _FLOW:
            pair = (names[edge["from"]], names[edge["to"]])
            told.setdefault(pair, set()).add((edge["type"], edge["condition"]))
    found: list[str] = []
    for start, end, kind, condition in run["edges"]:
        types = told.get((start, end), set())
        right = [c for k, c in types if k in _AS_GOOD.get(kind, {kind})]
        if not right:
            found.append(f"edge {start} -> {end} is {sorted(k for k, _ in types) or 'not told'}, was {kind}")
        elif condition is not None and all((c or "").lower() != condition.lower() for c in right):
            found.append(f"edge {start} -> {end} under {right}, was under {condition!r}")
    true = {(start, end) for start, end, _, _ in run["edges"]}
    joined = {name for pair in true for name in pair}
    false = {pair for pair in told if pair not in true and pair[0] != pair[1] and set(pair) <= joined}
    return found + [f"edge {start} -> {end} was not" for start, end in false]


def _skipped(run: Json, tree: Json) -> list[str]:
    told, ran = set(tree["tree"]["skipped_nodes"]), {node["name"] for node in run["nodes"]}
    missing = set(run["skipped"]) - told
    return [f"{name} was skipped" for name in missing] + [f"{name} was not skipped" for name in told & ran]


def _facts(facts: Json, tree: Json) -> list[str]:
    found: list[str] = []
    for name, true in facts.items():
        if name == "iterations":
            for step, numbers in true.items():
                told = [node["iteration"] for node in tree["tree"]["nodes"] if node["name"] == step]
                if told != numbers:
                    found.append(f"iterations of {step} {told}, were {numbers}")
            continue
        value = _value(name, tree)
        if value != true:
            found.append(f"{name} {value!r}, was {true!r}")
    return found


def _value(name: str, tree: Json) -> Any:
    if name == "first_failed":
        return (tree["first_failed_node"] or {}).get("name")
    if name in {"input_tokens", "output_tokens"}:
        return tree["tokens"][name.partition("_")[0]]
    return tree[name]
