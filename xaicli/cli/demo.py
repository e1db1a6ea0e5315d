"""`xaicli demo`: the five verbs on drawn shapes, each step printed as the command that repeats it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from xaicli.cli.options import Display, command
from xaicli.cli.output import OUTPUT
from xaicli.files.record import Record
from xaicli.run.progress import say

EXAMPLES = """
xaicli demo
xaicli demo -o somewhere/
"""
THREAT = "norm=l2,eps=0.5"
MODELS = {
    "standard": ["--recipe", "standard:lr=0.2", "--epochs", "4"],
    "robust": ["--recipe", f"adversarial:{THREAT},steps=2,lr=0.2", "--epochs", "6"],
}
TITLES = {"standard": "standard training", "robust": "adversarial training"}
METHODS = ["-m", "integrated-gradients:steps=16", "-m", "gradcam"]
ROWS = ["-n", "50"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "demo", examples=EXAMPLES, rich_help_panel="Helpers")(demo)


def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Where all files are kept.")] = Path(
        "demo"
    ),
    *,
    display: Display,
) -> None:
    """Train a standard and a robust model on drawn shapes, attack, explain, evaluate, generate: about two minutes.

    Needs no data. Ends with tables and one picture, DIR/picture.png; running it again finds everything done.
    """
    began = time.monotonic()
    root: Any = context.find_root().command
    records: list[Record] = []

    def run(*arguments: str) -> list[Record]:
        say(f"$ xaicli {shlex.join(arguments)}")
        quiet = ["--quiet"] if display.quiet else []
        with OUTPUT.diverted() as found:
            code = root.main(args=[*arguments, *quiet], standalone_mode=False)
        if code:
            raise typer.Exit(code)
        records.extend(found)
        return found

    picture = output / "picture.png"
    _steps(run, output, picture)
    for record in records:
        OUTPUT.record(record)
    say(f"done in {time.monotonic() - began:.0f} s; look at {picture}")


def _steps(run: Callable[..., list[Record]], folder: Path, picture: Path) -> None:
    """The commands, in order; paths that a command chose are taken from its records."""
    from xaicli.report.comparison import Side, write_comparison

    sides = []
    maps: list[str] = []
    for name, options in MODELS.items():
        checkpoint = str(folder / f"{name}.safetensors")
        run("train", "--data", "shapes", *options, "-o", checkpoint)
        (attacked,) = _paths(run("attack", checkpoint, "-a", f"pgd:{THREAT}", *ROWS, "-o", f"{folder / name}.pgd.h5"))
        explained = [*_paths(run("explain", checkpoint, *METHODS, *ROWS, "--save-inputs", "-o", f"{folder}/"))]
        sheet = ("generate", checkpoint, "-g", "class-images", "--png", "-o", f"{folder / name}.class-images.h5")
        (generated,) = _paths(run(*sheet))
        maps += [str(path) for path in explained]
        sides.append(Side(TITLES[name], explained, attacked, generated))
    attacks = [str(side.attacked) for side in sides]
    run("evaluate", *attacks, "-o", str(folder / "robustness.h5"))
    run("evaluate", *maps, "-o", str(folder / "explanations.h5"))
    write_comparison(picture, sides)


def _paths(records: list[Record]) -> Iterator[Path]:
    return (Path(record["path"]) for record in records if "path" in record)
