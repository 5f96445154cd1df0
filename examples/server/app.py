"""A fleet server: any number of workers over one directory, which share nothing but the files.

    PETFLEET_ROOT=data/fleets uvicorn --app-dir examples server.app:app --workers 4 --timeout-graceful-shutdown 3

There is NO AUTHENTICATION: any client that reaches the port can read and change every fleet. The server listens on
127.0.0.1 (uvicorn's default) and accepts no other host name; add a login of your own before you change either.

--timeout-graceful-shutdown ends the streams of open pages; without it, uvicorn would wait for them forever.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.middleware.trustedhost import TrustedHostMiddleware

from petfleet import FleetError, FleetStore, PetFleet, Watch
from server.models import Choice, Fleet, NewFleet, NewPet, Pet, UserId, etag
from server.problems import PreconditionError, TooLargeError, answer, described, install

store = FleetStore(os.environ.get("PETFLEET_ROOT", "data/fleets"), lock_timeout=2.0)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Wait for the commits under way when the worker stops."""
    async with store:
        yield


async def every_answer(response: Response) -> None:
    """Name the worker, and have caches revalidate stored copies."""
    response.headers["X-Worker"] = str(os.getpid())
    response.headers["Cache-Control"] = "no-cache"


class AnyText(PathConvertor):
    """Matches what `path` does, and line breaks: otherwise a DELETE of `mira%0A` would remove mira."""

    regex = "(?s:.*)"


register_url_convertor("any", AnyText())

app = FastAPI(
    title="petfleet",
    description="Users' fleets of pets. No authentication: for 127.0.0.1 only.",
    version="1",
    lifespan=lifespan,
    dependencies=[Depends(every_answer)],
    responses=described(400, 422, 500, 503, 507),
)
install(app)
# A foreign page whose host name resolves to 127.0.0.1 could do anything (DNS rebinding). Under its own name it can do
# nothing: a browser asks before it sends a PUT, a DELETE or JSON, and FastAPI accepts no other body than JSON.
app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

IfMatch = Annotated[str | None, Header(description="ETags of the fleet as it has to be")]


async def changed(
    user_id: str, if_match: str | None, response: Response, change: Callable[[PetFleet], PetFleet]
) -> PetFleet:
    """Apply a change if If-Match names the stored fleet, which is checked under the user's lock."""

    def checked(stored: PetFleet) -> PetFleet:
        if if_match not in (None, "*") and etag(stored) not in tags(if_match):
            raise PreconditionError(412, "read the fleet again")
        return change(stored)

    try:
        fleet = await store.update(user_id, checked)
    except FleetError:
        raise
    except ValueError as error:  # from the whole fleet: each pet was checked with the body
        raise TooLargeError(str(error)) from error
    response.headers["ETag"] = etag(fleet)
    return fleet


def tags(header: str) -> list[str]:
    """Return the ETags in a header; our own contain no comma, and malformed ones equal none of them."""
    return [tag.strip() for tag in header.split(",")]


@app.get(
    "/users/{user_id}/fleet",
    response_model=Fleet,
    responses={304: {"description": "It is still the one that If-None-Match names"}},
)
async def read(
    user_id: UserId, response: Response, if_none_match: Annotated[str | None, Header()] = None
) -> Fleet | Response:
    """Return a user's fleet; an unknown user's is empty."""
    fleet = await store.load(user_id)
    tag = response.headers["ETag"] = etag(fleet)
    if if_none_match is not None and not {"*", tag, f"W/{tag}"}.isdisjoint(tags(if_none_match)):
        return Response(status_code=304, headers=response.headers)
    return Fleet.model_validate(fleet)


@app.put("/users/{user_id}/fleet", responses=described(412, 428))
async def replace(user_id: UserId, fleet: NewFleet, response: Response, if_match: IfMatch = None) -> Fleet:
    """Store a whole fleet in the place of the one that If-Match names."""
    if if_match is None:
        raise PreconditionError(428, "send the ETag of the fleet that this one is to replace")
    return Fleet.model_validate(await changed(user_id, if_match, response, fleet.replacing))


@app.post("/users/{user_id}/pets", status_code=201, responses=described(409, 412))
async def add(user_id: UserId, pet: NewPet, response: Response, if_match: IfMatch = None) -> Pet:
    """Add a pet; the first one becomes active."""
    handle = pet.handle()
    await changed(user_id, if_match, response, lambda fleet: fleet.with_pet(handle))
    return Pet.model_validate(handle)


@app.put("/users/{user_id}/active", responses=described(404, 412))
async def switch(user_id: UserId, choice: Choice, response: Response, if_match: IfMatch = None) -> Fleet:
    """Make a pet the active one."""
    fleet = await changed(user_id, if_match, response, lambda fleet: fleet.with_active(choice.pet_name))
    return Fleet.model_validate(fleet)


@app.get("/users/{user_id}/pets/{pet_name:any}", responses=described(404))
async def read_pet(user_id: UserId, pet_name: str, response: Response) -> Pet:
    """Return one pet."""
    fleet = await store.load(user_id)
    response.headers["ETag"] = etag(fleet)
    return Pet.model_validate(fleet.pet(pet_name))


@app.delete("/users/{user_id}/pets/{pet_name:any}", status_code=204, responses=described(404, 412))
async def remove(user_id: UserId, pet_name: str, response: Response, if_match: IfMatch = None) -> None:
    """Remove a pet; if it was active, the first of the others becomes active."""
    await changed(user_id, if_match, response, lambda fleet: fleet.without_pet(pet_name))


async def watched(user_id: UserId) -> Watch:
    """Return a watch; an impossible user id is an answer of its own, before the stream begins."""
    return store.watch(user_id)


@app.get("/users/{user_id}/events", response_class=EventSourceResponse)
async def events(watch: Annotated[Watch, Depends(watched)]) -> AsyncIterator[ServerSentEvent]:
    """Send the fleet now and after every change by anyone, through whatever worker or program.

    First comes `worker`, the worker's process id; then `fleet` whenever there is another one, and `problem` while the
    fleet cannot be read.
    """
    async with aclosing(watch):  # at once, not when garbage is collected
        yield ServerSentEvent(event="worker", data=os.getpid())
        while True:
            try:
                fleet = await anext(watch)
                event = ServerSentEvent(event="fleet", id=etag(fleet), data=Fleet.model_validate(fleet))
            except (ValueError, OSError) as error:  # FleetFormatError, too; the next change may repair the file
                yield ServerSentEvent(event="problem", data=answer(error))
                await asyncio.sleep(1)  # an error of the watch itself, like a lack of threads, repeats at once
            else:
                yield event


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Return the page that shows a user's fleet live."""
    # A foreign page that shows this one in a frame could steal clicks.
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}
    return FileResponse(Path(__file__).with_name("page.html"), media_type="text/html", headers=headers)
