"""The page that shows the API to a person: made from OpenAPI, without a script and without other servers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from spantree_api.http.docs_page import docs_page
from spantree_api.routes.api_router import BASE

router = APIRouter(prefix=BASE, include_in_schema=False)
# Nothing is loaded from anywhere, and nothing on the page runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    """The reference of the API as a page."""
    document = request.app.openapi()
    page = docs_page(document, openapi_url=f"{request.app.state.people.settings.prefix}{request.app.openapi_url}")
    return Response(page, media_type="text/html", headers={"content-security-policy": _POLICY})
