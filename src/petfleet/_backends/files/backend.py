"""Fleets in files: one commit from begin to end, in blocking code."""

from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable, Generator

from petfleet._backends.files import disk, inotify, reader
from petfleet._backends.files.lock import UserLock, holder
from petfleet._backends.files.paths import UserPaths
from petfleet._backends.files.reader import Reader, identity
from petfleet._backends.protocol import Holder, Notices, OvertakenError, Snapshot, StopSignal
from petfleet._backends.state import ABSENT, State
from petfleet._model.errors import InvalidNameError, UnconfirmedCommitError
from petfleet._model.fleet import PetFleet
from petfleet._model.names import FLEET_FILE, check_user_id
from petfleet._util import log
from petfleet._util.cache import BoundedCache
from petfleet._util.log import best_effort


class FileBackend:
    """Fleets under one root directory, as ``FleetStore(root)`` uses it.

    Args:
        root: the directory, created with the first fleet. A relative path means another directory after a chdir.
    """

    peeks_at_once = 4  # more threads only take the interpreter from one another
    snapshots_at_once = 1  # a snapshot takes microseconds
    poll_seconds: float = 1.0

    def __init__(self, root: str) -> None:
        self._root = root
        self._reader = Reader()
        # The users whose directories were swept of what a power cut may have left.
        self._swept: BoundedCache[str, bool] = BoundedCache(2048, 1024 * 1024)
        self._anchored: tuple[int, int] | None = None  # device and inode of the root, once its name is durable

    def __str__(self) -> str:
        return self._root

    # --- called by the store -----------------------------------------------------------------------------------------

    def begin(self, user_id: str, *, create: bool) -> FileCommit:
        """Open the user's lock file, and return a try.

        Args:
            user_id: whose fleet.
            create: whether to make the missing directories.

        Raises:
            OvertakenError: another process is removing the user's directory.
            OSError, FleetFormatError: the lock file cannot be opened.
        """
        paths = UserPaths(self._root, user_id)
        disk.refuse_link(paths.directory)
        try:
            return FileCommit(self, paths, self._open_lock(paths, create))
        except FileNotFoundError as error:
            if _is_below_dangling_link(paths.directory):
                raise  # trying again will not help
            raise OvertakenError from error

    def turn_path(self, user_id: str) -> str:
        """Return the path of the user's lock file."""
        return UserPaths(self._root, user_id).lock

    def holder(self, user_id: str) -> Holder | None:
        """Return the process that holds the user's lock, as far as it is known; None if the lock is free."""
        return holder(self.turn_path(user_id))

    def peek(self, user_id: str) -> PetFleet | None:
        """Return the fleet that its file holds now, without the lock; None if there is none."""
        return self._peek(user_id)[1].fleet

    def text(self, user_id: str) -> str | None:
        """Return the text that the fleet's file holds now, without the lock; None if there is no file."""
        stored, _ = self._peek(user_id)
        return None if stored is None or stored.data is None else stored.data.decode()

    def users(self, on_skipped: Callable[[str, Exception], None] | None = None) -> Generator[str, None, None]:
        """Yield the ids that have a fleet, in any order.

        Args:
            on_skipped: called with the name of each directory that may hold a fleet but is left out, and the reason.
                Without it, a directory that cannot be read is logged as a warning.
        """
        try:
            entries = disk.retry_eintr(os.scandir, self._root)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                try:
                    check_user_id(entry.name)
                    disk.refuse_link(entry.path)
                    found = disk.exists(os.path.join(entry.path, FLEET_FILE))
                except InvalidNameError as error:
                    if on_skipped is not None and os.path.lexists(os.path.join(entry.path, FLEET_FILE)):
                        on_skipped(entry.name, error)
                    continue
                except NotADirectoryError:
                    continue  # a file, so not a user's
                except OSError as error:
                    if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP):
                        raise
                    if on_skipped is None:
                        log.warning("%s; left out of the users", error)
                    elif entry.name != "lost+found":  # ext4 makes it at the top of each disk
                        on_skipped(entry.name, error)
                    continue
                if found:
                    yield entry.name

    def snapshot(self, user_id: str, seen: object) -> Snapshot | None:
        """Return the fleet that its file holds now; None if its fingerprint equals ``seen``."""
        # Taken before reading: a later change of the file gives it another fingerprint.
        fingerprint = reader.fingerprint(UserPaths(self._root, user_id))
        if fingerprint is not None and fingerprint == seen:
            return None
        return Snapshot(fingerprint, self.peek(user_id))

    def check_notices(self) -> None:
        """Raise ModuleNotFoundError if watchfiles is not installed."""
        # Not imported here: that takes 60 ms, too long for the event loop. The watching thread does it.
        if importlib.util.find_spec("watchfiles") is None:
            raise ModuleNotFoundError("store.watch needs watchfiles: pip install 'petfleet[watch]'", name="watchfiles")

    def notices(self, stop: StopSignal) -> Notices:
        """Return the notices of the operating system."""
        return inotify.Notices(self._root, stop)

    def _peek(self, user_id: str) -> tuple[disk.Stored | None, State]:
        paths = UserPaths(self._root, user_id)
        disk.refuse_link(paths.directory)
        stored, state = self._reader.read(paths)
        state.readable()  # raises FleetFormatError if the file is no fleet
        return stored, state

    def _open_lock(self, paths: UserPaths, create: bool) -> UserLock | None:
        """Open the user's lock file; None if there is nothing to lock."""
        try:
            return UserLock(paths.lock, create=False)
        except FileNotFoundError:
            pass
        made = 0
        if create:
            try:
                made = disk.make_directories(paths.directory)
            except BaseException:
                self._anchored = None  # as below: the root may have been made before the error
                raise
            if made > 1:
                self._anchored = None  # a root that is made again may get the same inode
        elif not disk.exists(paths.fleet):
            return None
        lock = UserLock(paths.lock, create=True)
        lock.fresh = made > 0
        return lock


