"""`xaicli train`."""

from __future__ import annotations

from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.config import options_by_name
from xaicli.cli.options import Common, chosen, command
from xaicli.cli.shape import parse_shape
from xaicli.cli.whole import produce
from xaicli.data.sources import SOURCES
from xaicli.methods import names
from xaicli.specs import parse_spec
from xaicli.train.known import parse_detector
from xaicli.train.preset import load_preset, preset_names

PRECISIONS = ("float32", "bf16")
EXAMPLES = """
xaicli train --data digits
xaicli train --data shapes --arch resnet18-cifar --epochs 30 -o shapes.safetensors
xaicli train --data digits --recipe adversarial:norm=l2,eps=0.5 --epochs 20
xaicli train --data digits --recipe trades:eps=0.1,awp=true,ema=0.999
xaicli train --data fashion-mnist --recipe private:epsilon=3 --epochs 30
xaicli train --data flowers102 --from imported.safetensors --freeze body --recipe private:epsilon=1
xaicli train --data digits --recipe ensemble:k=5
xaicli train --data fashion-mnist --arch bnn-mlp --recipe bayesian:augment=none
xaicli train --preset rice2020-cifar10-l2 --precision bf16 --data-root data
xaicli train --data fashion-mnist --known 7-of-10 --detector knn:k=50,tpr=0.95 -o seven.safetensors
xaicli train --data digits --known 0,1,2,3,4,5,6
xaicli train --data folder:flowers --input 3x64x64 --arch torchvision:resnet18
xaicli train --data digits --epochs 15 | xaicli attack - -a pgd | xaicli explain - -m gradcam | xaicli evaluate -
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "train", examples=EXAMPLES, rich_help_panel="The five verbs")(train)


def use_preset(context: typer.Context, name: str | None) -> str | None:
    """Make a preset's options the command's defaults: flags, the environment and --config still win."""
    if name is not None:
        parameters = options_by_name(context.command)
        given = {str(parameters[key].name): value for key, value in load_preset(name).options.items()}
        context.default_map = {**given, **(context.default_map or {})}
    return name


def train(
    data: Annotated[str, typer.Option("--data", metavar="DATA", help=f"{', '.join(SOURCES)}.")],
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="NAME[:k=v]",
            help="cnn (the default), resnet18-cifar, torchvision:NAME or FILE.py:FACTORY.",
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="NAME[:k=v,...]", autocompletion=complete("train"), help="How to train.")
    ] = "standard",
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Passes over the training data.")] = 15,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="CHECKPOINT", help="Start from its weights; '-' is one on standard input."),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            "--freeze", metavar="body|NAME,...", help="Layers that keep their weights; body is all but the last."
        ),
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Image size to train at; the data's own by default.")
    ] = None,
    physical_batch: Annotated[
        int | None,
        typer.Option(
            "--physical-batch", min=1, metavar="N", help="Rows in memory at once; gradients add up to --batch-size."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option("--precision", metavar="|".join(PRECISIONS), help="bf16: the network computes in bfloat16."),
    ] = "float32",
    known: Annotated[
        str | None,
        typer.Option(
            "--known",
            metavar="CLASSES|K-of-N",
            help="Classes to train on, by name or number, or so many drawn by the seed; the others stay unknown.",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            metavar="NAME[:tpr=.95,k=v]",
            autocompletion=complete("detector"),
            help=f"What is to be called UNKNOWN: {', '.join(names('detector'))}. "
            "max-logit with --known, entropy for uncertain recipes; the threshold keeps tpr of held-out known rows.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            is_eager=True,
            callback=use_preset,
            autocompletion=lambda incomplete: [name for name in preset_names() if name.startswith(incomplete)],
            help=f"Options of a known experiment, before any other: {', '.join(preset_names())}.",
        ),
    ] = None,
    *,
    common: Common,
) -> int:
    """Train a classifier and write a checkpoint; the epoch that is best on held-out data is kept."""
    spec = parse_spec("train", recipe)
    size = parse_shape(shape) if shape else None
    asked = parse_detector(detector) if detector is not None else None
    chosen("--precision", precision, PRECISIONS)
    settings = common.settings
    from xaicli.train.plan import Request
    from xaicli.train.run import train

    frozen = tuple(part for part in map(str.strip, (freeze or "").split(",")) if part)
    request = Request(data, arch, spec, epochs, physical_batch, size, precision, source, frozen, known, asked)
    return produce(settings, 1, ".safetensors", lambda settings: train(request, settings))
