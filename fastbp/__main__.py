"""The process around a command: signals, the one place where an error becomes a sentence and an exit code.

0 done, 1 failure, 2 usage, 3 bad data file, 4 bad model file, 5 diverged, 6 download failed, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import gc
import os
import sys
from io import TextIOWrapper

from . import interrupts
from .errors import FastbpError

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    gc.set_threshold(200_000, 50, 50)  # imports make many objects that live on: looking at them again costs 40 ms
    interrupts.listen()
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # for names in letters that a pipe on Windows lacks
    code = 0
    try:
        from .cli import cli

        result = cli.main(prog_name="fastbp", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:
        interrupts.ignore()  # what is left to do takes milliseconds
        code = _explain(error)
        if interrupts.received():
            _close_both()
            # Once this block ends, the frames go that the exception came through: a compiler's, half done, can crash
            # then. And one that passed through exec() makes Python die of SIGINT instead.
            os._exit(code)
    interrupts.ignore()
    _close_both()
    gc.freeze()  # and the interpreter need not search what it is about to leave
    return code


def _explain(error: BaseException) -> int:
    """Say in one sentence what went wrong; returns the exit code."""
    import click

    if isinstance(error, click.exceptions.Abort) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, SystemExit | click.exceptions.Exit):
        code = error.code if isinstance(error, SystemExit) else error.exit_code
        return code if isinstance(code, int) else int(code is not None)
    if isinstance(error, click.ClickException):
        _say(error)
        return error.exit_code
    if os.environ.get("FASTBP_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        _say(str(error) or "interrupted; nothing was changed")
        return interrupts.exit_code()
    if isinstance(error, FastbpError):
        _say(str(error))
        return error.exit_code
    if interrupts.received():
        _say("interrupted")  # the signal's own exception was lost, and something broke in its stead
        return interrupts.exit_code()
    if isinstance(error, BrokenPipeError):
        return 1  # the reader has gone; there is nobody to tell
    if isinstance(error, MemoryError):
        _say(f"not enough memory ({error}); take less data, a smaller network or a smaller batch")
    elif isinstance(error, OSError):
        _say(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
    else:
        _say(
            f"internal error ({type(error).__name__}: {error}); this is a bug, please report it; "
            "FASTBP_DEBUG=1 shows the traceback"
        )
    return 1


def _say(message: object) -> None:
    """An error for people, on stderr; a closed or full stderr is no further error."""
    import click

    from .console import complain, printable

    try:
        if isinstance(message, click.UsageError) and message.ctx is not None:
            usage = message.ctx.get_usage()
            click.echo(f"{usage}\nTry '{message.ctx.command_path} --help' for help.\n", err=True)
        if isinstance(message, click.ClickException):
            complain(message.format_message())
        else:
            complain(printable(message, 4000))
    except (OSError, ValueError):
        return


def _close_both() -> None:
    """Both standard streams."""
    _close(sys.stdout)
    _close(sys.stderr)


def _close(stream: object) -> None:
    """Write out what a standard stream still holds; where its reader has gone, let nothing be written at exit."""
    if stream is None:
        return
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
