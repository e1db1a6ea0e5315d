"""`xaicli evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.options import Reading, command
from xaicli.cli.whole import produce
from xaicli.methods import parse_spec

EXAMPLES = """
xaicli evaluate digits-cnn-standard.safetensors
xaicli evaluate digits-cnn-standard.pgd.h5
xaicli evaluate maps/*.h5
xaicli evaluate maps/*.h5 -k deletion -k n-ord:steps=all --baseline black,blur
xaicli explain m.safetensors --data shapes -m gradcam | xaicli evaluate - -k pointing-game
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "evaluate", examples=EXAMPLES, rich_help_panel="The five verbs")(evaluate)


def evaluate(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Any artifacts; the most derived kind is judged.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "-k",
            "--metric",
            metavar="NAME[:k=v,...]",
            autocompletion=complete("evaluate"),
            help="Metric; repeatable; the kind's usual ones by default.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Data instead of the checkpoint's own test split.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="LIST", help="What replaces pixels: black,white,mean,blur,noise,salt-pepper."
        ),
    ] = None,
    quantity: Annotated[
        str | None, typer.Option("--quantity", metavar="Q", help="Quantity for all metrics instead of each one's own.")
    ] = None,
    reduce: Annotated[
        str,
        typer.Option("--reduce", metavar="auto|sum|abs-sum|max", help="How a map's channels become one value a pixel."),
    ] = "auto",
    *,
    common: Reading,
) -> int:
    """Judge checkpoints, attacked images or attributions: a scores store, and a record per metric with its interval."""
    for text in metric or ():
        parse_spec("evaluate", text)
    from xaicli.files.sources import gather

    settings, found = common.settings, gather(sources)  # mistakes show before torch is imported
    from xaicli.evaluate.run import evaluate
    from xaicli.evaluate.subject import Request

    baselines = [name.strip() for name in baseline.split(",")] if baseline else []
    request = Request(found, metric or (), data, quantity, baselines, reduce)
    return produce(settings, 1, ".h5", lambda settings: evaluate(request, settings))
