"""Decides whether a recorded history is linearizable: Wing and Gong's search with Lowe's memory.

A history is linearizable if each operation can be given one moment between its invocation and its reply, such that one
after another in the order of these moments they would have replied the same. An operation without a reply may have such
a moment at any time after its invocation, or none.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)
C = TypeVar("C", bound=Hashable)
R = TypeVar("R")
C_contra = TypeVar("C_contra", contravariant=True)

MAX_STEPS: Final = 20_000
_SHOWN: Final = 12  # operations in a message


class NotLinearizableError(AssertionError):
    """No order of the operations explains their replies."""


class GaveUpError(AssertionError):
    """The search took too many steps to decide."""


class Specification(Protocol[S, C_contra, R]):
    """What operations mean that come one after another. States and calls can be hashed; asking changes nothing."""

    def step(self, state: S, call: C_contra, /) -> tuple[S, R]:
        """Return the next state and the reply."""

    def never_changes(self, call: C_contra, reply: R, /) -> bool:
        """Return whether a call that replies so leaves every state as it is."""

    def carried(self, call: C_contra, /) -> Collection[Hashable]:
        """Return the marks that the call may bring into a state; nothing else may."""

    def held(self, state: S, /) -> Collection[Hashable]:
        """Return the marks that are in a state."""

    def shown(self, reply: R, /) -> Collection[Hashable]:
        """Return marks that were in the state right after the call that replies so."""

    def distance(self, reply: R, expected: R, /) -> int:
        """Return how far one reply is from another, 0 if they are equal: what is to be guessed is guessed by it."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[C, R]):
    """One call, with times of one clock; ``returned`` is None if its outcome is unknown."""

    call: C
    invoked: int
    returned: tuple[int, R] | None = None


def check(
    operations: Sequence[Operation[C, R]],
    specification: Specification[S, C, R],
    initial: S,
    *,
    most_steps: int = MAX_STEPS,
) -> None:
    """Find an order that explains a history.

    Raises:
        NotLinearizableError: there is none.
        GaveUpError: none was found in so many steps.
    """
    for guesses in _Guesses:
        search = _Search(operations, specification, initial, guesses)
        if search.finds(most_steps):
            return
        most_steps -= search.steps
    raise NotLinearizableError(search.told())


class _Guesses(enum.Enum):
    """Which calls of unknown outcome are taken to have happened, of those that would have changed something."""

    SEEN = enum.auto()  # those that bring a reply nearer to the one seen, and do not bring only what no reply shows
    NEARER = enum.auto()
    ALL = enum.auto()


@dataclass(slots=True)
class _Node(Generic[S]):
    """A point of the search: which operations (as bits) came in some order, and the state that it led to."""

    done: int
    state: S
    before: tuple[_Node[S], int] | None  # the point before, and the operation that led here
    first: int = 0  # of the operations by invocation, none before this is left
    due: int = 0  # of the operations by return, none before this is left
    choices: Iterator[tuple[int, S]] = field(default_factory=lambda: iter(()))


