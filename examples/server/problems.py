"""Which HTTP answer each of petfleet's errors is: RFC 9457 problem details, with the error's own text."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from petfleet import (
    FleetFormatError,
    FleetNotFoundError,
    InvalidNameError,
    LockTimeoutError,
    PetAlreadyInFleetError,
    PetNotInFleetError,
    UnconfirmedCommitError,
)

log = logging.getLogger("uvicorn.error")


class Problem(BaseModel):
    """What went wrong (application/problem+json)."""

    status: int
    title: str
    detail: str


class PreconditionError(Exception):
    """The fleet is not the one that If-Match names (412), or there is no If-Match where one is needed (428)."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


_STATUS: dict[type[Exception], tuple[int, str]] = {
    FleetNotFoundError: (404, "No such pet"),
    PetNotInFleetError: (404, "No such pet"),
    PetAlreadyInFleetError: (409, "There is a pet of that name"),
    InvalidNameError: (422, "Not a name"),
    LockTimeoutError: (503, "Busy"),
    UnconfirmedCommitError: (500, "It could not be found out whether the change is durable"),
    FleetFormatError: (500, "The stored fleet is broken"),
}


def install(app: FastAPI) -> None:
    """Have the application answer petfleet's errors."""
    for kind in (*_STATUS, PreconditionError):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, PreconditionError):
        status, title = error.status, "If-Match"
    else:
        status, title = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    if status == 500:
        log.error("%s %s: %s", request.method, request.url.path, error)  # the operator's to mend, see `petfleet check`
    detail = title if status in (500, 503) else str(error)  # paths and process ids are not the client's business
    headers = {"Retry-After": "1"} if status == 503 else None
    problem = Problem(status=status, title=title, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers, "application/problem+json")
