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
from tests.torture.cut_crew import Crew
from tests.torture.cut_ledger import Ledger, LostError
from tests.torture.images import FILE_SYSTEMS, cut, make, mounted
from tests.torture.parts import Part

CUTS: Final = 6  # as many as lose something when a protection is left out
PROJECT: Final = Path(__file__).parents[2]
_LOST: Final = 3  # the exit code
# A plan is carried out by the first process of name spaces of its own, which end with it, mounts, loop devices and
# writers included: whoever is killed, and however, nothing is left behind.
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
        plan = Plan(system, rng.getrandbits(32), without=without)
        try:
            carry_out(plan, lame)
        except LostError:
            counted[f"losses noticed without {without}"] += 1
        else:
            raise AssertionError(f"{plan} lost nothing")
    return counted


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
        with mounted(self._system, image, self._at), self._crew(ledger) as crew:
            for number in range(self._plan.cuts):
                self._reach(crew, number)
                copies.append(self._cut(crew, image, f"copy-{number}"))
                crew.go_on()
        self.counted["acknowledged calls"] = ledger.acknowledged
        for number, (path, then) in enumerate(copies):
            self._check(path, then, cut_again=self._plan.without is None and number % 3 == 1)

    def _reach(self, crew: Crew, number: int) -> None:
        """Let the crew come to where the power is cut."""
        whole = self._plan.without is None
        if self._plan.without == "recovery" or (whole and number % 3 == 2):
            crew.die_in_mid_commit(alone=not whole or self._rng.random() < 0.5)
            self._recover(crew, from_kill=True)
        else:
            crew.work(busy=whole and number % 3 == 1)

    def _check(self, image: Path, ledger: Ledger, *, cut_again: bool) -> None:
        """Check a copy, and perhaps a copy of it that is made in the middle of its recovery."""
        with mounted(self._system, image, self._at, is_copy=True):
            root = self._at / "fleets"
            check_as_found(root, ledger)
            if cut_again:
                with self._crew(ledger) as crew:
                    self._recover(crew, from_kill=False)
                    again = self._cut(crew, image, "copy-of-copy")
            check_next_calls(root, ledger, self._rng)
        image.unlink()
        self.counted["cuts"] += 1
        if cut_again:
            self._check(*again, cut_again=False)

    def _recover(self, crew: Crew, *, from_kill: bool) -> None:
        when = "into" if crew.recover(from_kill=from_kill) else "after"
        self.counted[f"cuts {when} the recovery from a {'kill' if from_kill else 'cut'}"] += 1

    def _crew(self, ledger: Ledger) -> Crew:
        return Crew(self._at / "fleets", ledger, self._rng, self._plan.without)

    def _cut(self, crew: Crew, image: Path, name: str) -> tuple[Path, Ledger]:
        crew.stand_still()
        cut(image, self._directory / name)
        crew.listen()
        return self._directory / name, crew.ledger.copy()


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
