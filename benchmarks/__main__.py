"""Measures petfleet and its peers, shows the figures, and compares them with those of an earlier run.

    python -m benchmarks                                   about a minute
    python -m benchmarks --full --charts docs/benchmarks   everything
    python -m benchmarks --compare OLD.json                and how it differs from that run
    python -m benchmarks --compare REVISION                and from that git revision, measured in the same run
    python -m benchmarks --show A.json --compare B.json    without measuring

It ends with 1 if an acknowledged change was lost, a call failed or a peer failed; however fast anything was, with 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import Final

from benchmarks import suite
from benchmarks.charts import draw
from benchmarks.comparison import apart
from benchmarks.figures import Report
from benchmarks.report import compare, markdown_tables, print_comparison, print_report
from benchmarks.revisions import NoRevisionError, Revision, exported
from benchmarks.scenarios import ALL

LATEST: Final = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    """Do what the command line says, and return the exit code."""
    options = _options()
    with contextlib.ExitStack() as stack:
        older, earlier = None, None  # both before minutes of measuring
        if options.compare is not None and _is_report(options.compare):
            older = _read(Path(options.compare))
        elif options.compare is not None:
            try:
                earlier = stack.enter_context(exported(options.compare))
            except NoRevisionError as error:
                print(f"neither a report nor a revision: {options.compare} ({error})", file=sys.stderr)
                return 2
        return _run(options, older, earlier)


def _run(options: argparse.Namespace, older: Report | None, earlier: Revision | None) -> int:
    wrong: list[str] = []
    if options.show is not None:
        report = _read(options.show)
    else:
        report, wrong = suite.run(options.kind, options.only, options.peers, options.directory, earlier)
        _write(report, options.json or (None if options.kind == "smoke" else LATEST))
    print_report(report)
    if older is not None:
        print_comparison(compare(older, report))
    if earlier is not None and report.results:
        print_comparison(compare(*apart(report, earlier.peer)))
    if options.charts is not None:
        for path in draw(report, options.charts):
            print(f"drawn: {path}")
        tables = options.charts / "tables.md"
        tables.write_text(markdown_tables(report), encoding="utf-8")
        print(f"written: {tables}")
    for text in wrong:
        print(f"WRONG: {text}", file=sys.stderr)
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--full", dest="kind", action="store_const", const="full", help="everything, in half an hour")
    kinds.add_argument(
        "--smoke", dest="kind", action="store_const", const="smoke", help="only whether everything works, no figures"
    )
    kinds.add_argument("--show", type=Path, metavar="A.json", help="measure nothing, show that run")
    parser.set_defaults(kind="quick")
    parser.add_argument(
        "--only", type=_names, default=[], metavar="GROUP,...", help="groups, syncs, targets, turns, startup, objects"
    )
    parser.add_argument("--peers", type=_names, default=list(ALL), metavar="PEER,...", help="; ".join(ALL))
    parser.add_argument(
        "--compare", metavar="OLD.json|REVISION", help="print the ratios to that run, or to that revision in this run"
    )
    parser.add_argument(
        "--json", type=Path, metavar="OUT.json", help="where to keep it (default: benchmarks/results/latest.json)"
    )
    parser.add_argument("--charts", type=Path, metavar="DIR", help="where to draw, and to write the tables as Markdown")
    parser.add_argument("--directory", type=Path, help="on the disk to measure (default: the system's /var/tmp)")
    options = parser.parse_args()
    for chosen, known in ((options.only, suite.parts(options.kind)), (options.peers, ALL)):
        if unknown := [name for name in chosen if name not in known]:
            parser.error(f"no {', '.join(unknown)}: there are {'; '.join(known)}")
    if options.show is not None and options.compare is not None and not _is_report(options.compare):
        parser.error("a revision is measured, which --show does not: --compare OLD.json")
    return options


def _is_report(text: str) -> bool:
    return text.endswith(".json") or Path(text).is_file()


def _names(text: str) -> list[str]:
    return re.split(r",(?! )", text)  # one peer has a comma in its name


def _read(path: Path) -> Report:
    return Report.from_json(json.loads(path.read_text(encoding="utf-8")))


def _write(report: Report, path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
        print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
