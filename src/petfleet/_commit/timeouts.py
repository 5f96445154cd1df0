"""What a call has waited for, found out for its timeout error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from petfleet._backends.protocol import Backend, Holder
from petfleet._commit.peeks import Peeks
from petfleet._commit.user_queue import OTHERS_TURN, PendingCall, UserQueue
from petfleet._model.errors import LockTimeoutError
from petfleet._util import runtime

_HOLDER_SECONDS: Final = 0.03  # how long a call that gives up waits to learn which process holds the lock


async def timeout_error(
    queue: UserQueue, call: PendingCall, backend: Backend, peeks: Peeks, resume: Callable[[], object]
) -> LockTimeoutError:
    """Return the error of a call that was not taken in time.

    Args:
        queue, call: the call, and the queue in which it has waited.
        backend, peeks: find out which process has the turn.
        resume: called if none has it: the user's thread waits for a lock file that was replaced, and must begin again.
    """
    now = runtime.monotonic()
    found = Holder(None, queue.phase.format(now - queue.since) or None)
    if queue.phase is OTHERS_TURN:
        try:
            holder = await peeks.peek(lambda: backend.holder(queue.user_id), _HOLDER_SECONDS)
        except Exception:  # noqa: BLE001 - there is no thread, or it takes too long, or a backend cannot tell
            pass
        else:
            if holder is None:
                resume()
            found = holder or Holder(None, "though it is free by now: try again")
    return LockTimeoutError(backend.turn_path(queue.user_id), now - call.enqueued, *found)
