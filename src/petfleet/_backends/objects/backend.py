"""Fleets in objects of a bucket: one commit by compare-and-swap, from begin to end, in blocking code.

There is no lock. A put names the version of the object that it replaces, and the object store refuses it if the object
has another version by now. Then the same changes are applied to the new version.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

from petfleet._backends.objects import lineage
from petfleet._backends.objects.bucket import (
    Bucket,
    ConflictError,
    Found,
    Listed,
    UnansweredError,
    UnchangedError,
    UnsentError,
    Version,
)
from petfleet._backends.objects.lineage import Lineage, Writer
from petfleet._backends.polling import NoNotices
from petfleet._backends.protocol import Holder, Notices, OvertakenError, Snapshot, StopSignal
from petfleet._backends.state import ABSENT, State, oversized_state, parse_state
from petfleet._model.errors import InvalidNameError, UnconfirmedCommitError
from petfleet._model.fleet import PetFleet
from petfleet._model.names import FLEET_FILE, check_user_id, text
from petfleet._toml import limits
from petfleet._util import log, runtime
from petfleet._util.backoff import random_rest
from petfleet._util.cache import BoundedCache
from petfleet._util.fork import start_clean_in_child

# The object that replaces a deleted fleet. Few object stores delete on a condition, and obstore never names one; a
# deletion without a condition could drop what another writer has just committed.
# Each tombstone is unique, and so is its ETag: a late put that was meant for an earlier one is refused. A tombstone has
# fewer bytes than any fleet, so a listing tells it without reading it.
TOMBSTONE: Final = re.compile(rb"#absent [0-9a-f]{9}\n")
TOMBSTONE_BYTES: Final = 18


class _Known(NamedTuple):
    """An object as it was last seen, and the state that it means; ``version`` is None if there was no object."""

    version: Version | None
    lineage: Lineage | None
    state: State


_NOTHING: Final = _Known(None, None, ABSENT)


class ObjectBackend:
    """Fleets in a bucket of an object store that has conditional writes, for ``FleetStore(ObjectBackend(url))``.

    Each fleet is the object ``<prefix>/<user_id>/fleet.toml``, which holds the same bytes as the file would. A deleted
    fleet leaves a small object that says so. Any number of processes on any number of machines may share a bucket.

    When a call returns, the object store has acknowledged its change; how durable that is depends on the object store.
    ``lock_timeout`` of the FleetStore limits how long a call tries again while other writers are first. It does not end
    a request under way (see ``client_options``). If the response to a put is lost, petfleet checks for 10 s whether the
    write happened. S3 was tested with SeaweedFS; gs:// and az:// work alike according to the documentation of obstore.

    Not promised: anything about programs that write the objects without a condition. A process that was forked after
    its parent used a bucket cannot use one (OSError).

    Args:
        url: ``s3://bucket/prefix``, ``gs://...`` or ``az://...``. The bucket must exist.
        poll_seconds: seconds between two requests for a watched user.
        options: for ``obstore.store.from_url``: credentials, region, endpoint and so on. ``retry_config`` is for reads
            only: obstore never repeats a put. ``client_options`` has a timeout of 10 s for a request unless it names
            another.

    Raises:
        ModuleNotFoundError: obstore is not installed (``pip install 'petfleet[objects]'``).
        TypeError, ValueError: the URL or an option is wrong.
    """

    peeks_at_once = snapshots_at_once = 16  # these threads only wait for the network
    _settle_seconds = 10.0  # how long a put whose response was lost is looked up

    def __init__(self, url: str, *, poll_seconds: float = 1.0, **options: Any) -> None:
        if not poll_seconds > 0:
            raise ValueError(f"poll_seconds must be a number of seconds above 0, not {poll_seconds!r}")
        self._bucket = Bucket(text(url, "url"), options)
        self.poll_seconds: float = poll_seconds
        self.start_clean()
        start_clean_in_child(self)

    def start_clean(self) -> None:
        """Start with an empty cache and a new writer: at first, and in a forked child, which is another writer."""
        self._writer = Writer()
        self._turns = threading.Condition()
        self._under_way: dict[str, ObjectCommit] = {}
        self._seen: BoundedCache[str, _Known] = BoundedCache(8192, 32 * 1024 * 1024)

    @property
    def bucket(self) -> Bucket:
        """The bucket, for code that works on single objects, such as a repair."""
        return self._bucket

    def __str__(self) -> str:
        return self._bucket.url

    def __repr__(self) -> str:
        return f"ObjectBackend({self._bucket.url!r})"

    # --- called by the store -----------------------------------------------------------------------------------------

    def begin(self, user_id: str, *, create: bool) -> ObjectCommit:
        """Return a try; this makes no request yet."""
        return ObjectCommit(self, user_id)

    def turn_path(self, user_id: str) -> str:
        """Return the URL of the user's object."""
        return self._url(user_id)

    def holder(self, user_id: str) -> Holder:
        """Return the reason for a timeout: other writers were always first. Between two tries nobody has the turn."""
        return Holder(None, "since others were first each time: try again, or raise lock_timeout")

    def peek(self, user_id: str) -> PetFleet | None:
        """Return the fleet as it is now; None if there is none."""
        return self._current(user_id).state.readable()

    def text(self, user_id: str) -> str | None:
        """Return the text that the fleet's object holds now; None if there is no fleet."""
        found, state = self.stored(user_id)
        fleet = state.readable()
        return None if fleet is None or found is None or found.data is None else found.data.decode()

    def stored(self, user_id: str) -> tuple[Found | None, State]:
        """Return a user's object as it is now (None if there is none), and the state that it means."""
        found = self._bucket.get(_key(user_id), limits.MAX_BYTES)
        return found, self._known(user_id, found).state

    def users(self, on_skipped: Callable[[str, Exception], None] | None = None) -> Generator[str, None, None]:
        """Yield the ids that have a fleet, in any order.

        Args:
            on_skipped: called with each name that has a fleet but is no valid user id, and the reason.
        """
        for name, listed in self.listed(on_skipped):
            if not is_tombstone(listed):
                yield name

    def listed(
        self, on_skipped: Callable[[str, Exception], None] | None = None
    ) -> Generator[tuple[str, Listed], None, None]:
        """Yield the ids that have an object, tombstones included, with their listing.

        Args:
            on_skipped: called with each name that has a fleet but is no valid user id, and the reason.
        """
        for listed in self._bucket.list():
            name, slash, file = listed.key.partition("/")
            if not slash or file != FLEET_FILE:
                continue
            try:
                check_user_id(name)
            except InvalidNameError as error:
                if on_skipped is not None:
                    on_skipped(name, error)
                continue
            yield name, listed

    def snapshot(self, user_id: str, seen: object) -> Snapshot | None:
        """Return the fleet as it is now; None if its fingerprint equals ``seen``."""
        known = self._current(user_id)
        fingerprint = (known.version,)
        return None if fingerprint == seen else Snapshot(fingerprint, known.state.readable())

    def check_notices(self) -> None:
        """Do nothing: there is nothing to install."""

    def notices(self, stop: StopSignal) -> Notices:
        """Return notices that tell of nothing: an object store sends none."""
        return NoNotices(stop)

    # --- reading -----------------------------------------------------------------------------------------------------

    def _current(self, user_id: str) -> _Known:
        """Return what is stored now: the same object as the last time if nothing has changed."""
        return self._read(user_id, self._seen.get(user_id))

    def _read(self, user_id: str, seen: _Known | None) -> _Known:
        try:
            found = self._bucket.get(_key(user_id), limits.MAX_BYTES, seen and seen.version)
        except UnchangedError:
            assert seen is not None
            return seen
        if found is None and seen is not None and seen.version is None:
            return seen
        return self._remember(user_id, self._known(user_id, found), found.size if found is not None else 0)

    def _known(self, user_id: str, found: Found | None) -> _Known:
        if found is None:
            return _NOTHING
        if found.data is None:
            state = oversized_state(found.size, self._url(user_id))
        elif TOMBSTONE.fullmatch(found.data):
            state = ABSENT
        else:
            state = parse_state(found.data, user_id, self._url(user_id))
        return _Known(found.version, Lineage.of(found.note), state)

    def _remember(self, user_id: str, known: _Known, size: int) -> _Known:
        # A parsed fleet takes about three times the bytes of its text.
        self._seen.put(user_id, known, 4 * size + 1024)
        return known

    def _url(self, user_id: str) -> str:
        return f"{self._bucket.url}/{_key(user_id)}"


