"""Which HTTP answer each error is: problem details (RFC 9457) all of them, with a text for people."""

from __future__ import annotations

import errno
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from petfleet import (
    FleetError,
    InvalidNameError,
    LockTimeoutError,
    PetAlreadyInFleetError,
    PetNotInFleetError,
    UnconfirmedCommitError,
)

log = logging.getLogger("uvicorn.error")

TITLES = {
    400: "The body cannot be read",
    404: "No such pet",
    409: "There is a pet of that name already",
    412: "The fleet is not the one that If-Match names",
    422: "The request says something impossible",
    428: "If-Match is missing",
    500: "The fleet cannot be read or written; the operator has to look",
    503: "Another program holds this user's lock; nothing was changed",
    507: "The disk is full; nothing was changed",
}


class Problem(BaseModel):
    """What went wrong."""

    status: int
    title: str
    detail: str


class PreconditionError(Exception):
    """The fleet is not the one that If-Match names (412), or there is no If-Match where one is needed (428)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class TooLargeError(ValueError):
    """A fleet that cannot be stored."""


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what an OpenAPI description says of these answers."""
    return {
        status: {
            "description": TITLES[status],
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
        }
        for status in statuses
    }


def answer(error: Exception) -> Problem:
    """Return what to tell a client. Of the server's own troubles nothing but the title: paths are not its business."""
    match error:
        case PreconditionError():
            status, detail = error.status, str(error)
        case PetNotInFleetError():  # and of an unknown user, whose fleet is empty
            status, detail = 404, str(error)
        case PetAlreadyInFleetError():
            status, detail = 409, str(error)
        case InvalidNameError() | TooLargeError():
            status, detail = 422, str(error)
        case RequestValidationError():
            status = 422
            detail = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        case LockTimeoutError():
            status, detail = 503, "try again"
        case UnconfirmedCommitError():
            status, detail = 500, "it could not be found out whether the change is durable: read the fleet again"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            status, detail = 507, ""
        case _:
            status, detail = 500, ""
    return Problem(status=status, title=TITLES[status], detail=detail)


def install(app: FastAPI) -> None:
    """Have the application answer errors like this."""
    own: list[type[Exception]] = [PreconditionError, TooLargeError, RequestValidationError]
    # ValueError: a file may hold a fleet that would be too large in petfleet's layout, and so has no ETag.
    for kind in [*own, FleetError, OSError, ValueError]:
        app.add_exception_handler(kind, _respond)
    app.add_exception_handler(HTTPException, _respond_http)


async def _respond(request: Request, error: Exception) -> JSONResponse:
    problem = answer(error)
    if problem.status in (500, 507):
        log.error("%s %s: %s", request.method, request.url.path, error)  # `petfleet check` tells more
    return _response(problem, {"Retry-After": "1"} if problem.status == 503 else {})


async def _respond_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # FastAPI's own: no such route, no such method, a body that is no JSON
    headers = dict(error.headers or {})
    if error.status_code == 405:  # Starlette tells the methods of one route, and an address may have several
        routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
        headers["Allow"] = ", ".join(sorted({method for route in routes for method in route.methods}))
    return _response(Problem(status=error.status_code, title=error.detail, detail=""), headers)


def _response(problem: Problem, headers: dict[str, str]) -> JSONResponse:
    headers["Cache-Control"] = "no-store"  # a 404 may be stored otherwise, and the pet be there a moment later
    return JSONResponse(problem.model_dump(), problem.status, headers, "application/problem+json")
