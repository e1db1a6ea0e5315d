"""The entry point: one app of all commands, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from xaicli import __version__
from xaicli.cli.output import OUTPUT, ReaderGoneError
from xaicli.errors import OutputError, UnavailableError, UsageError, XaicliError

BROKEN_PIPE = 141
INTERRUPTED = 130

ROOMS = ("train", "attack", "explain", "evaluate", "generate", "report", "import", "store", "methods", "demo")
ALONE = frozenset(ROOMS) - {"demo"}  # the demo runs the others


def build_app(*rooms: str) -> typer.Typer:
    """The app with the commands of these rooms, in the order of the help; all of them by default."""
    app = typer.Typer(
        name="xaicli",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Train image classifiers, attack and explain them, judge the explanations, and see what a model has "
        "learned. Every command prints records (JSON lines) that the next one reads: "
        "xaicli train --data digits | xaicli attack - -a pgd | xaicli explain - -m gradcam | xaicli evaluate -",
        epilog="Start with: xaicli demo",
    )
    app.callback()(_root)
    for room in rooms or ROOMS:
        module = "import_" if room == "import" else room  # a keyword cannot name a module
        import_module(f"xaicli.cli.{module}").register(app)
    return app


def _rooms(arguments: Sequence[str]) -> tuple[str, ...]:
    """The one command that is called, where nothing has to know the others: building all takes some 70 ms."""
    configured = "XAICLI_CONFIG" in os.environ or any(word.startswith("--config") for word in arguments)
    alone = arguments and arguments[0] in ALONE and not configured and "_XAICLI_COMPLETE" not in os.environ
    return (arguments[0],) if alone else ()


def _version(value: bool) -> None:
    if value:
        typer.echo(f"xaicli {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # Threads that wait by spinning steal the core that another process needs: on two shared cores the same training ran
    # 15 to 40 times slower by default than with a short spin, which is as fast where the cores are free. The OpenMP
    # runtime reads this when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Our own linear algebra in numpy is tiny, and its idle threads spin too.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    OUTPUT.own()
    code = run(sys.argv[1:])
    sys.stdout = sys.stderr
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; every error ends as one sentence and an exit code (SPEC 3)."""
    OUTPUT.start("json" if _wants_json(arguments) else "auto")
    try:
        return _run(arguments)
    except ReaderGoneError:
        OUTPUT.abandon()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _report(INTERRUPTED, "interrupted.")
    except XaicliError as error:
        return _report(error.exit_code, str(error))
    except TyperException as error:
        return _report(UsageError.exit_code, error.format_message() or "no command was named; choose one of these.")
    except MemoryError:
        return _report(UnavailableError.exit_code, "out of memory; use a machine with more, or fewer rows.")
    except OSError as error:
        OUTPUT.abandon()
        where = f" of '{error.filename}'" if error.filename else ""
        return _report(
            OutputError.exit_code, f"reading or writing{where} failed: {error.strerror or error}; mend that, run again."
        )
    except Exception as error:
        traceback.print_exc()
        what = f"{type(error).__name__}: {error}"
        return _report(1, f"this is a bug in xaicli ({what}); please report it with the lines above.")


def _run(arguments: Sequence[str]) -> int:
    try:
        code = build_app(*_rooms(arguments))(args=list(arguments), prog_name="xaicli", standalone_mode=False)
    except SystemExit as stop:  # completion ends so
        code = stop.code
    except typer.Abort:
        raise KeyboardInterrupt from None
    if code == INTERRUPTED:  # typer makes this of a Ctrl-C
        raise KeyboardInterrupt
    OUTPUT.finish()
    return int(code or 0)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether even a mistake on the command line is to be reported as a record."""
    said = "--format=json" in arguments or ("--format", "json") in pairwise(arguments)
    return said or os.environ.get("XAICLI_FORMAT") == "json"


def _report(code: int, message: str) -> int:
    if OUTPUT.verbose and code != 1:
        traceback.print_exc()
    OUTPUT.error(code, _sentence(message))
    return code


def _sentence(message: str) -> str:
    """In one line, and in the one style of all messages: a small first letter (unless it is a name), a full stop."""
    text = " ".join(message.split())
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
