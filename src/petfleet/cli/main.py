"""The command `petfleet`: runs the app, and turns whatever goes wrong into one line and an exit code.

Exit codes: 0 all is well, 1 something is wrong (with a fleet, a file, the system), 2 misuse, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import NoReturn

# What is in which extra.
_EXTRA = {"aiofiles": "cli", "obstore": "objects", "rich": "cli", "typer": "cli", "watchfiles": "watch"}
_INTERRUPTED = 130  # by the convention of shells


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started this
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - to the end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of another encoding
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:  # and not ignored, as under nohup
            signal.signal(number, signal.default_int_handler)  # ends as after Ctrl-C: tidied up
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:  # pragma: no cover (before typer is there to see to it)
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        from petfleet.cli.output import say_interrupted

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only disturb the end
        say_interrupted()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        from petfleet.cli.app import app

        # A reader that has gone, like `head`, typer makes exit code 1, without a word.
        return app(arguments or ["--help"], prog_name="petfleet", standalone_mode=False) or 0
    except Exception as error:  # noqa: BLE001 - all of them end here, as one line
        message, code = _explain(error)
        from petfleet.cli.output import say

        say(type(error).__name__, message)
        return code


def _explain(error: Exception) -> tuple[str, int]:
    """Return what went wrong and the way out, in one line, and the exit code."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing in _EXTRA:
        return f"this needs {missing}: pip install 'petfleet[{_EXTRA[missing]}]'", 2
    import typer  # there by now, or the error was that it is not

    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)  # of a wrong option or argument
        hint = "" if context is None else f"; see {context.command_path} --help"
        return error.format_message().replace("\n", " ").rstrip(".") + hint, error.exit_code
    if isinstance(error, typer.Abort):
        return "not done: you did not say yes", 1
    from petfleet import FleetError, FleetFormatError, InvalidNameError, LockTimeoutError, PetAlreadyInFleetError

    if isinstance(error, InvalidNameError):
        return str(error), 2
    from petfleet.cli.output import describe_error

    if isinstance(error, FleetFormatError):
        return f"{describe_error(error)}: correct it; `petfleet check` says more", 1
    # The ways out in their own texts are for programs.
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
