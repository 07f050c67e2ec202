"""All pages, for `app.py` to serve."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import Response as StarletteResponse

from spantree_api.pages import alerts, assets, execution, executions, failures, now, runs, usage, workflows
from spantree_api.pages.frame import error_page
from spantree_api.pages.in_process import NotAnswered
from spantree_api.routes.api_router import BASE

_ROUTERS = tuple(
    module.router for module in (assets, now, executions, execution, failures, workflows, usage, alerts, runs)
)


def install_pages(app: FastAPI) -> None:
    """Serve the pages from `app`, which has the API and its error answers already."""
    for router in _ROUTERS:
        app.routes.extend(router.routes)
    app.add_exception_handler(NotAnswered, error_page)
    for_programs = app.exception_handlers[HTTPException]

    async def for_browsers(request: Request, error: Exception) -> Response | StarletteResponse:
        assert isinstance(error, HTTPException)  # noqa: S101  # as it was registered
        asks_for_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(BASE)
        if error.status_code == 404 and asks_for_page:
            return await error_page(request, NotAnswered(404, "not_found", "There is no such page."))
        return await for_programs(request, error)  # type: ignore[no-any-return,misc]

    app.add_exception_handler(HTTPException, for_browsers)