class ObjectCommit:
    """One try at one user's object.

    Tries that share a backend take turns: an object names only the newest commit of each writer, so of two at once, one
    could not find out whether its own happened. Against other writers, the condition of the put decides.
    """

    def __init__(self, backend: ObjectBackend, user_id: str) -> None:
        self.path: str = backend._url(user_id)
        self._backend = backend
        self._user_id = user_id
        self._known = _NOTHING
        self._from_cache = False

    def try_turn(self) -> bool:
        """Take the turn if no other try of this backend has it."""
        with self._backend._turns:
            return self._backend._under_way.setdefault(self._user_id, self) is self

    def wait_turn(self) -> None:
        """Wait until no other try of this backend has the turn, and take it."""
        with self._backend._turns:
            self._backend._turns.wait_for(lambda: self._user_id not in self._backend._under_way)
            self._backend._under_way[self._user_id] = self

    def close(self) -> None:
        """Give the turn back."""
        with self._backend._turns:
            if self._backend._under_way.get(self._user_id) is self:
                del self._backend._under_way[self._user_id]
                self._backend._turns.notify_all()

    def read(self) -> State:
        """Return the state that was last seen; if none was, read it."""
        cached = self._backend._seen.get(self._user_id)
        self._from_cache = cached is not None
        self._known = cached or self._backend._read(self._user_id, None)
        return self._known.state

    def confirm(self, before: State) -> State:
        """Check that a state from the cache is still stored, and return what is."""
        if self._from_cache:
            self._known = self._backend._read(self._user_id, self._known)
            self._from_cache = False
        return self._known.state

    def write(self, before: State, after: State) -> None:
        """Replace the object that was read by a new one.

        Raises:
            OvertakenError: another writer was first. Nothing was written, and nothing will be.
            UnconfirmedCommitError: the object may have been written, or may still be.
            OSError, ValueError: nothing was written.
        """
        if after is before:
            if self.confirm(before) is not before:
                raise OvertakenError
            return
        data = tombstone() if after.absent else after.encoded()
        assert data is not None
        try:
            self._put(data, after)
        except UnconfirmedCommitError:
            self._backend._seen.forget(self._user_id)
            raise

    def _put(self, data: bytes, after: State) -> None:
        backend, user_id, known = self._backend, self._user_id, self._known
        commit = backend._writer.next_commit()
        before = known.lineage
        lost: OSError | None = None  # why a put that may have happened has no response
        unread: OSError | None = None  # why the object could not be read after that
        reached = False  # whether any put may have reached the object store
        give_up = runtime.monotonic() + backend._settle_seconds
        tries = 0
        while True:
            successor = lineage.followed(before, commit)
            try:
                version = backend._bucket.put(_key(user_id), data, successor.note(), known.version)
                backend._remember(user_id, _Known(version, successor, after), len(data))
                return
            except UnsentError:
                pass
            except ConflictError:
                reached = True  # this put wrote nothing, but an earlier one, or one repeated by a proxy, may have
            except UnansweredError as error:
                reached = True
                lost = error
                log.warning("%s; checking whether it was written", error)
            except OSError:
                if not reached:
                    raise
            try:
                now = backend._read(user_id, None)
            except OSError as error:
                if not reached:
                    raise
                unread = error
            else:
                done = lineage.happened(commit, known.lineage, now.lineage)
                if done:
                    return
                if lost is None:
                    raise OvertakenError
                if now.version != known.version:
                    if done is None:
                        raise UnconfirmedCommitError(self.path) from lost
                    raise OvertakenError  # the version that it should replace is gone
                # The put may still happen. The same put is sent again with the same id: at most one of them succeeds.
                before = now.lineage
            if runtime.monotonic() >= give_up:
                raise UnconfirmedCommitError(self.path) from lost or unread
            runtime.sleep(random_rest(tries))
            tries += 1


def is_tombstone(listed: Listed) -> bool:
    """Return whether a listed object is a tombstone: no other object has so few bytes."""
    return listed.size == TOMBSTONE_BYTES


def tombstone() -> bytes:
    """Return a new object to replace a deleted fleet."""
    return f"#absent {secrets.token_hex(5)[:9]}\n".encode()


def _key(user_id: str) -> str:
    return f"{user_id}/{FLEET_FILE}"
