"""Takes each protection out of a copy of the sources, and shows whether the test that guards it turns red.

    python -m tests.torture.mutants                 all of them
    python -m tests.torture.mutants --only fsync    those with the word in their protection, module or test
    python -m tests.torture.mutants --trust         without a first run of the tests without any mutant

It ends with 1 if a mutant survived its test, if one no longer applies to the sources, or if a test that is named here
fails without any mutant.
"""

from __future__ import annotations

import argparse
import compileall
import concurrent.futures
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.mutate import LAST_RESORT, copy_package, environment, replace_once
from tests.torture.mutants.all import MUTANTS
from tests.torture.mutants.mutant import Mutant

_TESTS: Final = Path(__file__).parents[2]
_PACKAGE: Final = _TESTS.parent / "src" / "petfleet"
_TEST_SECONDS: Final = 20  # a mutant may make its test hang
_AT_ONCE: Final = 4 * (os.cpu_count() or 1)  # those that hang need no processor
_ALL_SECONDS: Final = 300


class Outcome(NamedTuple):
    """What came of one mutant; ``wrong`` is None if its test turned red."""

    mutant: Mutant
    line: int
    wrong: str | None
    seconds: float


def main() -> int:
    """Try the mutants, show the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m tests.torture.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORD", help="a part of the protection, the module or the test")
    parser.add_argument("--trust", action="store_true", help="the tests have just passed without any mutant")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if given.only in " ".join(mutant)]
    if not chosen:
        parser.error("no mutant has that word")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="petfleet-mutants-") as directory:
        # Compiled once, for all copies of it.
        unchanged = copy_package(_PACKAGE, Path(directory, "unchanged"))
        compileall.compile_dir(unchanged, quiet=1)
        wrong = None if given.trust else _without_mutants(chosen, unchanged.parent)
        if wrong is not None:
            print(wrong, file=sys.stderr)
            return 1
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as threads:
            places = [Path(directory, str(number)) for number in range(len(chosen))]
            outcomes = []
            for outcome in threads.map(try_one, chosen, places, itertools.repeat(unchanged)):
                print(_row(outcome), flush=True)
                outcomes.append(outcome)
    survived = sum(outcome.wrong is not None for outcome in outcomes)
    print(f"{len(outcomes)} mutants, {survived} not caught, {time.monotonic() - begun:.0f} s")
    return 1 if survived else 0


def try_one(mutant: Mutant, place: Path, package: Path = _PACKAGE) -> Outcome:
    """Run the mutant's test on a copy of the package with the mutant in it."""
    begun = time.monotonic()
    copy = copy_package(package, place)
    line, wrong = 0, None
    try:
        line = replace_once(copy, mutant.module, mutant.found, mutant.instead)
        code, said = _run([mutant.test], place, _TEST_SECONDS)
        if code == 0:
            wrong = "its test stays green"
        elif code != 1:  # 1: tests failed; anything else is no verdict
            wrong = f"its test could not run:\n{said}"
    except (ValueError, subprocess.TimeoutExpired) as error:
        wrong = str(error)
    shutil.rmtree(place)
    return Outcome(mutant, line, wrong, time.monotonic() - begun)


def _without_mutants(chosen: Sequence[Mutant], place: Path) -> str | None:
    """Return what is wrong with the tests themselves: a red test proves nothing if it is always red."""
    # In half the time, so that no test takes that long by itself when others run beside it.
    code, said = _run(sorted({mutant.test for mutant in chosen}), place, _TEST_SECONDS / 2, "--numprocesses=auto")
    return None if code == 0 else f"without any mutant:\n{said}"


def _run(tests: Sequence[str], place: Path, seconds: float, *options: str) -> tuple[int, str]:
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    # By a thread: a signal's exception would leave the threads of a hanging store to keep the process from its end.
    # Only the test itself is timed: on a busy machine its fixtures, an object store say, take long to start.
    pytest += [f"--timeout={seconds}", "--timeout-method=thread", "-o", "timeout_func_only=true"]
    done = subprocess.run(
        [*pytest, *options, f"--basetemp={place / 'tmp'}", *(f"tests/{test}" for test in tests)],
        cwd=_TESTS.parent,
        env=environment() | {"PYTHONPATH": str(place), LAST_RESORT: str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_ALL_SECONDS,
    )
    return done.returncode, done.stdout


def _row(outcome: Outcome) -> str:
    mutant = outcome.mutant
    verdict = "red" if outcome.wrong is None else "NOT CAUGHT"
    where = f"{mutant.module}:{outcome.line}"
    row = f"{verdict:<11}{outcome.seconds:5.1f} s  {mutant.protection:<55} {where:<16} {mutant.test}"
    return row if outcome.wrong is None else f"{row}\n    {outcome.wrong}"


if __name__ == "__main__":
    sys.exit(main())
