'''What a backend is, for authors of new ones, and the backends that petfleet has.

A backend is where fleets live; ``FleetStore(backend)`` uses it. It is plain blocking code without tasks or event loops.
The store calls it from many threads, for one user from several at once. For each try at a user's fleet the store calls
:meth:`Backend.begin`, and with the :class:`Commit` that it returns, in one thread:

1. :meth:`Commit.try_turn`, and if another commit has the turn, :meth:`Commit.wait_turn`;
2. :meth:`Commit.read`, which returns the stored :class:`State`. The store applies all changes that wait by now;
3. :meth:`Commit.write` if they changed something, otherwise :meth:`Commit.confirm`;
4. :meth:`Commit.close`, whatever has happened.

When ``write`` returns, the change must survive a power cut. A step that finds that another writer was first raises
:class:`OvertakenError`, and the store begins again with the same changes. A backend without turns can return True from
``try_turn`` and let ``write`` compare versions.

``peek`` and ``users`` read without a turn. ``watch`` calls :meth:`Backend.snapshot` for each watched user whenever
:class:`Notices` name the user, and every ``poll_seconds``; :class:`NoNotices` is for backends that can only be polled.
After a fork, the child uses the same backend: a lock that another thread of the parent had stays locked there.

A backend stores bytes: :func:`parse_state` makes a state of them, and :meth:`State.encoded` returns the bytes of a
state. Where nothing is stored, ``read`` returns :data:`ABSENT`, and ``encoded`` returns None. A whole backend::

    import threading

    from petfleet.backends import ABSENT, Holder, NoNotices, Snapshot, parse_state

    class MemoryBackend:
        """Fleets in the memory of one process."""

        peeks_at_once = snapshots_at_once = 1
        poll_seconds = 1.0

        def __init__(self):
            self.stored = {}  # the bytes of each user's fleet
            self.locks = {}

        def state(self, user_id):
            data = self.stored.get(user_id)
            return ABSENT if data is None else parse_state(data, user_id, self.turn_path(user_id))

        def begin(self, user_id, *, create):
            return MemoryCommit(self, user_id)

        def turn_path(self, user_id):
            return f"memory:{user_id}"

        def holder(self, user_id):
            lock = self.locks.get(user_id)
            return Holder(None) if lock is not None and lock.locked() else None

        def peek(self, user_id):
            return self.state(user_id).readable()

        def users(self):
            yield from list(self.stored)

        def snapshot(self, user_id, seen):
            fingerprint = (self.stored.get(user_id),)
            return None if fingerprint == seen else Snapshot(fingerprint, self.peek(user_id))

        def check_notices(self):
            pass

        def notices(self, stop):
            return NoNotices(stop)

    class MemoryCommit:
        """One try at one user's fleet."""

        def __init__(self, backend, user_id):
            self.path = backend.turn_path(user_id)
            self.backend, self.user_id, self.has_turn = backend, user_id, False
            self.lock = backend.locks.setdefault(user_id, threading.Lock())

        def try_turn(self):
            self.has_turn = self.lock.acquire(blocking=False)
            return self.has_turn

        def wait_turn(self):
            self.has_turn = self.lock.acquire()

        def read(self):
            return self.backend.state(self.user_id)

        def confirm(self, before):
            return before

        def write(self, before, after):
            if after.absent:
                self.backend.stored.pop(self.user_id, None)
            elif after is not before:
                self.backend.stored[self.user_id] = after.encoded()

        def close(self):
            if self.has_turn:
                self.lock.release()
'''

from petfleet._backends.files.backend import FileBackend
from petfleet._backends.objects.backend import ObjectBackend
from petfleet._backends.polling import NoNotices
from petfleet._backends.protocol import Backend, Commit, Holder, Notices, OvertakenError, Snapshot, StopSignal
from petfleet._backends.state import ABSENT, State, parse_state

__all__ = [
    "ABSENT",
    "Backend",
    "Commit",
    "FileBackend",
    "Holder",
    "NoNotices",
    "Notices",
    "ObjectBackend",
    "OvertakenError",
    "Snapshot",
    "State",
    "StopSignal",
    "parse_state",
]
