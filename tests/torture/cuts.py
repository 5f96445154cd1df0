"""Power cuts on real file systems: what had not reached the block device is gone, what was acknowledged is there.

A file system lies in an image file. Processes work on it, and report each call that returned. At random moments they
are stopped, the image is copied while they stand still, and they go on. Later each copy is mounted and checked. Some
cuts fall into the recovery after processes were killed in mid-commit, and some into the recovery after a cut.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.torture.cut_checks import check_as_found, check_next_calls
from tests.torture.cut_child import PROTECTIONS
from tests.torture.cut_ledger import Ledger, LostError
from tests.torture.cut_writers import Writers
from tests.torture.images import FILE_SYSTEMS, cut, make, mounted
from tests.torture.parts import Part

CUTS: Final = 6
# Of the cuts without the recovery, which are the hardest to notice, 2 in 3 lost something; without an fsync, all did.
# Even if it were 1 in 2, the odds that 12 plans of 3 cuts all lose nothing are below one in a billion.
LAME_PLANS: Final = 12
_LAME_CUTS: Final = 3
PROJECT: Final = Path(__file__).parents[2]
_LOST: Final = 3  # the exit code
# The first process of new name spaces carries out a plan. Mounts, loop devices and writers end with the name spaces, so
# nothing is left behind, whichever process is killed.
_SEALED: Final = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried on one file system.

    Attributes:
        system: its name.
        seed: of all decisions.
        cuts: how many; in turn while one writer pauses, while several work (and again while what this cut left is
            recovered from), and into the recovery from a kill.
        without: which protection is left out, one of :data:`.PROTECTIONS`; all cuts then try that one.
    """

    system: str
    seed: int
    cuts: int = CUTS
    without: str | None = None


def command(plan: Plan, directory: Path) -> list[str]:
    """Return the command that carries out a plan in an empty directory, to be run in the project's directory."""
    return [*_SEALED, sys.executable, "-m", __name__, json.dumps(asdict(plan)), str(directory)]


def carry_out(plan: Plan, directory: Path) -> Counter[str]:
    """Carry out a plan in an empty directory; LostError if a promise was broken."""
    done = subprocess.run(command(plan, directory), cwd=PROJECT, capture_output=True, text=True)
    if done.returncode == _LOST:
        raise LostError(f"{plan}\n{done.stderr}")
    assert done.returncode == 0, f"{plan} ended with {done.returncode}\n{done.stderr}"
    return Counter(json.loads(done.stdout))


def _round(rng: random.Random, directory: Path) -> Counter[str]:
    """Cut the power of one file system; then again without each protection, to see that this would be noticed."""
    system = rng.choice(FILE_SYSTEMS).name
    whole = directory / "whole"
    whole.mkdir()
    counted = carry_out(Plan(system, rng.getrandbits(32)), whole)
    for without in PROTECTIONS:
        lame = directory / without
        lame.mkdir()
        see_a_loss(system, without, rng, lame)
        counted[f"losses noticed without {without}"] += 1
    return counted


def see_a_loss(system: str, without: str, rng: random.Random, directory: Path) -> None:
    """Cut the power of a file system without a protection until something is lost; AssertionError if nothing is."""
    for number in range(LAME_PLANS):
        place = directory / str(number)
        place.mkdir()
        try:
            carry_out(Plan(system, rng.getrandbits(32), cuts=_LAME_CUTS, without=without), place)
        except LostError:
            return
    raise AssertionError(f"{LAME_PLANS} plans without the {without} lost nothing")


PART: Final = Part(
    "cuts",
    "copies of ext4, xfs and btrfs taken in the middle of writing, as a power cut leaves them",
    _round,
    ("linux", "loop", "ext4", "xfs", "btrfs"),
)


# --- in the name spaces of its own -----------------------------------------------------------------------------------


class _Cutting:
    """One plan being carried out."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._directory = directory
        self._system = next(system for system in FILE_SYSTEMS if system.name == plan.system)
        self._rng = random.Random(plan.seed)
        self._at = directory / "mounted"
        self.counted: Counter[str] = Counter()

    def run(self) -> None:
        """Cut the power, and then check all copies: some file systems cannot be mounted twice, as original and copy."""
        self._at.mkdir()
        image = self._directory / "image"
        make(self._system, image)
        copies = []
        ledger = Ledger()
        with mounted(self._system, image, self._at), self._writers(ledger) as writers:
            for number in range(self._plan.cuts):
                self._reach(writers, number)
                copies.append(self._cut(writers, image, f"copy-{number}"))
                writers.go_on()
        self.counted["acknowledged calls"] = ledger.acknowledged
        for number, (path, then) in enumerate(copies):
            self._check(path, then, cut_again=self._plan.without is None and number % 3 == 1)

    def _reach(self, writers: Writers, number: int) -> None:
        """Let the writers work until the moment of the cut."""
        whole = self._plan.without is None
        if self._plan.without == "recovery" or (whole and number % 3 == 2):
            writers.die_in_mid_commit(alone=not whole or self._rng.random() < 0.5)
            self._recover(writers, from_kill=True)
        else:
            writers.work(busy=whole and number % 3 == 1)

    def _check(self, image: Path, ledger: Ledger, *, cut_again: bool) -> None:
        """Check a copy, and perhaps a copy of it that is made in the middle of its recovery."""
        with mounted(self._system, image, self._at, is_copy=True):
            root = self._at / "fleets"
            check_as_found(root, ledger)
            if cut_again:
                with self._writers(ledger) as writers:
                    self._recover(writers, from_kill=False)
                    again = self._cut(writers, image, "copy-of-copy")
            check_next_calls(root, ledger, self._rng)
        image.unlink()
        self.counted["cuts"] += 1
        if cut_again:
            self._check(*again, cut_again=False)

    def _recover(self, writers: Writers, *, from_kill: bool) -> None:
        when = "into" if writers.recover(from_kill=from_kill) else "after"
        self.counted[f"cuts {when} the recovery from a {'kill' if from_kill else 'cut'}"] += 1

    def _writers(self, ledger: Ledger) -> Writers:
        return Writers(self._at / "fleets", ledger, self._rng, self._plan.without)

    def _cut(self, writers: Writers, image: Path, name: str) -> tuple[Path, Ledger]:
        writers.stand_still()
        cut(image, self._directory / name)
        writers.listen()
        return self._directory / name, writers.ledger.copy()


def _main() -> int:
    cutting = _Cutting(Plan(**json.loads(sys.argv[1])), Path(sys.argv[2]))
    try:
        cutting.run()
    except LostError as error:
        print(f"after {dict(cutting.counted)}: {error}", file=sys.stderr)
        return _LOST
    print(json.dumps(cutting.counted))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
