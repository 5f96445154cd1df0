"""Power cuts in a model of the disk: all is as promised after each, and not so if any sync is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.mutate import environment
from tests.torture import means, trace
from tests.torture.parts import first_rounds
from tests.torture.states import PART, Recording, Script, Seen, crashes, examine, record, workplace
from tests.torture.states_scripts import SCRIPTS
from tests.torture.syncs import Site, sites, without

SITES = sites()
TELLING = [
    "first creation",
    "deleting",
    "deletion, dying at 7, again",
    "old fleet, loaded",
]  # every sync is needed there


class Sound(NamedTuple):
    """What came of the sources as they are: all states that were seen and are as promised."""

    recordings: dict[str, Recording]
    seen: Seen


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Record all scripts, and examine all states that a crash may leave in them."""
    means.need(*PART.means)
    directory = tmp_path_factory.mktemp("sound")
    found = Sound({}, set())
    with workplace(directory) as place:
        for recording in record([Script(name, steps) for name, steps in SCRIPTS.items()], directory / "disks"):
            found.recordings[recording.script.name] = recording
            examine(crashes(recording, found.seen), place)
    return found


def test_every_state_is_as_promised(sound: Sound) -> None:
    """Creation, changes, deletion, batches, an old program's fleets and dead writers: any crash leaves what it may."""
    assert sound.recordings.keys() == SCRIPTS.keys()
    assert sound.seen


def test_calls_that_wait_together_are_recorded_as_one_batch(sound: Sound) -> None:
    """Three changes have one rename, and so have a deletion and a creation."""
    for name, renames in {"batch": 2, "batch that deletes": 1, "batch that creates again": 2}.items():
        done = [type(operation) for _, operation in sound.recordings[name].trace]
        assert done.count(trace.Rename) == renames, name


def test_a_writer_is_recorded_to_die_before_each_of_its_steps(sound: Sound) -> None:
    """The last one that is to die in a change, or a deletion, lives to its end."""
    for what, last in {"change": 7, "deletion": 8}.items():
        for at in range(1, last + 1):
            said = [
                operation.text
                for _, operation in sound.recordings[f"{what}, dying at {at}"].trace
                if isinstance(operation, trace.Label)
            ]
            assert any('"died"' in text for text in said) is (at < last)


def test_random_calls_and_their_recoveries_are_as_promised(tmp_path: Path) -> None:
    """Also when a second crash falls into what is done after the first."""
    means.need(*PART.means)
    counted = first_rounds(PART, tmp_path)
    assert counted["crash states"] > 0


@pytest.mark.parametrize("site", SITES, ids=map(str, SITES))
def test_without_any_one_sync_a_state_is_not_as_promised(site: Site, sound: Sound, tmp_path: Path) -> None:
    """No sync is superfluous, and none could be lost unseen."""
    without(site, tmp_path / "src")
    scripts = [Script(name, SCRIPTS[name]) for name in TELLING]
    seen = sound.seen.copy()
    with workplace(tmp_path) as place, pytest.raises(AssertionError, match="may be left by a power cut"):
        for recording in record(scripts, tmp_path / "disks", environment(tmp_path / "src")):
            examine(crashes(recording, seen), place)


def test_the_syncs_are_found() -> None:
    """The call itself is among them, what leads to it, and what is handed to another function to call."""
    found = [str(site) for site in SITES]
    assert "_backends/files/disk.py: _sync: os.fsync(fd)" in found
    assert "_backends/files/backend.py: FileCommit._write: self._sync_above()" in found
    assert (
        "_backends/files/backend.py: FileCommit._leave_nothing: best_effort(disk.sync_directory, self._backend._root)"
        in found
    )
    assert len(set(found)) == len(found)
