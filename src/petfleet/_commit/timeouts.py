"""The error of a call that timed out: it says what the call has waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from petfleet._backends.protocol import Backend, Holder
from petfleet._commit.peeks import Peeks
from petfleet._commit.user_queue import OTHERS_TURN, PendingCall, UserQueue
from petfleet._model.errors import LockTimeoutError
from petfleet._util import runtime

_HOLDER_SECONDS: Final = 0.03  # how long a call that timed out waits for the name of the process that has the turn


async def timeout_error(
    queue: UserQueue, call: PendingCall, backend: Backend, peeks: Peeks, resume: Callable[[], object]
) -> LockTimeoutError:
    """Return the error of a call that was not taken in time.

    Args:
        queue, call: the call, and the queue in which it has waited.
        backend, peeks: find out which process has the turn.
        resume: called if no process has it: then the lock file was replaced, and the job waits for the old one.
    """
    now = runtime.monotonic()
    found = Holder(None, queue.phase.format(now - queue.since) or None)
    if queue.phase is OTHERS_TURN:
        try:
            holder = await peeks.peek(lambda: backend.holder(queue.user_id), _HOLDER_SECONDS)
        except Exception:  # noqa: BLE001 - no thread, not in time, or the backend cannot tell: the holder is unknown
            pass
        else:
            if holder is None:
                resume()
            found = holder or Holder(None, "though it is free by now: try again")
    return LockTimeoutError(backend.turn_path(queue.user_id), now - call.enqueued, *found)
