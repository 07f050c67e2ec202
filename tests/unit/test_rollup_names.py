"""How many keys an hour of figures keeps, and under what the others are counted."""

from __future__ import annotations

import pytest

from spantree_exporter import rollup_names
from spantree_exporter.rollup import Rollup
from spantree_exporter.rollup_names import FigureKey, Width, gathered, gathered_once, places

EMPTY = Width(0, gathers=False, gathers_all=False)


def key(subject: str = "node", workflow: str = "", name: str = "", **more: str) -> FigureKey:
    service, kind, target = (more.get(field, "") for field in ("service", "kind", "target"))
    return subject, 7, workflow, service, name, kind, target, more.get("role", ""), False


@pytest.mark.parametrize(
    ("own", "once", "last"),
    [
        (
            key("node", "report 8", "fetch", kind="step", role="root"),
            key("node", "(other names)", "fetch", kind="step", role="root"),
            key("node", "(other names)", "(other names)", kind="step", role="root"),
        ),
        # The workflow's own step.
        (key("node", "report 8", "report 8"), *[key("node", "(other names)", "(other names)")] * 2),
        (key("node", "", "GET /users/4"), key("node", "", "(other names)"), key("node", "", "(other names)")),
        (key("user", "", "ann"), key("user", "", "(other names)"), key("user", "", "(other names)")),
        (
            key("workflow", "report 8", "report 8"),
            key("workflow", "(other names)", "(other names)"),
            key("workflow", "(other names)", "(other names)"),
        ),
        # Executions of no workflow, errors without a fingerprint: there is nothing to be gathered.
        (key("workflow", "", "", kind="request"), *[key("workflow", "", "", kind="request")] * 2),
        (key("error", "report 8", ""), *[key("error", "(other names)", "")] * 2),
        (
            key("edge", "report 8", "fetch", service="shop", kind="step", target="render", role="sequential"),
            key("edge", "(other names)", "fetch", service="shop", kind="step", target="render", role="sequential"),
            key("edge", "(other names)", "(other names)", kind="step", target="(other names)", role="sequential"),
        ),
        (key("call", "", "shop-4", kind="bank-4"), *[key("call", "", "(other names)", kind="(other names)")] * 2),
    ],
)
def test_what_a_key_is_gathered_under(own: FigureKey, once: FigureKey, last: FigureKey) -> None:
    assert (gathered_once(own), gathered(own)) == (once, last)
    assert gathered(once) == gathered_once(last) == gathered(last) == last


def test_an_hour_keeps_so_many_keys_and_then_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup_names, "KEYS_KEPT", 2)
    totals = {key("node", f"w{number}", "a"): number for number in (1, 2, 3)}
    assert places(dict(list(totals.items())[:2]), (), EMPTY) == {}
    # Those with most are kept.
    other = key("node", "(other names)", "a")
    assert places(totals, (), EMPTY) == {key("node", "w1", "a"): other}
    # What the hour has is counted there, whatever it is.
    assert places(totals, [key("node", "w1", "a")], Width(1, gathers=False, gathers_all=False)) == {
        key("node", "w2", "a"): other
    }
    # An hour that gathers keeps no new one, however many it has.
    gathers = Width(1, gathers=True, gathers_all=False)
    assert places(totals, [key("node", "w1", "a")], gathers) == {
        key("node", "w2", "a"): other,
        key("node", "w3", "a"): other,
    }


def test_of_too_many_names_without_workflows_the_names_are_gathered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup_names, "KEYS_KEPT", 1)
    totals = {key("node", f"w{number}", f"n{number}"): number for number in (1, 2, 3)}
    once = [key("node", "(other names)", f"n{number}") for number in (0, 1, 2)]
    last = key("node", "(other names)", "(other names)")
    w1, w2 = key("node", "w1", "n1"), key("node", "w2", "n2")
    assert places(totals, (), EMPTY) == {w1: last, w2: once[2]}
    assert places(totals, (), Width(1, gathers=True, gathers_all=True)) == {
        w1: last,
        w2: last,
        key("node", "w3", "n3"): last,
    }
    # What is gathered under already stays so.
    del totals[key("node", "w3", "n3")]
    assert places(totals, [once[1]], Width(5, gathers=True, gathers_all=True)) == {w1: once[1], w2: last}
    assert places({last: 1}, (), Width(9, gathers=True, gathers_all=True)) == {}


def test_what_is_gathered_is_summed_up() -> None:
    step = ("report 1", "shop", "fetch", "step", "render", "sequential", False)
    rollup = Rollup()
    rollup.add_steps([(7, *step), (7, *step[:-1], True), (7, "report 2", *step[1:])], 1)
    values = (7 * 3600 * 10**9, 7 * 3600 * 10**9 + 5, "fetch", "step", "completed")
    rest = (None, None, None, None, None, ())
    rollup.add_nodes([(*values, "report 1", *rest), (*values, "report 2", *rest), (*values, "report 1", *rest)], 1)
    assert rollup.key_counts() == {("node", 7): 2, ("edge", 7): 2}
    assert rollup.keys_of([("node", 8)]) == {}
    of_hours = rollup.keys_of([("node", 7), ("edge", 7)])
    assert [sorted(totals.values()) for totals in of_hours.values()] == [[1, 2], [1, 2]]
    keys = {**of_hours["node", 7], **of_hours["edge", 7]}
    rollup.gather({one: gathered_once(one) for one in keys})
    assert [(one[0], *one[2:6], one[7][0], one[9]) for one in rollup.sums()] == [
        ("node", "(other names)", "fetch", "step", "root", 3, [3])
    ]
    assert list(rollup.steps()) == [
        (7 * 3600 * 10**9, "(other names)", "shop", "fetch", "step", "render", "sequential", 3, 1)
    ]
