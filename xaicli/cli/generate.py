"""`xaicli generate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.options import Reading, command
from xaicli.cli.whole import produce
from xaicli.errors import UsageError
from xaicli.files.record import MAP_KINDS, Record
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec

EXAMPLES = """
xaicli generate shapes-cnn-adversarial.safetensors -g class-images --png
xaicli generate standard.safetensors robust.safetensors -g class-images --classes circle,star --png -o images/
xaicli explain robust.safetensors -m influence -n 200 | xaicli generate - -g class-images:guide=experts --png
xaicli generate standard.safetensors robust.safetensors -g inversion --per-class 1 --png -o inverted/
xaicli generate robust.safetensors -g feature-visualisation:parameterisation=maco,objective=channel,units=0,1,2 --png
xaicli generate robust.safetensors -g counterfactual:target=star,confidence=0.9 --classes circle --png
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "generate", examples=EXAMPLES, rich_help_panel="The five verbs")(generate)


def generate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Checkpoints, with attributions or images if the generator uses them."
        ),
    ],
    generator: Annotated[
        list[str],
        typer.Option(
            "-g",
            "--generator",
            metavar="NAME[:k=v,...]",
            autocompletion=complete("generate"),
            help="Generator; repeatable.",
        ),
    ],
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="LIST", help="Classes by name or index; all by default.")
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="A contact sheet beside each store, and one of all checkpoints.")
    ] = False,
    *,
    common: Reading,
) -> int:
    """Make images that show what a model has learned: one images store per checkpoint and generator."""
    specs = [parse_spec("generate", text) for text in generator]
    if png and common.output == "-":
        raise UsageError("--png writes beside the store, which '-o -' sends to standard output; name a file with -o.")
    from xaicli.files.sources import gather

    chosen, found = common.settings, gather(sources)  # mistakes show before torch is imported
    from xaicli.generate.run import Request, generate

    request = Request(found, specs, classes)

    def work(settings: Settings) -> Iterator[Record]:
        made = []
        for record in generate(request, settings):
            if record["kind"] == "images":
                made.append(Path(record["path"]))
            yield record
        if png and made:
            from xaicli.files.parents import Parents
            from xaicli.report.generated import write_sheets

            write_sheets(made, Parents(found, settings.parents), settings)

    given = found.of_kind("checkpoint") or found.of_kind(*MAP_KINDS)
    results = len(specs) * max(len(given), 1)
    return produce(chosen, results, ".h5", work)