class FileCommit:
    """One try at one user's file. A try without a lock finds no fleet, or is overtaken."""

    def __init__(self, backend: FileBackend, paths: UserPaths, lock: UserLock | None) -> None:
        self.path: str = paths.fleet
        self._backend = backend
        self._paths = paths
        self._lock = lock
        self._stored: disk.Stored | None = None

    def try_turn(self) -> bool:
        """Take the lock if it is free."""
        # On the one descriptor: opening the file again for each try costs ten times as much.
        return self._lock is None or self._lock.try_acquire()

    def wait_turn(self) -> None:
        """Wait for the lock in the kernel, which grants it in the order of asking."""
        assert self._lock is not None
        self._lock.acquire()

    def close(self) -> None:
        """Release the lock and close its file."""
        if self._lock is not None:
            self._lock.close()

    def read(self) -> State:
        """Read the fleet file, and make its content durable."""
        try:
            return self._read_nothing() if self._lock is None else self._read_locked(self._lock)
        except (FileNotFoundError, OvertakenError) as error:
            raise self._overtaken() from error

    def confirm(self, before: State) -> State:
        """Remember and return what was read, which is durable. If the user has no fleet, leave nothing of the user."""
        if not before.absent:
            self._backend._reader.remember(self._paths, self._stored and self._stored.data, before)
        elif self._lock is None:
            # A power cut during a first write may leave the temporary file without the lock file. (If a living writer
            # has just made both, its rename fails, and it starts over.)
            best_effort(disk.sweep, self._paths.fleet)
        else:
            self._leave_nothing(sync=False)
        return before

    def write(self, before: State, after: State) -> None:
        """Replace the file that was read by a new one, or remove it."""
        try:
            if self._lock is None:
                self._write_nothing(after)
            elif after is before:
                self._leave_nothing(sync=True)
            else:
                self._replace(self._lock, after)
        except (FileNotFoundError, OvertakenError) as error:
            raise self._overtaken() from error

    def _overtaken(self) -> OvertakenError:
        """Return the error of a try whose directory has vanished: that may happen between any two steps."""
        # The temporary file is still in the directory if that was moved away when the file should have been removed.
        self._backend._swept.forget(self._paths.user_id)
        return OvertakenError()

    def _read_locked(self, lock: UserLock) -> State:
        if not lock.is_at_path():
            raise OvertakenError
        backend, paths = self._backend, self._paths
        if not backend._swept.get(paths.user_id):
            backend._swept.put(paths.user_id, best_effort(disk.sweep, paths.fleet), len(paths.user_id))
        self._stored, state = self._read_durable(lock)
        return state

    def _replace(self, lock: UserLock, after: State) -> None:
        data = after.encoded()
        try:
            self._write(lock, data, confirmed=True)
        except UnconfirmedCommitError:
            self._backend._reader.forget(self._paths)
            raise
        if after.absent:
            self._leave_nothing(sync=True)
        else:
            self._backend._reader.remember(self._paths, data, after)

    def _read_nothing(self) -> State:
        """Check again that there is no fleet: this also answers calls that have arrived since."""
        if disk.exists(self._paths.fleet) or disk.exists(self._paths.lock):
            raise OvertakenError
        return ABSENT

    def _write_nothing(self, after: State) -> None:
        """Leave nothing of a user without fleet and lock file: a dead writer may have left the directory."""
        paths, root = self._paths, self._backend._root
        if not after.absent:
            raise OvertakenError  # the next try makes the directory first
        if not disk.exists(paths.directory):
            best_effort(disk.sweep, paths.fleet)
            if disk.exists(root):
                best_effort(disk.sync_directory, root)  # the process that removed the directory may not have
            return
        self._lock = UserLock(paths.lock, create=True)
        if not self._lock.try_acquire() or not self._lock.is_at_path() or disk.exists(paths.fleet):
            raise OvertakenError
        self._leave_nothing(sync=True)

    def _read_durable(self, lock: UserLock) -> tuple[disk.Stored | None, State]:
        paths, reader = self._paths, self._backend._reader
        marker = lock.marker()
        stored, state = reader.read(paths)
        if marker is not None and marker.state == "clean" and marker.note == identity(stored):
            return stored, state
        if marker is None and stored is None and lock.fresh:
            return stored, state
        if marker is None or marker.state == "clean":
            # Another program has written or removed the file or the marker without our lock.
            self._sync_foreign(lock, stored)
            return stored, state
        if state.error is not None:
            # Another program's file, perhaps half written. If we replaced it by a copy, the rest would go to the old
            # file and be lost. The marker stays: data whose sync failed is not made durable by syncing again.
            best_effort(disk.sweep, paths.fleet)
            return stored, state
        # A writer died, or a sync failed. A failed sync may have dropped the data, and the next sync would not fail.
        # Only writing the same bytes to a new file makes them durable.
        log.warning("%s: recovering after %s did not finish writing", paths.fleet, marker.note)
        disk.sweep(paths.fleet)
        self._stored = stored
        written = self._write(lock, None if stored is None else stored.data, confirmed=False)
        stored, state = reader.read(paths)
        if identity(stored) != written:
            raise OvertakenError  # another program has replaced the file that was synced
        return stored, state

    def _sync_foreign(self, lock: UserLock, stored: disk.Stored | None) -> None:
        paths = self._paths
        best_effort(disk.sweep, paths.fleet)  # another program may have emptied the marker of a writer that died
        try:
            if stored is not None:
                disk.sync_file(paths.fleet)
            disk.sync_directory(paths.directory)
            self._sync_above()
            if not disk.unchanged(paths.fleet, stored):
                raise OvertakenError
        except FileNotFoundError:
            raise
        except OSError:
            best_effort(lock.mark_writing)  # so that the next holder of the lock writes the file anew
            raise
        best_effort(lock.mark_clean, identity(stored))

    def _write(self, lock: UserLock, data: bytes | None, *, confirmed: bool) -> str:
        """Replace the file that was read durably, and return the identity of the new one.

        Args:
            lock: held for the user.
            data: what to write; None removes the file.
            confirmed: whether the file that was read is durable.
        """
        paths, stored = self._paths, self._stored
        directory = disk.Directory(paths.directory)
        try:
            lock.mark_writing()
            temporary = disk.temporary_name(paths.fleet)
            outcome = identity(None)
            try:
                if data is not None:
                    outcome = disk.write_new(temporary, data, stored and stored.status)
                if not lock.is_at_path() or not disk.unchanged(paths.fleet, stored):
                    raise OvertakenError
                if data is not None:
                    disk.rename(temporary, paths.fleet)
                elif stored is not None:
                    os.unlink(paths.fleet)  # must fail if the file was moved away: it may come back
            except BaseException:
                # The old file is still there. If it was not durable, or a temporary file is left beside it, the marker
                # stays too, and the next holder of the lock recovers.
                if best_effort(disk.remove, temporary) and confirmed:
                    best_effort(lock.mark_clean, identity(stored))
                raise
            try:
                directory.sync()
                if stored is None or not confirmed:
                    self._sync_above()
            except Exception as error:
                # The marker stays, so that the next holder of the lock writes the same bytes again.
                if not confirmed:
                    raise  # this is a recovery: no change of the waiting calls was tried yet
                raise UnconfirmedCommitError(paths.fleet) from error
            best_effort(lock.mark_clean, outcome)
            return outcome
        finally:
            best_effort(directory.close)

    def _sync_above(self) -> None:
        """Make the name of the user's directory durable, and once also the names of the root and its ancestors."""
        backend = self._backend
        try:
            disk.sync_directory(backend._root)
            status = os.stat(backend._root)
            root = (status.st_dev, status.st_ino)
            if backend._anchored != root:
                # Every ancestor, whoever created it: another thread may have made one and not yet synced it.
                above = backend._root
                while above != os.path.dirname(above):
                    above = os.path.dirname(above)
                    _sync_ancestor(above)
                backend._anchored = root
        except FileNotFoundError:
            pass  # another program has moved or removed the root, and must sync what it did itself

    def _leave_nothing(self, *, sync: bool) -> None:
        """Remove what is left of a user without a fleet, except for files of other programs."""
        paths = self._paths
        self._backend._reader.forget(paths)
        best_effort(disk.sweep, paths.fleet)
        if best_effort(disk.remove, paths.lock) and best_effort(disk.remove_directory, paths.directory) and sync:
            best_effort(disk.sync_directory, self._backend._root)


def _is_below_dangling_link(path: str) -> bool:
    """Return whether a link above the path leads nowhere, so that nothing can be made at the path."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return not os.path.exists(path)


def _sync_ancestor(path: str) -> None:
    try:
        disk.sync_directory(path)
    except OSError as error:
        # Ancestors that we may not open, and file systems that cannot sync directories: nothing more can be done.
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS, errno.ENOTSUP, errno.ENOSYS):
            raise
