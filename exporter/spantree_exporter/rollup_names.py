"""How many different keys the figures of an hour have at most, and under what the others are counted. Pure.

Names with ids in them (`process order 8172`, `GET /users/42`) would have as many rows of figures as there are runs, for
ever. Of each subject an hour has KEYS_KEPT keys of its own, the first that come; of the others first the workflow, then
the name, becomes OTHER_NAMES:

    report 8172 / fetch -> (other names) / fetch -> (other names) / (other names)

Once an hour gathers, no new key is kept in it: so a key is counted in one place for as long as there is the hour, and
what is taken away later is taken from where it was added. A day keeps those that had most of its hours' keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

OTHER_NAMES: Final = "(other names)"
# Thirty days are then some 12 intervals of at most so many keys, and twice as many that are gathered. Not to be raised
# for hours that are there: what waits for them may be counted among the others already.
KEYS_KEPT: Final = 2_000
# What figures are of: column subject of `rollup`.
SUBJECTS: Final = ("workflow", "service", "project", "user", "error", "node", "model", "edge", "call")
# Of what has no workflow all that are gathered are one: there may be as many with their own names.
_WITHOUT_WORKFLOW: Final = frozenset({"service", "user", "call"})

# subject, hour, workflow_name, service, name, kind, target, role, hidden
FigureKey: TypeAlias = tuple[str, int, str, str, str, str, str, str, bool]


@dataclass(frozen=True, slots=True)
class Width:
    """The keys that one subject has in an hour. `gathers`: some are counted without their workflow, or name;
    `gathers_all`: without either.
    """

    keys: int
    gathers: bool
    gathers_all: bool


def keys_kept(subject: str) -> int:
    """How many keys of an hour, or a longer interval, have their own names."""
    return 2 * KEYS_KEPT if subject in _WITHOUT_WORKFLOW else KEYS_KEPT


def gathered_once(key: FigureKey) -> FigureKey:
    """What a key is counted under that is not kept: without its workflow where it has one of another name, else without
    its name, too.
    """
    subject, hour, workflow, service, name, kind, target, role, hidden = key
    if workflow in ("", OTHER_NAMES, name):
        return gathered(key)
    return subject, hour, OTHER_NAMES, service, name, kind, target, role, hidden


def gathered(key: FigureKey) -> FigureKey:
    """What a key is counted under where there are too many even without workflows; of these there are few."""
    subject, hour, workflow, _, name, kind, target, role, hidden = key
    if subject == "call":
        kind = OTHER_NAMES
    workflow, name, target = (OTHER_NAMES if text else "" for text in (workflow, name, target))
    return subject, hour, workflow, "", name, kind, target, role, hidden


def places(totals: Mapping[FigureKey, int], known: Collection[FigureKey], width: Width) -> dict[FigureKey, FigureKey]:
    """Where those keys of one subject and hour are counted that are not counted under themselves.

    `totals`: how many of each are to be added; `known`: those of these, and of what they are gathered under, that the
    hour has. Of new ones those come first that have most.
    """
    new = _most_first({key: total for key, total in totals.items() if key not in known})
    kept = keys_kept(next(iter(totals))[0])
    room = 0 if width.gathers else max(0, kept - width.keys)
    own, others = new[:room], new[room:]
    once: dict[FigureKey, int] = {}
    for key in others:
        found = gathered_once(key)
        once[found] = once.get(found, 0) + totals[key]
    has_a_place = {*own, *(key for key in totals if key in known), *(key for key in once if key in known)}
    wanted = _most_first({key: total for key, total in once.items() if key not in has_a_place and key != gathered(key)})
    room = 0 if width.gathers_all else max(0, 2 * KEYS_KEPT - width.keys - len(own))
    too_many = set(wanted[room:])
    found_places = {}
    for key in others:
        place = gathered_once(key)
        found_places[key] = gathered(key) if place in too_many else place
    return {key: place for key, place in found_places.items() if key != place}


def _most_first(totals: Mapping[FigureKey, int]) -> list[FigureKey]:
    return sorted(totals, key=lambda key: (-totals[key], key))
