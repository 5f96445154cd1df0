"""Random walks through the whole public API, with two stores and other programs, compared with a plain model."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Final

import hypothesis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings, stateful
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from petfleet import FleetStore, PetFleet, dumps, loads
from tests.support.backends import Storage
from tests.torture import linear, model
from tests.torture.layouts import LAYOUTS
from tests.torture.linear import Operation
from tests.torture.model import Broken, Call, Fleet, Pet, Reply, State
from tests.torture.performing import built, perform, shown
from tests.torture.specification import SPECIFICATION
from tests.torture.strategies import CALLS, CHANGES, FLEETS, NAMES, PETS

USERS: Final = ("u", "ü ser")
_BROKEN: Final = {  # what stands in a fleet's place, and whether `overwrite` may replace it
    "": True,
    "pets = []": True,
    "user_id = {user!r}\npets = [{{}}]": True,
    "user_id = 'someone-else'\n[[pets]": False,
    "user_id = 'someone-else'\npets = []": False,
}

ANY_USER: Final = st.sampled_from(USERS)
ANY_STORE: Final = st.sampled_from([0, 1])
SEVERAL_CALLS: Final = st.lists(  # by which store, and whether it is cancelled
    st.tuples(ANY_STORE, CALLS, st.booleans() | st.just(False)), min_size=2, max_size=5
)


def rule(**strategies: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare a step of a walk. If it fails, its error shows the steps of this very walk.

    Hypothesis shows the steps of a second run only, and threads may go another way in that.
    """

    def declare(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def step(machine: Machine, *direct: Any, **drawn: Any) -> None:
            if direct:  # one step uses another
                function(machine, *direct)
                return
            machine.steps.append(f"{function.__name__}({', '.join(f'{name}={drawn[name]!r}' for name in drawn)})")
            try:
                function(machine, **drawn)
            except Exception as error:
                error.add_note("\n".join(["the steps of this walk:", *machine.steps]))
                raise

        rule_of: Callable[..., Any] = stateful.rule
        declared: Callable[..., None] = rule_of(**strategies)(step)
        return declared

    return declare


class _Running:
    """A call that another thread's event loop performs meanwhile."""

    def __init__(self, loop: BlockingPortal, store: FleetStore, user: str, call: Call) -> None:
        self.reply: Reply | None = None
        self._call = call
        self._invoked = time.monotonic_ns()
        self._returned = 0
        self._ended = threading.Event()
        self._future = loop.start_task_soon(self._perform, store, user)

    async def _perform(self, store: FleetStore, user: str) -> None:
        try:
            self.reply = await perform(store, user, self._call)
            self._returned = time.monotonic_ns()
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Cancel it, if it is not over."""
        self._future.cancel()

    def operation(self) -> Operation[Call, Reply]:
        """Wait for its end, and return its outcome; that of a cancelled one is unknown."""
        assert self._ended.wait(30), f"{self._call} has not come to an end"
        return Operation(self._call, self._invoked, None if self.reply is None else (self._returned, self.reply))


class Machine(RuleBasedStateMachine):
    """Two stores over one storage, one called from asyncio, one from trio, and what must be there by the model."""

    def __init__(self, loops: list[BlockingPortal], storage: Storage, counted: Counter[str]) -> None:
        super().__init__()
        self.loops = loops
        self.storage = storage
        self.counted = counted
        self.steps: list[str] = []
        self.stores = [storage.store(), storage.store()]
        self.made = [0, 0]  # calls of each store that its statistics count
        self.states: dict[str, State] = dict.fromkeys(USERS)
        self.texts: dict[str, bytes | None] = dict.fromkeys(USERS)

    def teardown(self) -> None:
        """Leave no thread behind."""
        for loop, store in zip(self.loops, self.stores, strict=True):
            loop.call(store.aclose)

    # --- calls -------------------------------------------------------------------------------------------------------

    @rule(at=ANY_STORE, user=ANY_USER, call=CALLS)
    def call(self, at: int, user: str, call: Call) -> None:
        """A call replies as the model does, and stores what the model has."""
        self._call(at, user, call)

    @rule(user=ANY_USER, changes=st.lists(st.tuples(ANY_STORE, CHANGES), min_size=3, max_size=8))
    def change(self, user: str, changes: list[tuple[int, Call]]) -> None:
        """Many changes one after another, in either store, do too."""
        for at, call in changes:
            self._call(at, user, call)

    @rule(at=ANY_STORE, user=ANY_USER, fleet=FLEETS, overwrite=st.booleans())
    def replace(self, at: int, user: str, fleet: Fleet, overwrite: bool) -> None:
        """A fleet is replaced by a caller that has seen the stored one, or that overwrites any."""
        seen = self.states[user]
        replacing = model.Replace(fleet, seen if isinstance(seen, Fleet) else Fleet())
        self._call(at, user, model.Overwrite(fleet) if overwrite else replacing)

    @rule(at=ANY_STORE, user=ANY_USER, name=st.none() | NAMES)
    def touch_now(self, at: int, user: str, name: str | None) -> None:
        """A touch without a time takes the present one."""
        since = int(time.time())

        async def touch() -> Reply:
            try:
                return shown(await self.stores[at].touch(user, name))
            except Exception as error:  # noqa: BLE001 - which one it is, is what is looked at
                return type(error).__name__

        reply = self.loops[at].call(touch)
        self._count(at, model.Load())
        for seconds in range(since, int(time.time()) + 1):
            state, expected = model.step(self.states[user], model.Touch(name, seconds))
            if reply == expected:
                break
        assert reply == expected, f"touch of {name} of {user} replied {reply}, not {expected}"
        self._look(user, state)

    @rule(user=ANY_USER, calls=SEVERAL_CALLS)
    def gather(self, user: str, calls: list[tuple[int, Call, bool]]) -> None:
        """Calls made at the same time, some of them cancelled, have an order that explains them."""
        self._gather(user, calls)

    @rule(at=ANY_STORE, user=st.sampled_from(["", "..", "a/b", "a::b", "a:", "a\n"]), call=CALLS, pet=PETS)
    def refuse(self, at: int, user: str, call: Call, pet: Pet) -> None:
        """Every call refuses a forbidden user id, a pet without a name, and saving in two ways at once."""
        for user_id, refused in [(user, call), (USERS[0], model.Add(pet._replace(name="")))]:
            assert self.loops[at].call(perform, self.stores[at], user_id, refused) == "InvalidNameError"
        fleet = PetFleet(USERS[0])
        save: Any = partial(self.stores[at].save, fleet, replacing=fleet, overwrite=True)

        async def is_refused() -> bool:
            try:
                await save()
            except TypeError:
                return True
            return False

        assert self.loops[at].call(is_refused)

    # --- the store itself --------------------------------------------------------------------------------------------

    @rule(at=ANY_STORE)
    def survey(self, at: int) -> None:
        """The users are those with a fleet file, whatever it holds, and each call that took a lock counts once."""

        async def users() -> list[str]:
            return [user_id async for user_id in self.stores[at].users()]

        assert sorted(self.loops[at].call(users)) == sorted(user for user in USERS if self.states[user] is not None)
        statistics = self.stores[at].statistics()
        assert statistics.changes == self.made[at]
        assert statistics.commits <= statistics.changes
        assert (statistics.largest_batch > 0) == (statistics.commits > 0)

    @rule(at=ANY_STORE, twice=st.booleans())
    def close(self, at: int, twice: bool) -> None:
        """A closed store goes on as before."""
        for _ in range(1 + twice):
            self.loops[at].call(self.stores[at].aclose)

    @rule(at=ANY_STORE)
    def begin_anew(self, at: int) -> None:
        """A new store, which remembers nothing, replaces an old one."""
        self.close(at, False)
        self.stores[at] = self.storage.store()
        self.made[at] = 0

    # --- other programs ----------------------------------------------------------------------------------------------

    @rule(user=ANY_USER, fleet=FLEETS, layout=st.sampled_from(list(LAYOUTS)), by_renaming=st.booleans())
    def edit(self, user: str, fleet: Fleet, layout: str, by_renaming: bool) -> None:
        """An editor writes a fleet in a layout of its own: it renames, or saves in place."""
        self._put(user, LAYOUTS[layout](user, fleet).encode(), by_renaming=by_renaming)
        self.states[user] = fleet

    @rule(user=ANY_USER, what=st.sampled_from(list(_BROKEN)), by_renaming=st.booleans())
    def corrupt(self, user: str, what: str, by_renaming: bool) -> None:
        """Something that is no fleet replaces a fleet."""
        self._put(user, what.format(user=user).encode(), by_renaming=by_renaming)
        self.states[user] = Broken(overwritable=_BROKEN[what])

    @rule(user=ANY_USER)
    def lose(self, user: str) -> None:
        """Someone removes a fleet."""
        if self.states[user] is not None:
            self.storage.remove(user)
        self.states[user] = self.texts[user] = None

    # --- what is there -----------------------------------------------------------------------------------------------

    def _call(self, at: int, user: str, call: Call) -> None:
        state, expected = model.step(self.states[user], call)
        reply = self.loops[at].call(perform, self.stores[at], user, call)
        assert reply == expected, f"{call} of {user} replied {reply}, not {expected}"
        self._count(at, call)
        self._look(user, state)

    def _gather(self, user: str, calls: list[tuple[int, Call, bool]]) -> None:
        running = [_Running(self.loops[at], self.stores[at], user, call) for at, call, _ in calls]
        for one, (_, _, cancelled) in zip(running, calls, strict=True):
            if cancelled:
                one.cancel()
        history = [one.operation() for one in running]
        for loop, store in zip(self.loops, self.stores, strict=True):  # behind what may still be under way in either
            last = _Running(loop, store, user, model.Load())
            history.append(last.operation())
        linear.check(history, SPECIFICATION, self.states[user])
        self.made = [store.statistics().changes for store in self.stores]
        self.counted["calls"] += len(history)
        self._adopt(user, last.reply)

    def _count(self, at: int, call: Call) -> None:
        self.counted["calls"] += 1
        if not isinstance(call, model.Peek):
            self.made[at] += 1

    def _look(self, user: str, state: State) -> None:
        """Take over the user's new state, and fail unless it is stored, to the byte."""
        if state != self.states[user]:
            assert not isinstance(state, Broken)
            self.texts[user] = None if state is None else dumps(built(user, state)).encode()
            self.states[user] = state
        text = self.storage.read(user)
        assert text == self.texts[user], f"stored of {user} is\n{text!r}, not\n{self.texts[user]!r}"
        if text is not None and isinstance(state, Fleet):
            fleet = loads(text, user_id=user)
            assert shown(fleet) == state
            assert loads(dumps(fleet)) == fleet

    def _adopt(self, user: str, loaded: Reply | None) -> None:
        """Take over what concurrent calls have left: the fleet that a load found, perhaps in a new layout."""
        before = self.texts[user]
        text = self.storage.read(user)
        if isinstance(loaded, Fleet):
            self.states[user] = None if text is None else loaded
            assert text in (before, None) or text == dumps(built(user, loaded)).encode()
        self.texts[user] = text

    def _put(self, user: str, text: bytes, *, by_renaming: bool) -> None:
        """Write what another program writes: in place, or by putting something new there."""
        raise NotImplementedError


Made = Callable[[list[BlockingPortal], Counter[str]], Machine]


def walk(made: Made, seed: int, walks: int, steps: int) -> Counter[str]:
    """Take random walks, and return what they counted.

    Raises:
        AssertionError: the first walk that went another way than the model, with its steps and the seed.
    """
    counted: Counter[str] = Counter()
    with start_blocking_portal("asyncio") as one, start_blocking_portal("trio") as other:

        @hypothesis.seed(seed)
        def machine() -> Machine:
            counted["walks"] += 1
            return made([one, other], counted)

        try:
            run_state_machine_as_test(
                machine,  # type: ignore[arg-type] # a factory will do, its documentation says
                settings=settings(
                    max_examples=walks,
                    stateful_step_count=steps,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    report_multiple_bugs=False,
                    phases=[Phase.generate],  # shrinking takes minutes, and threads may not run alike again
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except FlakyFailure as flaky:
            # The walk failed, but its repetition did not fail, or failed otherwise, since threads ran another way. The
            # first failure is a failure of the product all the same.
            failure = flaky.exceptions[0]
        except Exception as error:  # noqa: BLE001 - it is raised below, with the seed
            failure = error
        else:
            return counted
    failure.add_note(f"{walks} walks of {steps} steps, seed {seed}")
    raise failure


def take(made: Made, steps: Callable[[Any], None]) -> None:
    """Take the given steps with a machine, in place of random ones."""
    with start_blocking_portal("asyncio") as one, start_blocking_portal("trio") as other:
        machine = made([one, other], Counter())
        try:
            steps(machine)
        finally:
            machine.teardown()
