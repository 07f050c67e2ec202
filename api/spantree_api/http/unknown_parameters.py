"""A query parameter that a route does not have, or has once and is given twice, is refused.

A filter that is misspelt would answer everything, and of two the last would silently be the one that counts.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from spantree_api.errors import InvalidParameter

_SHOWN_CHARS = 200


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route below /api/v1. Raises InvalidParameter that names each, with what is wanted."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = _parameters(route.dependant)
    counts = Counter(name for name, _ in request.query_params.multi_items())
    faults = [fault for name, count in counts.items() if (fault := _fault(name, count, known))]
    if not faults:
        return
    told = [
        {
            "parameter": name[:_SHOWN_CHARS],
            "in": "query",
            "found": request.query_params[name][:_SHOWN_CHARS],
            "message": said,
        }
        for name, _, said in faults
    ]
    message = "; ".join(f"{name[:_SHOWN_CHARS]} {what}: {said}" for name, what, said in faults)
    raise InvalidParameter(told[0]["parameter"], message, {"errors": told})


def _fault(name: str, count: int, known: Mapping[str, bool]) -> tuple[str, str, str] | None:
    """(its name, what it is, what is wanted); None where nothing is wrong with it."""
    if name not in known:
        return name, "is no parameter of this path", _said(name[:_SHOWN_CHARS], tuple(sorted(known)))
    if count > 1 and not known[name]:
        return name, f"is given {count} times", "wanted once"
    return None


def _parameters(dependant: Dependant) -> dict[str, bool]:
    """Name -> whether it may be given more than once."""
    found = {field.alias: _is_list(field.field_info.annotation) for field in dependant.query_params}
    for one in dependant.dependencies:
        found |= _parameters(one)
    return found


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))


def _said(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "it takes none"
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
