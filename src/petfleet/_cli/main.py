"""The command `petfleet`: runs the app, and reports each error as one line and an exit code.

Exit codes: 0 all is well, 1 something is wrong (with a fleet, a file, the system), 2 misuse, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import NoReturn

from petfleet._cli.report_format import ReportFormat

# The extra that installs each module.
_EXTRA = {"aiofiles": "cli", "obstore": "objects", "rich": "cli", "typer": "cli", "watchfiles": "watch"}
_INTERRUPTED = 130  # by the convention of shells


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # the parent process closed it
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open until the process ends
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # its encoding may lack characters
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:  # not if it is ignored, as under nohup
            signal.signal(number, signal.default_int_handler)  # clean up as after Ctrl-C
    report_format = ReportFormat()
    try:
        code = run(sys.argv[1:], report_format)
    except KeyboardInterrupt:  # pragma: no cover (before typer handles it)
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        from petfleet._cli.output import report_interruption

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only disturb the end
        report_interruption(json=report_format.json)
    sys.exit(code)


def run(arguments: list[str], report_format: ReportFormat) -> int:
    """Run a command, report its error if it has one, and return the exit code.

    Args:
        arguments: the command line without the name of the program; none stands for ``--help``.
        report_format: the parser notes in it whether JSON is asked for.
    """
    try:
        from petfleet._cli.app import app

        # If the reader of the output has gone, like `head`, typer exits with 1 and prints nothing.
        return app(arguments or ["--help"], prog_name="petfleet", standalone_mode=False, obj=report_format) or 0
    except Exception as error:  # noqa: BLE001 - every error is reported as one line
        message, code = _explain(error)
        from petfleet._cli.output import report_error

        report_error(type(error).__name__, message, json=report_format.json)
        return code


def _explain(error: Exception) -> tuple[str, int]:
    """Return one line that says what went wrong and the way out, and the exit code."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing in _EXTRA:
        return f"this needs {missing}: pip install 'petfleet[{_EXTRA[missing]}]'", 2
    import typer  # installed, or the error would be that it is missing

    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)  # set for a wrong option or argument
        hint = "" if context is None else f"; see {context.command_path} --help"
        return error.format_message().replace("\n", " ").rstrip(".") + hint, error.exit_code
    if isinstance(error, typer.Abort):
        return "not done: you did not say yes", 1
    from petfleet import FleetError, FleetFormatError, InvalidNameError, LockTimeoutError, PetAlreadyInFleetError

    if isinstance(error, InvalidNameError):
        return str(error), 2
    from petfleet._cli.output import describe_error

    if isinstance(error, FleetFormatError):
        return f"{describe_error(error)}: correct it; `petfleet check` says more", 1
    # The messages of these errors give advice to programs; this one is for people.
    if isinstance(error, PetAlreadyInFleetError):
        again = f"choose another name, or change that pet with `petfleet edit {error.user_id}`"
        return f"pet {error.pet_name} already in fleet of user {error.user_id}: {again}", 1
    if isinstance(error, LockTimeoutError):
        if "://" in error.path:
            return f"{error.path} was changed by others at each of our tries, for {error.waited:.3g} s: try again", 1
        held = f", held by {error.holder}" if error.holder else ""
        return f"{error.path} not locked within {error.waited:.3g} s{held}: try again, or see what the holder does", 1
    if isinstance(error, FileNotFoundError) and "://" in str(error.filename):
        return f"{error.filename}: no such bucket: pass the URL of one that exists as --root, or in PETFLEET_ROOT", 2
    if isinstance(error, (FleetError, OSError)):
        return describe_error(error), 1
    if isinstance(error, (TypeError, ValueError)):
        return str(error), 2  # a value that no fleet can hold
    return f"a mistake of petfleet's own, please report it: {error!r}", 1
