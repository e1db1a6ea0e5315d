"""`xaicli evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.options import Reading, command
from xaicli.cli.whole import produce
from xaicli.errors import UsageError
from xaicli.files.record import Record
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec

EXAMPLES = """
xaicli evaluate digits-cnn-standard.safetensors
xaicli evaluate digits-cnn-standard.pgd.h5
xaicli evaluate digits-cnn-standard.safetensors -k open-set --unknown noise --unknown fashion-mnist
xaicli evaluate digits-cnn-private.safetensors -k audit -k membership
xaicli evaluate attacks/*.h5 -k robust-accuracy
xaicli evaluate maps/*.h5
xaicli evaluate maps/*.h5 -k deletion -k n-ord:steps=all --baseline black,blur
xaicli evaluate maps/*.h5 -k all --masks masks.npy --csv scores.csv --latex scores.tex
xaicli evaluate maps.scores.h5 --format table
xaicli evaluate standard.class-images.h5 robust.class-images.h5 --judge judge.safetensors
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
            help="Metric, or `all` that fit; repeatable; the kind's usual ones by default.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Data instead of the checkpoint's own test split.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="LIST", help="What replaces pixels: black,white,mean,blur,noise,salt-pepper,road."
        ),
    ] = None,
    quantity: Annotated[
        str | None, typer.Option("--quantity", metavar="Q", help="Quantity for all metrics instead of each one's own.")
    ] = None,
    reduce: Annotated[
        str,
        typer.Option("--reduce", metavar="auto|sum|abs-sum|max", help="How a map's channels become one value a pixel."),
    ] = "auto",
    masks: Annotated[
        Path | None,
        typer.Option("--masks", metavar="FILE", help="Object masks [N, H, W] of the data's rows: .npy, .npz or .h5."),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option("--judge", metavar="CHECKPOINT", help="Another checkpoint, which judges generated images."),
    ] = None,
    unknown: Annotated[
        list[str] | None,
        typer.Option("--unknown", metavar="DATA", help="Data that the checkpoint does not know; repeatable."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE.csv", help="The scores as a table too, a line for each.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option("--latex", metavar="FILE.tex", help="The scores for a paper too, with booktabs.")
    ] = None,
    *,
    common: Reading,
) -> int:
    """Judge checkpoints, images or attributions: a scores store, and a record per metric with its interval."""
    for text in metric or ():
        if text != "all":
            parse_spec("evaluate", text)
    baselines = _baselines(baseline)
    from xaicli.cli.paper import KINDS, Papers

    papers = Papers(csv, latex)
    if papers.wanted and not common.settings.shard.is_whole:
        raise UsageError("a shard has no scores for --csv and --latex; `xaicli evaluate` the merged store with them.")
    from xaicli.files.sources import gather

    settings, found = common.settings, gather(sources)  # mistakes show before torch is imported
    from xaicli.evaluate.run import evaluate
    from xaicli.evaluate.subject import Request

    request = Request(found, metric or (), data, quantity, baselines, reduce, masks, judge, unknown or ())

    def work(settings: Settings) -> Iterator[Record]:
        scores = []
        for record in evaluate(request, settings):
            yield record
            if record["kind"] in KINDS:
                scores.append(record)
        if scores:
            papers.write(scores)

    return produce(settings, 1, ".h5", work)


def _baselines(text: str | None) -> list[str]:
    """The names in --baseline."""
    names = [] if text is None else [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--baseline '{text}' is no list of names; write them with commas, such as black,blur.")
    return names
