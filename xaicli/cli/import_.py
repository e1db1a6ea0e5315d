"""`xaicli import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from xaicli.cli.options import Common, command
from xaicli.cli.shape import parse_shape
from xaicli.cli.whole import produce
from xaicli.errors import UsageError, nearest
from xaicli.signatures import parse_number

EXAMPLES = """
xaicli import resnet18.pth --arch torchvision:resnet18 --mean .485,.456,.406 --std .229,.224,.225
xaicli import weights.safetensors --arch cnn --input 1x32x32 --classes 10 --data digits
xaicli import net.pt --arch ./my_net.py:make_net --classes names.txt --input 3x64x64
xaicli import efficientnet-lite0.pth --arch timm:efficientnet_lite0 --match order --mean .498 --std .502
xaicli import checkpoint.pth.tar --arch timm:resnet26 --entry state_dict_ema --data folder:photos
"""


MATCHES: tuple[Literal["name", "order"], ...] = ("name", "order")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "import", examples=EXAMPLES, rich_help_panel="Helpers")(import_weights)


def import_weights(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="A state dict: .pt, .pth or .safetensors.")],
    arch: Annotated[
        str, typer.Option("--arch", metavar="NAME|FILE.py:FACTORY", help="The architecture the weights belong to.")
    ],
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="FILE|N", help="Class names, one a line, or their number.")
    ] = None,
    shape: Annotated[str | None, typer.Option("--input", metavar="CxHxW", help="Image size.")] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", metavar="M,...", help="Normalisation of pixels in [0, 1].")
    ] = None,
    std: Annotated[
        str | None, typer.Option("--std", metavar="S,...", help="Normalisation of pixels in [0, 1].")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="The default data of later commands; accuracy is checked on it."),
    ] = None,
    match: Annotated[
        str,
        typer.Option("--match", metavar="name|order", help="Tell tensors by name, or by order and shape alone."),
    ] = "name",
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="KEY", help="Which of several sets of weights in the file.")
    ] = None,
    *,
    common: Common,
) -> int:
    """Turn foreign weights into a checkpoint; no code in the file is ever run."""
    size = parse_shape(shape) if shape else None
    if match not in MATCHES:
        raise UsageError(f"--match '{match}' is unknown.{nearest(match, MATCHES)} Use {'|'.join(MATCHES)}.")
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    from xaicli.run.importing import Request, import_weights

    request = Request(weights, arch, classes, size, means, stds, data, match, entry)
    return produce(common.settings, 1, ".safetensors", lambda settings: import_weights(request, settings))


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(parse_number(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{name} '{text}' is not a list of numbers: {error}.") from None
