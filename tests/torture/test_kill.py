"""Processes killed with SIGKILL lose nothing that they had acknowledged, and leave nothing that stops the next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from petfleet._backends.files import disk
from tests.support.mutate import IN_PLACE, mutate
from tests.torture import kill, means
from tests.torture.kill import PART
from tests.torture.parts import first_rounds


def test_what_killed_processes_acknowledged_is_there_and_the_next_writer_waits_for_nothing(tmp_path: Path) -> None:
    """Hundreds of kills: at random moments, after random reports, and at random calls of the operating system."""
    means.need(*PART.means)
    counted = first_rounds(PART, tmp_path)
    assert counted["kills"] == kill.GROUPS * len(kill.CHILDREN)


# A group of children showed the mutant that is hardest to see, the one without a marker, in 1 of 11, the others in
# 1 of 2 to 1 of 6. Even if it were 1 in 20, the odds that all 420 groups of these rounds miss one are below one in a
# billion.
MUTANT_ROUNDS = 6


@pytest.mark.parametrize(
    ("mutant", "verdict"),
    [
        # A survivor may be the first to read the torn file.
        pytest.param(IN_PLACE, "FleetFormatError|children ended with", id="written in place"),
        pytest.param(
            (
                "_commit/change.py",
                "        commit.write(before, after)\n",
                "        from petfleet._commit import user_queue\n\n"
                "        user_queue.mark_done(changes)\n"
                "        user_queue.wake_tasks(changes)\n"
                "        commit.write(before, after)\n",
            ),
            "is stored, and not one of|are in the shared fleet, and not one of|is counted|no order of",
            id="acknowledged before the commit",
        ),
        pytest.param(
            ("_backends/files/lock.py", 'self._mark(f"writing pid ', 'str(f"writing pid '),
            r"\.tmp.* are left of",
            id="no marker",
        ),
    ],
)
def test_children_without_a_protection_do_not_pass(
    mutant: tuple[str, str, str], verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They write in place, acknowledge too early, or leave no marker while they write."""
    means.need(*PART.means)
    mutate(tmp_path / "src", monkeypatch, mutant)
    with pytest.raises(AssertionError) as failed:
        first_rounds(PART, tmp_path, rounds=MUTANT_ROUNDS)
    assert re.search(verdict, repr(failed.value.__cause__))


def test_a_next_writer_that_does_not_sweep_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file of a writer that died is seen: after 2 of 5 groups, and a round has 70."""
    means.need(*PART.means)
    monkeypatch.setattr(disk, "sweep", lambda path: None)
    with pytest.raises(AssertionError) as failed:
        first_rounds(PART, tmp_path)
    assert re.search(r"\.tmp.* are left of", repr(failed.value.__cause__))
