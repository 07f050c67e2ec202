"""What the routes under /api/v1 have in common."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends

from spantree_api.http.unknown_parameters import refuse_unknown_parameters

BASE: Final = "/api/v1"


def api_router(tag: str) -> APIRouter:
    """Routes under BASE, shown under `tag` in the documentation, that refuse a parameter which they do not know."""
    return APIRouter(prefix=BASE, tags=[tag], dependencies=[Depends(refuse_unknown_parameters)])
