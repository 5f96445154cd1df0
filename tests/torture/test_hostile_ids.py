"""No user id leads out of its own directory, and no two pairs of user and pet share a key."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from petfleet._model import names
from tests.torture import hostile_ids, hostile_watch, means
from tests.torture.hostile import PART


def test_what_strace_saw(tmp_path: Path) -> None:
    """The system was asked for no path but the user's own, the root, and what is above it."""
    means.need("linux", "strace")
    root = tmp_path / "alone" / "root"
    counted = hostile_watch.watched(root, 0, 40, trace=tmp_path / "trace")
    seen, stray = hostile_watch.traced(tmp_path / "trace", str(root))
    assert seen >= counted["valid user ids"]
    assert not stray


# --- the harness can fail --------------------------------------------------------------------------------------------

MISPLACED = """
from petfleet._backends.files import paths
place = paths.UserPaths.__init__
def misplace(self, root, user_id):
    place(self, root, user_id)
    self.lock = f"{root}/{abs(hash(user_id))}.lock"
paths.UserPaths.__init__ = misplace
"""
UNRULY = """
from petfleet._model import names
names._broken_rule = lambda user_id: None
from tests.torture import hostile_watch
hostile_watch.is_valid = hostile_watch.is_taken = lambda user_id: "/" not in user_id[:-1]
"""


@pytest.mark.parametrize("sabotage", [MISPLACED, UNRULY], ids=["a lock file in the root", "no rules"])
def test_a_path_outside_is_told(tmp_path: Path, sabotage: str) -> None:
    """The watch sees a store that leaves the user's directory."""
    means.need(*PART.means)
    with pytest.raises(AssertionError, match=r"AssertionError: .* touched \[\('"):
        hostile_watch.watched(tmp_path / "alone" / "root", 0, 60, sabotage=sabotage)


def test_a_path_outside_is_told_by_strace(tmp_path: Path) -> None:
    """The trace shows it too, whatever the watch in the process thinks of it."""
    means.need("linux", "strace")
    root = tmp_path / "alone" / "root"
    blind = "from tests.torture import hostile_watch; hostile_watch.strays = lambda *_: []"
    hostile_watch.watched(root, 0, 10, trace=tmp_path / "trace", sabotage=f"{MISPLACED}\n{blind}")
    _, stray = hostile_watch.traced(tmp_path / "trace", str(root))
    assert {call for call, path in stray if path.endswith(".lock")} >= {"openat"}


def broken_rule_but_for(*allowed: str) -> object:
    """Return the rules without those about some texts."""
    rule = names._broken_rule
    return lambda user_id: None if any(text in user_id for text in allowed) else rule(user_id)


def test_a_missing_rule_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that is taken against the rules, or refused without one, fails the check."""
    monkeypatch.setattr(names, "_broken_rule", broken_rule_but_for("/"))
    with pytest.raises(AssertionError, match="becomes"):
        hostile_ids.is_taken("../ada")
    monkeypatch.setattr(names, "_broken_rule", lambda user_id: "no")
    with pytest.raises(AssertionError, match="becomes"):
        hostile_ids.is_taken("\uff0e\uff0e\uff0fada")


@pytest.mark.parametrize("kind", ["shared::{}", "pet::{}:{}"])
def test_a_shared_key_is_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that do not tell the pair, or the kind, are found among a few thousand pairs."""
    monkeypatch.setattr(hostile_ids, "per_pet_memory_key", kind.format)
    with pytest.raises(AssertionError, match=r"is the key of \("):
        hostile_ids.check_keys(random.Random(0), 3000)
    monkeypatch.undo()
    assert hostile_ids.check_keys(random.Random(0), 3000) > 0


def test_ids_that_end_in_a_colon_would_share_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules about colons are what keeps the keys apart."""
    monkeypatch.setattr(names, "_broken_rule", broken_rule_but_for(":"))
    monkeypatch.setattr(hostile_ids, "is_valid", lambda user_id: names._broken_rule(user_id) is None)
    with pytest.raises(AssertionError, match=r"is the key of \("):
        hostile_ids.check_keys(random.Random(0), 3000)
