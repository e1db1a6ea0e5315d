"""The entry point: one app of all commands, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from xaicli import __version__
from xaicli.cli import attack, demo, evaluate, explain, generate, import_, methods, store, train
from xaicli.cli.output import OUTPUT
from xaicli.errors import XaicliError

BROKEN_PIPE = 141
INTERRUPTED = 130
IO_ERROR = 74

app = typer.Typer(
    name="xaicli",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train image classifiers, attack and explain them, judge the explanations, and see what a model has learned. "
    "Every command prints records (JSON lines) that the next one reads: "
    "xaicli train --data digits | xaicli attack - -a pgd | xaicli explain - -m gradcam | xaicli evaluate -",
    epilog="Start with: xaicli demo",
)

for room in (train, attack, explain, evaluate, generate, import_, store, methods, demo):
    room.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"xaicli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    OUTPUT.own()
    code = run(sys.argv[1:])
    sys.stdout = sys.stderr
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; every error ends as one sentence and an exit code (SPEC 3)."""
    if (
        "json" in arguments and arguments[list(arguments).index("json") - 1] == "--format"
    ) or "--format=json" in arguments:
        OUTPUT.format = "json"  # so that even a usage error is reported as asked
    try:
        code = app(args=list(arguments), standalone_mode=False)
        OUTPUT.finish()
        return int(code or 0)
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:
        OUTPUT.abandon()
        return BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        OUTPUT.error(INTERRUPTED, "interrupted.")
        return INTERRUPTED
    except XaicliError as error:
        return _report(error.exit_code, str(error), arguments)
    except TyperException as error:
        return _report(2, error.format_message(), arguments)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            return _report(IO_ERROR, f"writing failed: {error.strerror}; free space and run again.", arguments)
        return _bug(error)
    except Exception as error:
        return _bug(error)


def _report(code: int, message: str, arguments: Sequence[str]) -> int:
    if os.environ.get("XAICLI_VERBOSE") or {"-v", "--verbose"} & set(arguments):
        traceback.print_exc()
    OUTPUT.error(code, " ".join(message.split()))
    return code


def _bug(error: Exception) -> int:
    traceback.print_exc()
    OUTPUT.error(
        1, f"this is a bug in xaicli ({type(error).__name__}: {error}); please report it with the lines above."
    )
    return 1
