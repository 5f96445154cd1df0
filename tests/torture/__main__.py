"""Tortures petfleet for as long as it is given, with other decisions in every round.

    python -m tests.torture --minutes 30                      everything the machine has the means for
    python -m tests.torture --only kill,cuts --seed 7         some parts; the decisions of an earlier run
    python -m tests.torture --only kill --seed 7 --round 12   one round again

The seed decides what a round tries, not how the threads and processes of the machine run: a failure that depends on
those may need several tries. It ends with 1 at the first failure, and says how to repeat it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import secrets
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Final

from tests.torture import means, report
from tests.torture.all import PARTS
from tests.torture.parts import Part, generator

_ROUND_SECONDS: Final = 300  # a round that takes longer hangs
_SHOW_SECONDS: Final = 10


class _Torture:
    """One run: rounds of all parts in turn, the part that has had the least time first."""

    def __init__(self, parts: list[Part], seed: int, minutes: float, directory: Path | None) -> None:
        self.parts = parts
        self.seed = seed
        self.seconds = minutes * 60
        self.directory = directory
        self.counted = {part.name: Counter[str]() for part in parts}
        self.rounds = dict.fromkeys(self.counted, 0)
        self.took = dict.fromkeys(self.counted, 0.0)
        self.begun = time.monotonic()
        self._show_at = self.begun + _SHOW_SECONDS

    def run(self) -> bool:
        """Go on until the time is over; False if a round failed."""
        while time.monotonic() - self.begun < self.seconds:
            part = min(self.parts, key=lambda part: self.took[part.name])
            if not self.play(part, self.rounds[part.name]):
                return False
            if time.monotonic() > self._show_at:
                self._show_at = time.monotonic() + _SHOW_SECONDS
                self.show()
        return True

    def play(self, part: Part, number: int) -> bool:
        """Play one round; False, after saying what went wrong and how to repeat it, if it failed."""
        begun = time.monotonic()
        hanging = threading.Timer(_ROUND_SECONDS, self._give_up, [part, number])
        hanging.daemon = True
        hanging.start()
        try:
            with tempfile.TemporaryDirectory(prefix="petfleet-torture-", dir=self.directory) as directory:
                self.counted[part.name] += part.round(generator(self.seed, part.name, number), Path(directory))
        except Exception:  # noqa: BLE001 - whatever it is, the round has failed, and it is shown
            traceback.print_exc()
            self._blame(part, number, "failed")
            return False
        finally:
            hanging.cancel()
        self.rounds[part.name] += 1
        self.took[part.name] += time.monotonic() - begun
        return True

    def show(self) -> None:
        """Print how far it has come."""
        done = ", ".join(f"{name} {rounds}" for name, rounds in self.rounds.items())
        seconds = time.monotonic() - self.begun
        print(f"{seconds / 60:5.1f} of {self.seconds / 60:g} min, rounds: {done}", flush=True)

    def outcome(self) -> report.Report:
        """Return what was counted."""
        return {
            "seed": self.seed,
            "minutes": round((time.monotonic() - self.begun) / 60, 1),
            "date": time.strftime("%Y-%m-%d"),
            "python": sys.version.split()[0],
            "system": f"{os.uname().sysname} {os.uname().release.split('-')[0]}",
            "parts": [
                {"name": part.name, "about": part.about, "rounds": self.rounds[part.name]}
                | {"seconds": round(self.took[part.name]), "counted": dict(sorted(self.counted[part.name].items()))}
                for part in self.parts
            ],
        }

    def _blame(self, part: Part, number: int, what: str) -> None:
        again = f"--only {part.name} --seed {self.seed} --round {number}"
        print(f"\n{part.name}: round {number} {what}. To repeat it: nox -s torture -- {again}", file=sys.stderr)

    def _give_up(self, part: Part, number: int) -> None:
        faulthandler.dump_traceback()
        self._blame(part, number, f"did not end within {_ROUND_SECONDS} s")
        os._exit(1)


def main() -> int:
    """Do what the command line says, and return the exit code."""
    options = _options()
    if options.show is not None:
        print(report.table(json.loads(options.show.read_text(encoding="utf-8"))))
        return 0
    able = []
    for part in options.only:
        why = means.missing(*part.means)
        if why is None:
            able.append(part)
        else:
            print(f"{part.name}: left out, {why}", file=sys.stderr)
    if not able or (means.IN_CI and len(able) < len(options.only)):
        return 1
    logging.getLogger("petfleet").addHandler(logging.NullHandler())  # recoveries are what it is about
    print(f"seed {options.seed}", flush=True)
    torture = _Torture(able, options.seed, options.minutes, options.directory)
    if options.round is not None:
        passed = all(torture.play(part, options.round) for part in able)
    else:
        passed = torture.run()
    outcome = torture.outcome()
    print(report.table(outcome))
    if passed and options.json is not None:
        options.json.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    return 0 if passed else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="parts:\n" + "\n".join(f"  {part.name:<14}{part.about}" for part in PARTS),
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to go on (default: 10)")
    parser.add_argument("--seed", type=int, help="that of an earlier run, to try the same (default: a new one)")
    parser.add_argument("--only", type=_parts, default=list(PARTS), metavar="PART,...", help="some parts")
    parser.add_argument("--round", type=int, metavar="N", help="only this round")
    parser.add_argument("--directory", type=Path, help="on the disk to work on (default: the system's for temporaries)")
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="where to keep the figures of a run that passed")
    parser.add_argument("--show", type=Path, metavar="OUT.json", help="run nothing, show that run")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(1_000_000)
    return options


def _parts(text: str) -> list[Part]:
    known = {part.name: part for part in PARTS}
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}: there are {', '.join(known)}")
    return [known[name] for name in chosen]


if __name__ == "__main__":
    sys.exit(main())
