"""Fleets in files: one commit, top to bottom, in blocking code."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable, Generator, Sequence
from typing import Final

from petfleet import changes, disk, logs, notices, reading
from petfleet.backend import Call, Look, Notices
from petfleet.changes import ABSENT, Batch, Change, Kind, State
from petfleet.errors import InvalidNameError, LockTimeoutError, UnconfirmedCommitError
from petfleet.fleet import PetFleet
from petfleet.layout import FLEET_FILE, Place
from petfleet.lock import UserLock, holder
from petfleet.memory import Memory
from petfleet.names import check_user_id
from petfleet.reading import Reader, identity

_MOST_RESTARTS: Final = 20  # before a commit gives way, as if the lock were busy


class _OvertakenError(Exception):
    """The lock, the directory or the file was replaced under the commit; nothing has happened."""


class FileBackend:
    """Fleets under one root directory. May be called from any thread, for one user from several at once."""

    peeks_at_once = 4  # more of them only take the interpreter from one another
    looks_at_once = 1  # a look takes microseconds
    look_seconds = 1.0

    def __init__(self, root: str) -> None:
        self._root = root
        self._reader = Reader()
        self._swept: Memory[str, bool] = Memory(2048, 1024 * 1024)  # whose leftovers of a power cut were looked for
        self._anchored: tuple[int, int] | None = None  # the root whose own name is known to be durable

    def __str__(self) -> str:
        return self._root

    # --- what the rooms above call -----------------------------------------------------------------------------------

    def commit(self, user_id: str, batch: Batch) -> bool:
        """Apply what waits in ``batch`` to the stored fleet, and make the outcome durable.

        Returns:
            True when the changes have their results or errors; False if the lock is busy, and none was taken.

        Raises:
            OSError, FleetFormatError: the whole batch fails; nothing was changed.
        """
        place = Place(self._root, user_id)
        vanished: FileNotFoundError | None = None
        for _ in range(_MOST_RESTARTS):
            try:
                return self._attempt(place, batch)
            except _OvertakenError:
                vanished = None
            except FileNotFoundError as error:  # the directory may vanish between any two steps
                vanished = error
            # Its temporary file is still in the directory, if that was away when the file was to be removed.
            self._swept.forget(user_id)
            batch.put_back()
        if vanished is not None and not os.path.exists(self._root):
            raise vanished  # behind a dangling link, say: it will not come by waiting
        return False

    def is_free(self, user_id: str) -> bool:
        """Return whether the user's lock could be had just now."""
        try:
            lock = UserLock(Place(self._root, user_id).lock, create=False)
        except FileNotFoundError:
            return True
        try:
            return lock.try_acquire()
        finally:
            lock.close()

    def lock_timeout(self, user_id: str) -> Callable[[float], LockTimeoutError]:
        """Return what makes the errors of calls that waited in vain for this user's lock, from the seconds waited."""
        path = Place(self._root, user_id).lock
        held_by = holder(path)
        return lambda waited: LockTimeoutError(path, waited, held_by)

    def peek(self, user_id: str) -> PetFleet | None:
        """Return the fleet as its file is now, without the lock; None if there is none."""
        return self._peek(user_id)[1].fleet

    def text(self, user_id: str) -> str | None:
        """Return the text that the fleet's file holds now, without the lock; None if there is none."""
        stored, _ = self._peek(user_id)
        return None if stored is None or stored.data is None else stored.data.decode()

    def users(self, left_out: Callable[[str, Exception], None] | None = None) -> Generator[str, None, None]:
        """Yield the ids that have a fleet, in no order.

        Args:
            left_out: told of each directory that has a fleet, or may have one, and of why it cannot be a user; without
                it, a directory that cannot be looked into is a warning in the log.
        """
        try:
            entries = disk.uninterrupted(os.scandir, self._root)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                try:
                    check_user_id(entry.name)
                    disk.refuse_link(entry.path)
                    found = disk.exists(os.path.join(entry.path, FLEET_FILE))
                except InvalidNameError as error:
                    if left_out is not None and os.path.lexists(os.path.join(entry.path, FLEET_FILE)):
                        left_out(entry.name, error)
                    continue
                except NotADirectoryError:
                    continue  # not ours
                except OSError as error:
                    if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP):
                        raise
                    if left_out is None:
                        logs.warning("%s; left out of the users", error)
                    elif entry.name != "lost+found":  # that of a mounted disk
                        left_out(entry.name, error)
                    continue
                if found:
                    yield entry.name

    def look(self, user_id: str, seen: object) -> Look | None:
        """Return the fleet as its file is now; None if that is what it was when ``seen`` was its sign."""
        sign = reading.sign(Place(self._root, user_id))  # before the read: what changes it after that has another sign
        if sign is not None and sign == seen:
            return None
        return Look(sign, self.peek(user_id))

    def check_notices(self) -> None:
        """Raise ModuleNotFoundError without watchfiles."""
        # Not imported here: that takes 60 ms, which the thread has and the event loop has not.
        if importlib.util.find_spec("watchfiles") is None:
            raise ModuleNotFoundError("store.watch needs watchfiles: pip install 'petfleet[watch]'", name="watchfiles")

    def notices(self, call: Call) -> Notices:
        """Return what the operating system tells of changes."""
        return notices.Notices(self._root, call)

    def _peek(self, user_id: str) -> tuple[disk.Stored | None, State]:
        place = Place(self._root, user_id)
        disk.refuse_link(place.directory)
        stored, state = self._reader.read(place)
        state.readable()  # raises what keeps it from being a fleet
        return stored, state

    # --- one commit --------------------------------------------------------------------------------------------------

    def _attempt(self, place: Place, batch: Batch) -> bool:
        disk.refuse_link(place.directory)
        lock = self._open_lock(place, batch)
        if lock is None:
            return True
        try:
            # On the one descriptor: opening the file anew for each try cost ten times as much.
            while not lock.try_acquire():
                if not batch.wait(lock.sign_of_life()):
                    return False
            if not lock.is_at_path():
                raise _OvertakenError
            # Only now: whatever has arrived meanwhile joins this batch.
            self._commit(place, lock, batch)
            return True
        finally:
            # What was committed stays committed, whatever becomes of the lock.
            _tidy(lock.close)

    def _open_lock(self, place: Place, batch: Batch) -> UserLock | None:
        """Open the user's lock file; None if there is nothing to lock, and the batch was answered."""
        try:
            return UserLock(place.lock, create=False)
        except FileNotFoundError:
            pass
        if batch.may_create():
            try:
                made = disk.make_directories(place.directory)
            except BaseException:
                self._anchored = None  # as below: it may have come as far as the root
                raise
            if made > 1:
                self._anchored = None  # a root made again may have the number of the one before
        else:
            # Taken before the look: what arrives later must not be answered by it.
            taken = batch.take()
            if any(change.kind >= Kind.CREATE for change in taken):
                raise _OvertakenError
            if not disk.exists(place.fleet):
                if disk.exists(place.lock):
                    raise _OvertakenError
                deletes = _any_deletes(taken)
                # A directory that a dead writer left is removed under the lock.
                if not (deletes and disk.exists(place.directory)):
                    changes.apply(taken, ABSENT)
                    # Of a first write, a power cut may leave the temporary file without the lock file. (Should it be
                    # that of a writer who has made both just now, its rename fails, and it starts over.)
                    _tidy(disk.sweep, place.fleet)
                    if deletes and disk.exists(self._root):
                        _tidy(disk.sync_directory, self._root)  # who removed the directory may have died before that
                    return None
            batch.put_back()
            made = 0
        lock = UserLock(place.lock, create=True)
        lock.fresh = made > 0
        return lock

    def _commit(self, place: Place, lock: UserLock, batch: Batch) -> None:
        taken = batch.take()
        if not self._swept.get(place.user_id):
            self._swept.put(place.user_id, _tidy(disk.sweep, place.fleet), len(place.user_id))
        stored, before = self._read_durable(place, lock, batch)
        after, first = changes.apply(taken, before)
        data = None if stored is None else stored.data
        if after is not before:
            try:
                data = after.encoded()
                self._write(place, lock, stored, data, confirmed=True)
                batch.waited()
            except (_OvertakenError, FileNotFoundError):
                raise
            except UnconfirmedCommitError as error:
                self._reader.forget(place)
                changes.fail(taken[first:], error, None)
                return
            except Exception as error:  # noqa: BLE001 - it goes to the calls
                changes.fail(taken[first:], error, before)
                after, data = before, None if stored is None else stored.data
        wrote = "a write" if after is not before else "no write"
        logs.debug("%s: %s for %d calls", place.fleet, wrote, len(taken))
        if after.absent:
            self._leave_nothing(place, sync=after is not before or _any_deletes(taken))
        else:
            self._reader.remember(place, data, after)

    def _read_durable(self, place: Place, lock: UserLock, batch: Batch) -> tuple[disk.Stored | None, State]:
        """Read the fleet file, and make sure that what was read is on disk."""
        marker = lock.marker()
        stored, state = self._reader.read(place, batch.pause)
        if marker is not None and marker.state == "clean" and marker.note == identity(stored):
            return stored, state
        if marker is None and stored is None and lock.fresh:
            return stored, state
        if marker is None or marker.state == "clean":
            # Someone wrote, or removed, the file or the marker without our lock.
            self._sync_foreign(place, lock, stored)
            return stored, state
        if state.error is not None:
            # Not written by us. Were it written anew, what its writer has yet to write would go into the file that was
            # replaced. The marker stays: what could not be synced is not synced by trying again.
            _tidy(disk.sweep, place.fleet)
            return stored, state
        # A writer died, or could not sync. A failed sync may have dropped the data and would not fail again, so
        # nothing but writing the same bytes anew makes them durable.
        logs.warning("%s: recovering after %s did not finish writing", place.fleet, marker.note)
        disk.sweep(place.fleet)
        written = self._write(place, lock, stored, None if stored is None else stored.data, confirmed=False)
        stored, state = self._reader.read(place, batch.pause)
        if identity(stored) != written:
            raise _OvertakenError  # what stands there now is not what was synced
        return stored, state

    def _sync_foreign(self, place: Place, lock: UserLock, stored: disk.Stored | None) -> None:
        _tidy(disk.sweep, place.fleet)  # others may have emptied the marker of a writer that died
        try:
            if stored is not None:
                disk.sync_file(place.fleet)
            disk.sync_directory(place.directory)
            self._sync_above()
            if not disk.unchanged(place.fleet, stored):
                raise _OvertakenError
        except FileNotFoundError:
            raise
        except OSError:
            _tidy(lock.mark_writing)  # so that the next holder writes it anew
            raise
        _tidy(lock.mark_clean, identity(stored))

    def _write(
        self, place: Place, lock: UserLock, stored: disk.Stored | None, data: bytes | None, *, confirmed: bool
    ) -> str:
        """Put ``data`` durably in the place of what was read (None removes it), and return the identity of the outcome.

        ``confirmed`` says that what was read is durable.
        """
        directory = disk.Directory(place.directory)
        try:
            lock.mark_writing()
            temporary = disk.temporary_name(place.fleet)
            outcome = identity(None)
            try:
                if data is not None:
                    outcome = disk.write_new(temporary, data, stored and stored.status)
                if not lock.is_at_path() or not disk.unchanged(place.fleet, stored):
                    raise _OvertakenError
                if data is not None:
                    disk.rename(temporary, place.fleet)
                elif stored is not None:
                    os.unlink(place.fleet)  # an error if it is away by now: it may come back
            except BaseException:
                # The old file stands. Unless it was durable and nothing is left beside it, the marker stays too, for
                # the next holder to recover.
                if _tidy(disk.remove, temporary) and confirmed:
                    _tidy(lock.mark_clean, identity(stored))
                raise
            try:
                directory.sync()
                if stored is None or not confirmed:
                    self._sync_above()
            except Exception as error:
                # The marker stays, so that the next holder writes the same bytes again.
                if not confirmed:
                    raise  # in a recovery: nothing of the calls has been tried yet
                raise UnconfirmedCommitError(place.fleet) from error
            _tidy(lock.mark_clean, outcome)
            return outcome
        finally:
            _tidy(directory.close)

    def _sync_above(self) -> None:
        """Make the user's directory durable in the root, and, once, the root in what is above it."""
        try:
            disk.sync_directory(self._root)
            status = os.stat(self._root)
            root = (status.st_dev, status.st_ino)
            if self._anchored != root:
                # All of them, made by whom they may: another thread may have made one and not yet synced it.
                above = self._root
                while above != os.path.dirname(above):
                    above = os.path.dirname(above)
                    _sync_ancestor(above)
                self._anchored = root
        except FileNotFoundError:
            pass  # someone has moved the root or removed it; which names are durable now is up to them

    def _leave_nothing(self, place: Place, *, sync: bool) -> None:
        """Remove what is left of a user without a fleet, except for files that are not ours."""
        self._reader.forget(place)
        _tidy(disk.sweep, place.fleet)
        if _tidy(disk.remove, place.lock) and _tidy(disk.remove_directory, place.directory) and sync:
            _tidy(disk.sync_directory, self._root)


def _any_deletes(calls: Sequence[Change]) -> bool:
    return any(change.kind is Kind.DELETE for change in calls)


def _sync_ancestor(path: str) -> None:
    try:
        disk.sync_directory(path)
    except OSError as error:
        # Where we may not look, or where there is no such call, no one could do more.
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS, errno.ENOTSUP, errno.ENOSYS):
            raise


def _tidy(action: Callable[..., object], *arguments: str) -> bool:
    """Do what the outcome of a call does not depend on; what fails is logged."""
    try:
        action(*arguments)
    except Exception as error:  # noqa: BLE001 - not even running out of memory may fail a call that is durable
        logs.warning("%s; left for the next call to tidy up", error)
        return False
    return True
