"""What the writers of the power cuts were told, and what must therefore be on the disk."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator

from petfleet import PetFleet, PetHandle, loads
from tests.torture.cut_script import Step, second


class LostError(AssertionError):
    """A stored fleet is none of those that may be stored."""


class Standing:
    """How far one task has come: what was acknowledged, and the one call that may be in flight."""

    def __init__(self, task: str, shared: tuple[str, ...], own: list[str], steps: Iterator[Step]) -> None:
        self._task = task
        self._shared = shared
        self._steps = steps
        self._seen: Counter[str] = Counter()  # the number of the last change to a shared fleet that anyone was told of
        self._in_flight: Step | None = next(steps)
        self.fleets: dict[str, PetFleet | None] = dict.fromkeys((*shared, *own))

    def copy(self) -> Standing:
        """Return a copy; what happens to the task from now on does not change it."""
        copied = copy.copy(self)
        copied.fleets = self.fleets.copy()
        copied._seen = self._seen.copy()
        return copied

    def acknowledge(self, user: str, *returned: PetFleet | None) -> None:
        """Note that the call in flight has returned one of these."""
        step = self._in_flight
        assert step is not None
        assert step.user == user, f"{self._task}: {user} instead of {step.user}"
        if not self._matching(user, [step.after], *returned):
            raise LostError(f"{self._task}: {user} was returned as {returned}\n  instead of {step.after}")
        self.fleets[user] = step.after
        self._in_flight = next(self._steps)

    def see(self, user: str, fleet: PetFleet) -> None:
        """Note that anyone's call has returned a shared fleet."""
        pet = fleet.get(self._task)
        if pet is not None and user in self._shared:
            self._seen[user] = max(self._seen[user], pet.last_active)

    def settle(self, user: str, *returned: PetFleet | None) -> None:
        """Note that a load has returned a fleet after the task's process died: the call in flight is decided."""
        self.check(user, *returned)
        matching = self._matching(user, self._allowed(user), *returned)
        if self._in_flight is not None and self._in_flight.user == user and len(matching) == 1:
            self.fleets[user] = matching[0]
            self._in_flight = None

    def check(self, user: str, *found: PetFleet | None) -> None:
        """Raise LostError unless one of these is, as far as it is the task's, that before or after the call in flight.

        After it only, if anyone was told of that.
        """
        allowed = self._allowed(user)
        if not self._matching(user, allowed, *found):
            raise LostError(
                f"{self._task}: {user} is {found}\n  and should be {' or '.join(map(str, allowed))},"
                f"\n  seen up to {self._seen[user]}, in flight {self._in_flight}"
            )

    def part(self, user: str, fleet: PetFleet | None) -> PetFleet | tuple[PetHandle, ...] | None:
        """Return the part of a fleet that is the task's: in a shared fleet, its own pets."""
        if user not in self._shared:
            return fleet
        own = (self._task, second(self._task))
        return () if fleet is None else tuple(pet for pet in fleet.pets if pet.pet_name in own)

    def _allowed(self, user: str) -> list[PetFleet | None]:
        allowed = [self.fleets[user]]
        if self._in_flight is not None and self._in_flight.user == user:
            allowed.append(self._in_flight.after)
        return [fleet for fleet in allowed if not self._seen[user] or self._number(fleet) >= self._seen[user]]

    def _number(self, fleet: PetFleet | None) -> int:
        pet = None if fleet is None else fleet.get(self._task)
        return 0 if pet is None else pet.last_active

    def _matching(self, user: str, allowed: list[PetFleet | None], *found: PetFleet | None) -> list[PetFleet | None]:
        parts = [self.part(user, fleet) for fleet in found]
        return [fleet for fleet in allowed if self.part(user, fleet) in parts]


class Ledger:
    """The standings of all tasks that ever worked on one file system."""

    def __init__(self) -> None:
        self.standings: dict[str, Standing] = {}
        self.acknowledged = 0

    def copy(self) -> Ledger:
        """Return the ledger as it stands; what is acknowledged from now on does not change it."""
        copied = Ledger()
        copied.standings = {task: standing.copy() for task, standing in self.standings.items()}
        copied.acknowledged = self.acknowledged
        return copied

    def users(self) -> list[str]:
        """Return all users that any task may have changed."""
        return sorted({user for standing in self.standings.values() for user in standing.fleets})

    def enter(self, line: bytes) -> None:
        """Enter what a process has reported: a task's call that returned, or (no task) a load after all have died."""
        task, user, text = json.loads(line)
        fleet = None if text is None else loads(text, user_id=user)
        # For an empty fleet that a load returns, there may be no file.
        returned = [fleet] if fleet is None or fleet.pets else [fleet, None]
        if task is None:
            for standing in self._concerned(user):
                standing.settle(user, *returned)
        else:
            self.standings[task].acknowledge(user, *returned)
            self.acknowledged += 1
            if fleet is not None:
                for standing in self._concerned(user):
                    standing.see(user, fleet)

    def check(self, user: str, fleet: PetFleet | None) -> None:
        """Raise LostError unless a user's fleet is one of those that may be stored."""
        concerned = self._concerned(user)
        for standing in concerned:
            standing.check(user, fleet)
        if len(concerned) > 1 and fleet is not None:
            known = {pet for standing in concerned for pet in _pets(standing.part(user, fleet))}
            if known != set(fleet.pets) or len(known) != len(fleet.pets) or fleet.get(fleet.active_pet or "") is None:
                raise LostError(f"nobody made {user} what it is: {fleet}")

    def _concerned(self, user: str) -> list[Standing]:
        return [standing for standing in self.standings.values() if user in standing.fleets]


def _pets(part: PetFleet | tuple[PetHandle, ...] | None) -> tuple[PetHandle, ...]:
    assert isinstance(part, tuple)
    return part
