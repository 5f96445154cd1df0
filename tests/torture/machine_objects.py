"""Random walks on objects: requests meet trouble on their way, and stores meet at one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from anyio.from_thread import BlockingPortal
from hypothesis import strategies as st

from petfleet import FleetStore, ObjectBackend
from petfleet._backends.objects.bucket import ConflictError, Version
from petfleet._toml import limits
from tests.support.backends import MemoryStorage, ObjectStorage
from tests.torture import model
from tests.torture.machine import ANY_STORE, ANY_USER, SEVERAL_CALLS, Machine, rule
from tests.torture.model import Call, Reply
from tests.torture.network import (
    TROUBLES,
    Arguments,
    Network,
    Put,
    Trouble,
    behind_the_held,
    bucket_of,
    busy_store,
    held_request,
    lost_answer,
    lost_request,
)
from tests.torture.performing import perform
from tests.torture.strategies import CALLS

_TROUBLES: Final = st.one_of(
    st.lists(st.sampled_from(TROUBLES), min_size=1, max_size=4),
    st.lists(st.sampled_from(TROUBLES), max_size=2).map(lambda some: [held_request, *some, behind_the_held]),
)
_FOR_EVER: Final = 1000


class _Held(NamedTuple):
    """A put that is still on its way; the call that it is for, if that ended unconfirmed."""

    arguments: Arguments
    call: Call | None


class ObjectMachine(Machine):
    """Two stores on one prefix of a bucket, with a backend each."""

    def __init__(self, storage: ObjectStorage, loops: list[BlockingPortal], counted: Counter[str]) -> None:
        super().__init__(loops, storage, counted)
        self.held: list[_Held] = []
        self.unseen: set[str] = set()  # of whom someone else has written something that keeps no lineage
        self.bucket = bucket_of(storage.backend())
        self.versions_come_back = not isinstance(storage, MemoryStorage)

    @rule(user=ANY_USER)
    def lose(self, user: str) -> None:
        """Someone removes an object."""
        super().lose(user)
        self.unseen.add(user)

    # --- requests on their way ---------------------------------------------------------------------------------------

    @rule(at=ANY_STORE, user=ANY_USER, call=CALLS, troubles=_TROUBLES, failing=st.integers(0, 2))
    def suffer(self, at: int, user: str, call: Call, troubles: list[Trouble], failing: int) -> None:
        """Whatever becomes of its puts, a call replies as the model does, as long as the store can be read again."""
        self._see(user)
        network = Network(troubles, failing_lookups=failing)
        reply = self._through(network, self.stores[at], at, user, call)
        self._count(at, call)
        if reply == "OSError" and network.met["no_connection"] and network.met["failed_read"]:
            self._look(user, self.states[user])
        else:
            self._went(user, [(call, reply)])

    @rule(at=ANY_STORE, user=ANY_USER, call=CALLS, failing=st.integers(1, 2))
    def fail_to_read(self, at: int, user: str, call: Call, failing: int) -> None:
        """A call that must read first and cannot raises an error, and has done nothing."""
        network = Network(failing_reads=failing)
        reply = self._through(network, self.stores[at], at, user, call)
        self._count(at, call)
        if reply == "OSError" and network.met["failed_read"]:
            self._look(user, self.states[user])
        else:
            self._went(user, [(call, reply)])

    @rule(
        at=ANY_STORE, user=ANY_USER, call=CALLS, other=CALLS, trouble=st.sampled_from([lost_answer, lost_request, None])
    )
    def meet(self, at: int, user: str, call: Call, other: Call, trouble: Trouble | None) -> None:
        """The other store comes between: before the put arrives, or between its end and the look for what it did."""
        self._see(user)
        others: list[tuple[Call, Reply]] = []

        def met(network: Network, put: Put, arguments: Arguments) -> Version:
            if trouble is lost_answer:
                put(*arguments)
            others.append((other, self.loops[1 - at].call(perform, self.stores[1 - at], user, other)))
            self._count(1 - at, other)
            return put(*arguments) if trouble is None else lost_request(network, put, arguments)

        reply = self._through(Network([met]), self.stores[at], at, user, call)
        self._count(at, call)
        self._went(user, [(call, reply), *others] if trouble is lost_answer else [*others, (call, reply)])

    @rule(user=ANY_USER, calls=SEVERAL_CALLS, troubles=st.tuples(_TROUBLES, _TROUBLES))
    def gather_in_trouble(
        self, user: str, calls: list[tuple[int, Call, bool]], troubles: tuple[list[Trouble], ...]
    ) -> None:
        """Calls made at the same time have an order that explains them, whatever becomes of the stores' puts."""
        self._see(user)
        one, other = (Network(some) for some in troubles)
        with one.between(self.stores[0]._backend), other.between(self.stores[1]._backend):
            self._gather(user, calls)
        self._met(one, None)
        self._met(other, None)

    @rule(
        at=ANY_STORE,
        user=ANY_USER,
        call=CALLS,
        trouble=st.sampled_from([lost_answer, held_request, busy_store]),
        readable=st.booleans(),
    )
    def despair(self, at: int, user: str, call: Call, trouble: Trouble, readable: bool) -> None:
        """An impatient call whose put goes wrong each time says what is known of it: nothing, or that it is undone."""
        backend = self.storage.backend()
        assert isinstance(backend, ObjectBackend)
        backend._settle_seconds = 0
        impatient = FleetStore(backend, lock_timeout=0)
        network = Network([trouble] * _FOR_EVER, failing_lookups=0 if readable else _FOR_EVER)
        reply = self._through(network, impatient, at, user, call)
        self.loops[at].call(impatient.aclose)
        before, (after, expected) = self.states[user], model.step(self.states[user], call)
        if not network.met[trouble.__name__] or (trouble is lost_answer and readable):
            self._went(user, [(call, reply)])
            return
        unknown = trouble is held_request or not readable
        assert reply == ("UnconfirmedCommitError" if unknown else "LockTimeoutError"), f"{call} of {user}: {reply}"
        assert isinstance(expected, model.Fleet | bool)
        self._look(user, after if trouble is lost_answer else before)

    @rule(which=st.integers(0, 100))
    def arrive(self, which: int) -> None:
        """A put that arrives late changes nothing, unless the call that it is for was told that it may."""
        if not self.held:
            return
        (key, data, note, replacing), call = self.held.pop(which % len(self.held))
        user = key.partition("/")[0]
        now = self.bucket.get(key, limits.MAX_BYTES)
        fits = replacing == (None if now is None else now.version)
        if fits and call is None:
            # A limit: tags that come back with the bytes, or an object that someone has removed.
            assert replacing is None or self.versions_come_back
            return
        try:
            self.bucket.put(key, data, note, replacing)
        except ConflictError:
            assert not fits
            self._look(user, self.states[user])
        else:
            assert fits
            assert call is not None
            self.counted["late puts of unconfirmed calls"] += 1
            self._look(user, model.step(self.states[user], call)[0])

    # --- how it went -------------------------------------------------------------------------------------------------

    def _through(self, network: Network, store: FleetStore, at: int, user: str, call: Call) -> Reply:
        with network.between(store._backend):
            reply = self.loops[at].call(perform, store, user, call)
        self._met(network, call if reply == "UnconfirmedCommitError" else None)
        return reply

    def _met(self, network: Network, unconfirmed: Call | None) -> None:
        self.held += [_Held(arguments, unconfirmed) for arguments in network.held]
        self.counted["troubles"] += network.met.total()

    def _went(self, user: str, replied: Iterable[tuple[Call, Reply]]) -> None:
        """Fail unless these calls replied so one after another, and have left what the model has."""
        state = self.states[user]
        for call, reply in replied:
            state, expected = model.step(state, call)
            assert reply == expected, f"{call} of {user} replied {reply}, not {expected}"
        self._look(user, state)

    def _see(self, user: str) -> None:
        """Load in both stores if others wrote: the outcome of a lost put cannot be told after a foreign write."""
        if user in self.unseen:
            self.unseen.discard(user)
            for at in (0, 1):
                self._call(at, user, model.Load())

    def _put(self, user: str, text: bytes, *, by_renaming: bool) -> None:
        self.unseen.add(user)
        if by_renaming and self.texts[user] is not None:
            self.storage.remove(user)
        self.storage.write(text, user)
        self.texts[user] = text
