"""The common options, written once: every command takes them without repeating them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from xaicli.cli.config import load_config
from xaicli.cli.output import FORMATS, OUTPUT, ReaderGoneError
from xaicli.errors import UsageError, nearest
from xaicli.run.progress import Progress
from xaicli.run.settings import Settings
from xaicli.run.shard import parse_shard
from xaicli.run.stop import STOP, parse_duration

COMPRESSION = ("none", "gzip")
PANEL = "Common options"
HELP = {"help_option_names": ["-h", "--help"]}


def _option(*names: str, **details: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, **details)


@dataclass(frozen=True)
class Display:
    """How a command shows itself."""

    config: Annotated[
        Path | None,
        _option(
            "--config",
            metavar="FILE.toml",
            callback=load_config,
            is_eager=True,
            help="Defaults: top level for all commands, a table for each.",
        ),
    ] = None
    format: Annotated[
        str, _option("--format", metavar="|".join(FORMATS), help="auto: tables on a terminal, else JSON lines.")
    ] = "auto"
    quiet: Annotated[bool, _option("-q", "--quiet", help="No progress.")] = False
    verbose: Annotated[bool, _option("-v", "--verbose", help="A traceback with every error.")] = False
    no_color: Annotated[bool, _option("--no-color", help="No colours; also NO_COLOR or TERM=dumb.")] = False


@dataclass(frozen=True)
class Looking(Display):
    """What commands share that show or convert stores, and need the images behind them."""

    data_root: Annotated[
        Path | None, typer.Option("--data-root", envvar="XAICLI_DATA", metavar="DIR", help="Where data sets lie.")
    ] = None
    parent: Annotated[
        list[Path] | None, typer.Option("--parent", metavar="PATH", help="File or folder to find parents in.")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False

    @property
    def settings(self) -> Settings:
        """The options as the rooms below take them."""
        return Settings(data_root=self.data_root, parents=tuple(self.parent or ()), force=self.force)


@dataclass(frozen=True)
class Common(Display):
    """Everything a command that computes shares with the others."""

    output: Annotated[
        str | None,
        _option("-o", "--output", metavar="FILE|DIR/|-", help="Where the result goes; '-' is standard output."),
    ] = None
    limit: Annotated[
        int | None,
        _option("-n", "--limit", min=1, metavar="N", help="Only N rows, the same for every run on a data set."),
    ] = None
    per_class: Annotated[int | None, _option("--per-class", min=1, metavar="K", help="Only K rows of each class.")] = (
        None
    )
    seed: Annotated[int, _option("--seed", metavar="N", help="Seed of all random numbers.")] = 0
    device: Annotated[str, _option("--device", metavar="auto|cpu|cuda[:i]", help="Where the model runs.")] = "auto"
    threads: Annotated[int | None, _option("--threads", min=1, metavar="N", help="CPU threads.")] = None
    batch_size: Annotated[
        int | None,
        _option("--batch-size", min=1, metavar="N", help="Rows of a model call (32), or of a training step."),
    ] = None
    block: Annotated[
        str, _option("--block", metavar="auto|N", help="Rows that are saved together, a power of two.")
    ] = "auto"
    data_root: Annotated[
        Path | None, _option("--data-root", envvar="XAICLI_DATA", metavar="DIR", help="Where data sets lie.")
    ] = None
    download: Annotated[
        bool, _option("--download", help="Fetch a missing data set; nothing else ever uses the network.")
    ] = False
    num_workers: Annotated[
        int | None, _option("--num-workers", min=1, metavar="N", help="Threads that read image files.")
    ] = None
    compress: Annotated[
        str, _option("--compress", metavar="none|gzip", help="gzip saves some space in stores, and takes time.")
    ] = "none"
    shard: Annotated[
        str, _option("--shard", metavar="i/N|auto", help="Only every N-th block, for `xaicli store merge`.")
    ] = "1/1"
    max_time: Annotated[
        str | None, _option("--max-time", metavar="55m", help="Stop after this long with progress saved (code 75).")
    ] = None
    grace: Annotated[
        str, _option("--grace", metavar="20s", help="How long a block may go on after a wish to stop.")
    ] = "20s"
    parent: Annotated[
        list[Path] | None, _option("--parent", metavar="PATH", help="File or folder to find parents in; repeatable.")
    ] = None
    force: Annotated[bool, _option("--force", help="Replace the result of another job.")] = False
    dry_run: Annotated[bool, _option("--dry-run", help="Say what would be done: rows, forwards, bytes.")] = False

    @property
    def factory(self) -> str | None:
        """The --arch of commands that read checkpoints."""
        return None

    @property
    def settings(self) -> Settings:
        """The options as the rooms below take them."""
        return Settings(
            arch=self.factory,
            output=self.output,
            force=self.force,
            limit=self.limit,
            per_class=self.per_class,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            batch_size=self.batch_size,
            block=_block(self.block),
            data_root=self.data_root,
            parents=tuple(self.parent or ()),
            dry_run=self.dry_run,
            download=self.download,
            num_workers=self.num_workers,
            compress=chosen("--compress", self.compress, COMPRESSION) == "gzip",
            shard=parse_shard(self.shard),
        )


@dataclass(frozen=True)
class Reading(Common):
    """The common options of commands that read checkpoints."""

    arch: Annotated[
        str | None,
        _option("--arch", metavar="FILE.py:FACTORY", help="Where a checkpoint's own architecture file lies here."),
    ] = None

    @property
    def factory(self) -> str | None:
        """The --arch of commands that read checkpoints."""
        return self.arch


def _block(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"--block '{text}' is not a number; use auto or a power of two.")
    return int(text)


def command(app: typer.Typer, name: str, *, examples: str, **settings: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register a function as a command; its last parameter, annotated `Common` or `Display`, gets the common options.

    examples: worked commands, one a line, shown at the end of the help.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., Any]:
        hints = get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())
        kind: type[Display] = hints[own[-1].name]
        shared = get_type_hints(kind, include_extras=True)
        parameters = [p.replace(annotation=hints[p.name], kind=p.KEYWORD_ONLY) for p in own[:-1]]
        parameters += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=shared[f.name])
            for f in fields(kind)
        ]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            common = kind(**{f.name: values.pop(f.name) for f in fields(kind)})
            _show_as(common)
            OUTPUT.close_to_libraries()
            try:
                with _stoppable(common):
                    code = function(**values, **{own[-1].name: common})
                OUTPUT.finish()
            except BrokenPipeError:  # of standard error, say; typer would end with code 1
                raise ReaderGoneError from None
            raise typer.Exit(code or 0)

        for parameter in parameters:
            _name_environment(parameter)
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        epilog = "Examples:\n\n" + "\n\n".join(f"$ {line.strip()}" for line in examples.strip().splitlines())
        app.command(name, epilog=epilog, context_settings=HELP, **settings)(run)
        return function

    return register


def chosen(option: str, value: str, choices: Sequence[str]) -> str:
    """The value, if it is one of the choices; UsageError names the nearest."""
    if value not in choices:
        raise UsageError(f"{option} '{value}' is unknown.{nearest(value, choices)} Use {'|'.join(choices)}.")
    return value


def _stoppable(display: Display) -> AbstractContextManager[None]:
    """Commands that compute stop with their progress saved; the others end at once."""
    if not isinstance(display, Common):
        return nullcontext()
    max_time = None if display.max_time is None else parse_duration(display.max_time)
    return STOP.listening(max_time, parse_duration(display.grace))


def _show_as(display: Display) -> None:
    OUTPUT.format = chosen("--format", display.format, FORMATS)
    OUTPUT.color = not (display.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb")
    OUTPUT.verbose = display.verbose
    Progress.quiet, Progress.color = display.quiet, OUTPUT.color


def _name_environment(parameter: inspect.Parameter) -> None:
    """Every option can be set by XAICLI_<OPTION>, but --data: XAICLI_DATA is where data sets lie (--data-root)."""
    for info in getattr(parameter.annotation, "__metadata__", ()):
        if isinstance(info, typer.models.OptionInfo):
            declared = [
                info.default,
                *(info.param_decls or ()),
            ]  # within Annotated, typer holds the first for a default
            long = next(name for name in declared if isinstance(name, str) and name.startswith("--"))
            names = [info.envvar] if isinstance(info.envvar, str) else list(info.envvar or ())
            own = f"XAICLI_{long.removeprefix('--').replace('-', '_').upper()}"
            info.envvar = list(dict.fromkeys([*names, *([own] if long != "--data" else [])]))
            info.show_envvar = False
