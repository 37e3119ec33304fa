"""The entry point: runs a command, and turns errors into plain words and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from shoal.cli.stops import Terminated, raise_stops
from shoal.errors import ShoalError
from shoal.process import own_process

BUG = 99
"""Exit code of an error that nobody foresaw."""
BROKEN_PIPE = 141
"""Exit code when the reader of our output went away: what a shell shows for SIGPIPE."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
TERMINATED = 143
"""Exit code after SIGTERM, as shells have it."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    own_process()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what it has no character for
    raise_stops()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code.

    A :class:`ShoalError` becomes one line on stderr and the exit code of its class. With
    ``SHOAL_TRACEBACK=1`` in the environment the traceback is shown as well.
    """
    try:
        code = _command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out; give it a place to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except ShoalError as error:
        _explain(f"error {error.exit_code}", str(error), error)
        return error.exit_code
    except Exception as error:
        _explain(
            "this is a bug in Shoal",
            f"{type(error).__name__}: {error} (run it again with SHOAL_TRACEBACK=1 and report "
            "what is printed)",
            error,
        )
        return BUG
    return code


def _command(arguments: Sequence[str]) -> int:
    from typer.main import get_command

    from shoal.cli.app import app

    try:
        get_command(app).main(args=list(arguments), prog_name="shoal")
    except SystemExit as stop:
        # Click and Rich end with codes of their own where the cause was one of these.
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, (BrokenPipeError, Terminated)):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _explain(label: str, text: str, error: Exception) -> None:
    from rich.text import Text

    from shoal.cli.output import printable, stderr

    if os.environ.get("SHOAL_TRACEBACK") == "1":
        traceback.print_exception(error)
    line = Text.assemble((f"{label}: ", "bold red"), printable(" ".join(text.split())))
    stderr().print(line, soft_wrap=True)
