"""A query parameter that a route does not have is refused: a filter that is misspelt would answer everything."""

from __future__ import annotations

import difflib

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from spantree_api.errors import InvalidParameter

_SHOWN_CHARS = 200


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route below /api/v1. Raises InvalidParameter that names each, with the nearest name."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = tuple(sorted(_names(route.dependant)))
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if not unknown:
        return
    faults = [
        {
            "parameter": name[:_SHOWN_CHARS],
            "in": "query",
            "found": request.query_params[name][:_SHOWN_CHARS],
            "message": _said(name[:_SHOWN_CHARS], known),
        }
        for name in unknown
    ]
    message = "; ".join(f"{fault['parameter']} is no parameter of this path: {fault['message']}" for fault in faults)
    raise InvalidParameter(faults[0]["parameter"], message, {"errors": faults})


def _names(dependant: Dependant) -> set[str]:
    return {field.alias for field in dependant.query_params}.union(*map(_names, dependant.dependencies))


def _said(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "it takes none"
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1)
    return f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
