"""Every refusal in the one shape, whoever raised it: a route, the validation, the router, PostgreSQL, a defect."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from spantree_api.answers.executions import ErrorAnswer, ErrorBody
from spantree_api.errors import RETRY_AFTER_S, ApiError, Unavailable
from spantree_api.http.responses import json_answer
from spantree_api.repeat import PASSES

_log = logging.getLogger("spantree.api")
_PYDANTIC = "Input should be "
_SHOWN_CHARS = 200


def install_error_answers(app: FastAPI) -> None:
    """Make `app` answer every error as ErrorAnswer."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


def error_answer(
    status_code: int, code: str, message: str, details: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """One refusal."""
    answer = ErrorAnswer(error=ErrorBody(code=code, message=message, details=dict(details)))
    return json_answer(answer.model_dump(), status_code, headers)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101  # as it was registered
    if isinstance(error, Unavailable) and error.passes:
        request.scope[PASSES] = True
    headers = {"retry-after": str(RETRY_AFTER_S)} if error.status_code == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return error_answer(error.status_code, error.code, str(error), error.details, headers)


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # as it was registered
    faults = [
        {
            # Without the position in a parameter that repeats: its value says which one is meant.
            "parameter": ".".join(part for part in fault["loc"][1:] if isinstance(part, str)) or str(fault["loc"][0]),
            "in": str(fault["loc"][0]),
            "found": _shown(fault.get("input")),
            "message": _wanted(str(fault["msg"])),
        }
        for fault in error.errors()
    ]
    message = "; ".join(f"{fault['parameter']} is {fault['found']!r}: {fault['message']}" for fault in faults)
    return error_answer(422, "invalid_parameter", message, {"errors": faults})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # as it was registered
    path = request.url.path[:_SHOWN_CHARS]
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_answer(404, "not_found", f"no page {path}: /api/v1/docs lists what there is", {"path": path})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "GET")
        return error_answer(
            405,
            "method_not_allowed",
            f"{path} does not take {request.method}: wanted {allowed}",
            {"method": request.method, "allowed": allowed},
            error.headers,
        )
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's word for a body that is no text
        return error_answer(422, "invalid_parameter", "the body cannot be read: wanted JSON in UTF-8", {})
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return error_answer(error.status_code, code, str(error.detail), {}, error.headers)


async def _gone(_: Request, error: Exception) -> Response:
    # Nobody reads it, but its status is counted. It is no defect: anybody could fill the log with tracebacks of it.
    return error_answer(400, "bad_request", "the connection ended before the body did", {})


async def _defect(request: Request, error: Exception) -> Response:
    _log.error("defect while answering %s %s", request.method, request.url.path, exc_info=error)
    return error_answer(
        500, "internal_error", f"a defect of spantree: {type(error).__name__}; the server's log has the traceback", {}
    )


def _wanted(said: str) -> str:
    """Pydantic's words in those of all other errors, without its prefix of what a validator of ours says."""
    said = said.removeprefix("Value error, ")
    return f"wanted {said.removeprefix(_PYDANTIC)}" if said.startswith(_PYDANTIC) else said


def _shown(value: object) -> str | None:
    # Half of a surrogate pair has no UTF-8.
    return None if value is None else str(value)[:_SHOWN_CHARS].encode(errors="replace").decode()
