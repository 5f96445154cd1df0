"""A fleet server: any number of workers over one directory, nothing shared between them but the files.

    PETFLEET_ROOT=data/fleets uvicorn --app-dir examples server.app:app --workers 4 --timeout-graceful-shutdown 3

There is NO authentication: whoever reaches the port reads and changes every fleet. It is bound to 127.0.0.1 (uvicorn's
default); put your own login in front of it before you bind it elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from petfleet import FleetStore, PetFleet
from petfleet.watching import Watch
from server.models import Fleet, FleetBody, Name, Pet, PetBody, etag
from server.problems import PreconditionError, install

store = FleetStore(os.environ.get("PETFLEET_ROOT", "data/fleets"), lock_timeout=2.0)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Wait for commits under way when the worker is asked to stop."""
    async with store:
        yield


app = FastAPI(title="petfleet", version="1", lifespan=lifespan)
install(app)
IfMatch = Annotated[str | None, Header()]


async def changed(
    user_id: str, if_match: str | None, response: Response, change: Callable[[PetFleet], PetFleet]
) -> PetFleet:
    """Apply a change if the fleet is still the one that If-Match names, which is decided under the user's lock."""

    def checked(stored: PetFleet) -> PetFleet:
        if if_match not in (None, "*") and etag(stored) not in [tag.strip() for tag in if_match.split(",")]:
            raise PreconditionError(412, "the fleet has changed since: GET it again")
        return change(stored)

    fleet = await store.update(user_id, checked)
    response.headers["ETag"] = etag(fleet)
    return fleet


@app.get("/users/{user_id}/fleet")
async def read(user_id: str, response: Response) -> Fleet:
    """Return a user's fleet; an unknown user's is empty."""
    fleet = await store.load(user_id)
    response.headers["ETag"] = etag(fleet)
    return Fleet.of(fleet)


@app.put("/users/{user_id}/fleet")
async def replace(user_id: str, body: FleetBody, response: Response, if_match: IfMatch = None) -> Fleet:
    """Replace a whole fleet, which must be the one that If-Match names."""
    if if_match is None:
        raise PreconditionError(428, "send If-Match with the ETag of the fleet that this one is to replace")
    return Fleet.of(await changed(user_id, if_match, response, body.fleet))


@app.post("/users/{user_id}/pets", status_code=201)
async def add(user_id: str, body: PetBody, response: Response, if_match: IfMatch = None) -> Pet:
    """Add a pet."""
    handle = body.handle()
    await changed(user_id, if_match, response, lambda fleet: fleet.with_pet(handle))
    return Pet.of(handle)


@app.put("/users/{user_id}/active")
async def switch(user_id: str, body: Name, response: Response, if_match: IfMatch = None) -> Fleet:
    """Make a pet the active one."""
    return Fleet.of(await changed(user_id, if_match, response, lambda fleet: fleet.with_active(body.pet_name)))


@app.get("/users/{user_id}/pets/{pet_name:path}")
async def read_pet(user_id: str, pet_name: str) -> Pet:
    """Return one pet."""
    return Pet.of((await store.load(user_id)).pet(pet_name))


@app.delete("/users/{user_id}/pets/{pet_name:path}", status_code=204)
async def remove(user_id: str, pet_name: str, response: Response, if_match: IfMatch = None) -> None:
    """Remove a pet."""
    await changed(user_id, if_match, response, lambda fleet: fleet.without_pet(pet_name))


async def watched(user_id: str) -> AsyncIterator[Watch]:
    """Watch a user for as long as the request lasts."""
    watch = store.watch(user_id)
    try:
        yield watch
    finally:
        await watch.aclose()


@app.get("/users/{user_id}/events", response_class=EventSourceResponse)
async def events(watch: Annotated[Watch, Depends(watched)]) -> AsyncIterator[ServerSentEvent]:
    """Send the fleet now and after every change by anyone, through whatever worker or program."""
    yield ServerSentEvent(event="worker", data=os.getpid())
    async for fleet in watch:
        yield ServerSentEvent(event="fleet", id=etag(fleet), data=Fleet.of(fleet))


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Return the page that shows a user's fleet live."""
    return FileResponse(Path(__file__).with_name("page.html"), media_type="text/html")
