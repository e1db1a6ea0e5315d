"""`xaicli explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.options import Reading, chosen, command
from xaicli.cli.whole import produce
from xaicli.errors import UsageError
from xaicli.specs import parse_spec

EXAMPLES = """
xaicli explain digits-cnn-standard.safetensors -m gradcam -m ig
xaicli explain m.safetensors -m integrated-gradients:steps=128,baseline=blur -n 200 -o maps/
xaicli explain m.safetensors --data shapes:val -m saliency --target label --quantity probability
xaicli attack m.safetensors -a pgd | xaicli explain - -m gradcam
xaicli explain m.safetensors -m features --data digits:train -o train.features.h5
xaicli explain m.safetensors train.features.h5 -m representer -m influence
xaicli explain digits-cnn-bayesian.safetensors -m gradcam -m ig:draws=50
xaicli explain open.safetensors -m gradcam -m open-set -o maps/
xaicli explain open.safetensors -m ig --target unknown -o maps/
xaicli methods explain
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "explain", examples=EXAMPLES, rich_help_panel="The five verbs")(explain)


def explain(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Checkpoints, images, training features, or - for records.")
    ],
    method: Annotated[
        list[str],
        typer.Option(
            "-m",
            "--method",
            metavar="NAME[:k=v,...]",
            autocompletion=complete("explain"),
            help="Attribution method; repeatable. Of an uncertain checkpoint, draws=N networks are explained (20).",
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Data instead of the checkpoint's own test split.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="T",
            help="predicted, label, runner-up, least-likely, CLASS, CLASS,CLASS, or unknown: why rows are refused.",
        ),
    ] = "predicted",
    quantity: Annotated[
        str, typer.Option("--quantity", metavar="Q", help="logit, probability, log-probability or margin.")
    ] = "logit",
    save_inputs: Annotated[bool, typer.Option("--save-inputs", help="Store the images beside the maps.")] = False,
    dtype: Annotated[
        str,
        typer.Option("--dtype", metavar="float32|float16", help="Type of the stored maps; float16 halves the file."),
    ] = "float32",
    *,
    common: Reading,
) -> int:
    """Say what a model's output rests on, pixels, units or training images: a store per checkpoint and method."""
    specs = [parse_spec("explain", text) for text in method]
    if len({str(spec) for spec in specs}) < len(specs):
        raise UsageError("the same method with the same options is given twice; give it once.")
    from xaicli.files.sources import gather

    settings, found = common.settings, gather(sources)  # mistakes show before torch is imported
    from xaicli.explain.run import Request, explain

    request = Request(
        found, specs, data, target, quantity, save_inputs, chosen("--dtype", dtype, ("float32", "float16"))
    )
    return produce(settings, len(specs) * found.cases, ".h5", lambda settings: explain(request, settings))
