"""Everything that is run on petfleet: `nox -s demo`, `nox -s tests`, `nox -l` for the rest."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"  # the first with project.dependency_groups

PROJECT = nox.project.load_toml("pyproject.toml")

# The tests start hundreds of processes: without this, each of them compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.options.sessions = ["tests", "lint", "typing"]
# Each session runs on the Python that runs nox. `.ci/run` runs nox on all that are supported.
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"


def group(*names: str) -> tuple[str, ...]:
    """Return the requirements of dependency groups (older pips do not know `--group`)."""
    return nox.project.dependency_groups(PROJECT, *names)


# What all extras bring: `petfleet[cli,watch,objects]`.
EXTRAS = [requirement for extra in PROJECT["project"]["optional-dependencies"].values() for requirement in extra]

# Tests in parallel, those of one file in one process: they share a server, a file system image or a traced run.
BY_FILE = ("--numprocesses=auto", "--dist=loadfile")

built: list[str] = []  # the one wheel of this run


def install_wheel(session: nox.Session, *requirements: str) -> None:
    """Install petfleet as its users get it: the wheel, built once a run, never the source tree."""
    if not built:
        wheels = session.cache_dir / f"wheel-for-{session.name}"  # another nox may run beside this one
        shutil.rmtree(wheels, ignore_errors=True)
        pip_wheel = ("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), ".")
        session.run(*pip_wheel, silent=True)
        built.extend(map(str, wheels.glob("petfleet-*.whl")))
    session.install(*built, *requirements)
    # In a reused environment pip keeps an older build of the same version.
    session.install("--force-reinstall", "--no-deps", *built)
    session.env["PYTHONPATH"] = None  # whatever it was, no source tree gets in front of the wheel


@nox.session
def demo(session: nox.Session) -> None:
    """Four processes, one of them killed, and not one acknowledged change lost."""
    install_wheel(session, *EXTRAS)
    session.run("petfleet", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests on the built wheel; every line and branch must run, unless arguments narrow the suite."""
    install_wheel(session, *EXTRAS, *group("test"))
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    data = session.cache_dir / "coverage"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    session.env["COVERAGE_FILE"] = str(data.resolve() / "data")
    session.run("coverage", "run", "-m", "pytest", "--numprocesses=auto")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def examples(session: nox.Session) -> None:
    """Run the bots, the server and the pages of docs/ as their readers would."""
    install_wheel(session, *EXTRAS, *group("test-examples"))
    session.run("python", "-m", "pytest", *(session.posargs or [*BY_FILE, "tests/examples"]))


@nox.session
def proof(session: nox.Session) -> None:
    """Play the fixed rounds of tests/torture/ (seed 0), and see each harness notice a sabotage."""
    install_wheel(session, *EXTRAS, *group("test"))
    session.run("python", "-m", "pytest", *(session.posargs or [*BY_FILE, "tests/torture"]))


@nox.session
def torture(session: nox.Session) -> None:
    """Try to break petfleet for as long as `-- --minutes 30` says; `-- --help` says what else there is."""
    install_wheel(session, *EXTRAS, *group("test"))
    session.run("python", "-m", "tests.torture", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Take out each protection, one at a time, and see its test turn red; `-- --only WORD` for some of them."""
    # Not the wheel: each copy of the sources is tested in place.
    session.install(*PROJECT["project"]["dependencies"], *EXTRAS, *group("test"))
    session.run("python", "-m", "tests.torture.mutants", *session.posargs)


@nox.session
def pictures(session: nox.Session) -> None:
    """Draw docs/terminal/*.svg and docs/server.png anew: the command line and the server, as they are now."""
    install_wheel(session, *EXTRAS, *group("test-examples"))
    session.run("python", "docs/pictures.py")
    session.run("python", "docs/screenshot.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff (`ruff check --fix` and `ruff format` mend most of it)."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types: mypy strict on all code, a second checker on the calls of the public face."""
    install_wheel(session, *EXTRAS, *group("typing"))
    session.run("mypy", "src", "tests", "benchmarks", "examples", "docs")
    session.run("pyright", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})  # do not ask for newer releases
    session.run("pyright", "--verifytypes", "petfleet", "--ignoreexternal", env={"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"})


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the tests, but for the slow ones, with the oldest dependencies that pyproject.toml allows."""
    pins = [requirement.replace(">=", "==") for requirement in [*PROJECT["project"]["dependencies"], *EXTRAS]]
    if not all(pin.count("==") == 1 for pin in pins):
        session.error(f"each dependency needs one lower bound and nothing else: {pins}")
    install_wheel(session, *pins, *group("test"))
    session.log("with %s", ", ".join(pins))
    session.run("python", "-m", "pytest", *(session.posargs or ["--numprocesses=auto", "-m", "not slow"]))


@nox.session
def build(session: nox.Session) -> None:
    """Build dist/ as it would be uploaded, and check what is in it."""
    session.install(*group("build"))
    dist = Path("dist")
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", silent=True)  # the wheel from the sdist: that must be complete
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    (wheel,) = dist.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {path.relative_to("src").as_posix() for path in Path("src").rglob("*.py")}
    wanted.add("petfleet/py.typed")
    if packed != wanted:
        session.error(f"{wheel}: missing {sorted(wanted - packed)}, not wanted {sorted(packed - wanted)}")
    session.log("%s: %d files, py.typed among them", wheel, len(packed))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure petfleet and its peers in about a minute; `-- --help` says what else there is."""
    install_wheel(session, *EXTRAS, *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)