class _Search(Generic[S, C, R]):
    """One depth-first search. What was reached before, by whatever order, is not tried again."""

    def __init__(
        self,
        operations: Sequence[Operation[C, R]],
        specification: Specification[S, C, R],
        initial: S,
        guesses: _Guesses,
    ) -> None:
        self.steps = 0
        self._operations = operations
        self._known_steps: dict[tuple[S, int], tuple[S, R]] = {}
        self._specification = specification
        self._guesses = guesses
        known = {n: one.returned for n, one in enumerate(operations) if one.returned is not None}
        self._returned = {n: returned[0] for n, returned in known.items()}
        self._replies = {n: returned[1] for n, returned in known.items()}
        self._by_invocation = sorted(known, key=lambda n: operations[n].invoked)
        self._by_return = sorted(known, key=self._returned.__getitem__)
        self._unknown = sorted(set(range(len(operations))) - set(known), key=lambda n: operations[n].invoked)
        self._any_known = sum(1 << n for n in known)
        self._furthest = _Node(0, initial, None)
        self._carriers: defaultdict[Hashable, int] = defaultdict(int)
        for n, one in enumerate(operations):
            if one.returned is None or not specification.never_changes(one.call, one.returned[1]):
                for mark in specification.carried(one.call):
                    self._carriers[mark] |= 1 << n
        self._witnesses: defaultdict[Hashable, int] = defaultdict(int)
        for n, reply in self._replies.items():
            for mark in specification.shown(reply):
                self._witnesses[mark] |= 1 << n

    def finds(self, most_steps: int) -> bool:
        """Return whether some order explains all replies."""
        path = [self._enter(self._furthest)]
        tried: defaultdict[tuple[int, S], list[int]] = defaultdict(list)
        while path:
            node = path[-1]
            if node.due == len(self._by_return):
                return True
            for n, state in node.choices:
                done = node.done | 1 << n
                # It was in vain with less guessed, so it is with more.
                before = tried[done & self._any_known, state]
                if not any(one & ~done == 0 for one in before) and not self._is_lost(node, n, done, state):
                    before.append(done & ~self._any_known)
                    path.append(self._enter(_Node(done, state, (node, n), node.first, node.due)))
                    break
            else:
                path.pop()
            if self.steps > most_steps:
                raise GaveUpError(f"Given up, not everything was tried. {self.told()}")
        return False

    def _is_lost(self, node: _Node[S], n: int, done: int, state: S) -> bool:
        """Return whether a reply still to come shows what has just gone and cannot come back."""
        there = {*self._specification.held(node.state), *self._specification.carried(self._operations[n].call)}
        gone = there.difference(self._specification.held(state))
        return any(self._witnesses[mark] & ~done and not self._carriers[mark] & ~done for mark in gone)

    def _enter(self, node: _Node[S]) -> _Node[S]:
        self.steps += 1
        while node.first < len(self._by_invocation) and node.done >> self._by_invocation[node.first] & 1:
            node.first += 1
        while node.due < len(self._by_return) and node.done >> self._by_return[node.due] & 1:
            node.due += 1
        if node.due < len(self._by_return):
            node.choices = self._choices(node)
        if node.done.bit_count() > self._furthest.done.bit_count():
            self._furthest = node
        return node

    def _stepped(self, state: S, n: int) -> tuple[S, R]:
        found = self._known_steps.get((state, n))
        if found is None:
            found = self._known_steps[state, n] = self._specification.step(state, self._operations[n].call)
        return found

    def _candidates(self, node: _Node[S]) -> list[int]:
        """Return the operations with a reply that may come next: all others were invoked after one of them returned."""
        until = self._returned[self._by_return[node.due]]
        found = []
        for n in self._by_invocation[node.first :]:
            if self._operations[n].invoked > until:
                break
            if not node.done >> n & 1:
                found.append(n)
        return found

    def _choices(self, node: _Node[S]) -> Iterator[tuple[int, S]]:
        candidates = self._candidates(node)
        fitting = []
        for n in candidates:
            call = self._operations[n].call
            state, reply = self._stepped(node.state, n)
            if reply == self._replies[n]:
                if self._specification.never_changes(call, reply):
                    yield n, state
                    return  # it would gain nothing by coming later
                fitting.append((self._returned[n], n, state))
        for _, n, state in sorted(fitting, key=lambda choice: choice[:2]):
            yield n, state
        yield from self._guessed(node, candidates)

    def _guessed(self, node: _Node[S], candidates: list[int]) -> Iterator[tuple[int, S]]:
        """Yield the operations without a reply that may have come now and changed something, the likeliest first."""
        distances = {n: self._distance(node.state, n) for n in candidates}
        found = []
        for n in self._open(node):
            state, _ = self._stepped(node.state, n)
            if state == node.state:
                continue
            nearer, left = max((far - (now := self._distance(state, n)), -now) for n, far in distances.items())
            if nearer > 0 or self._guesses is _Guesses.ALL:
                found.append((-left, -nearer, n, state))
        for *_, n, state in sorted(found, key=lambda guess: guess[:3]):
            yield n, state

    def _open(self, node: _Node[S]) -> Iterator[int]:
        """Yield the operations without a reply that may come next; of equal ones, the first that is left will do."""
        until = self._returned[self._by_return[node.due]]
        calls = set()
        for n in self._left(node):
            one = self._operations[n]
            if one.invoked > until:
                return
            if one.call in calls:
                continue
            calls.add(one.call)
            marks = self._specification.carried(one.call)
            if self._guesses is not _Guesses.SEEN or not marks or any(self._witnesses[m] & ~node.done for m in marks):
                yield n

    def _distance(self, state: S, n: int) -> int:
        return self._specification.distance(self._stepped(state, n)[1], self._replies[n])

    def told(self) -> str:
        """Return how far it came."""
        node = self._furthest
        last: list[str] = []
        before = node.before
        while before is not None and len(last) < _SHOWN:
            node_before, n = before
            last.insert(0, self._shown(n))
            before = node_before.before
        done = node.done.bit_count()
        lines = [f"{done} of {len(self._operations)} operations have an order. The last of them:", *last]
        lines += ["They lead to", f"  {node.state}", "and none of these can come next:"]
        for n in self._candidates(node):
            _, reply = self._stepped(node.state, n)
            lines += [self._shown(n), f"    would reply {reply}"]
        return "\n".join([*lines, "Unknown outcomes that no reply shows:", *map(self._shown, self._left(node))])

    def _left(self, node: _Node[S]) -> list[int]:
        return [n for n in self._unknown if not node.done >> n & 1]

    def _shown(self, n: int) -> str:
        one = self._operations[n]
        until, reply = one.returned or ("", "unknown")
        return f"  #{n} {one.invoked}..{until} {one.call} -> {reply}"
