"""What a backend is, for whoever writes one, and the backends that there are.

A backend says where fleets live. It is plain blocking code: it knows no tasks and no event loops, it is called from any
thread, and for one user from several threads at once. ``FleetStore(backend)`` drives it. For each try at one user's
fleet, the store asks :meth:`Backend.begin` for a :class:`Commit` and then, in one thread:

1. :meth:`Commit.try_turn`; if others have the turn, :meth:`Commit.wait_turn`, for as long as it takes;
2. :meth:`Commit.read`: the stored :class:`State`;
3. the changes of all calls that wait by now are applied to it;
4. :meth:`Commit.write`, if they changed something (or delete the user), else :meth:`Commit.confirm`;
5. :meth:`Commit.close`, whatever has happened.

Any step may raise :class:`OvertakenError`: somebody else was first, nothing has happened, and the store begins again
with the same changes. When ``write`` returns, the change must survive a power cut.

Where bytes are stored, :func:`parse_state` makes a state of them and :meth:`State.encoded` makes bytes of a state:
``None`` there, and :data:`ABSENT` here, mean that there is no fleet.
"""

from petfleet._backends.files.backend import FileBackend
from petfleet._backends.objects.backend import ObjectBackend
from petfleet._backends.protocol import Backend, Commit, Holder, Notices, OvertakenError, Snapshot, StopSignal
from petfleet._backends.state import ABSENT, State, parse_state

__all__ = [
    "ABSENT",
    "Backend",
    "Commit",
    "FileBackend",
    "Holder",
    "Notices",
    "ObjectBackend",
    "OvertakenError",
    "Snapshot",
    "State",
    "StopSignal",
    "parse_state",
]
