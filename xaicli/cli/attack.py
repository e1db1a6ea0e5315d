"""`xaicli attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.options import Reading, command
from xaicli.cli.whole import produce
from xaicli.errors import UsageError
from xaicli.methods import parse_spec

EXAMPLES = """
xaicli attack digits-cnn-standard.safetensors -a pgd:eps=8/255
xaicli attack m.safetensors -a pgd:norm=l2,eps=0.5,steps=40,restarts=5 -n 1000 -o pgd.h5
xaicli attack standard.safetensors robust.safetensors -a fgsm -a pgd -a uniform-noise -o attacks/
xaicli train --data digits | xaicli attack - -a pgd | xaicli evaluate -
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "attack", examples=EXAMPLES, rich_help_panel="The five verbs")(attack)


def attack(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Checkpoints, or - for records.")],
    attack: Annotated[
        list[str],
        typer.Option(
            "-a", "--attack", metavar="NAME[:k=v,...]", autocompletion=complete("attack"), help="Attack; repeatable."
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", metavar="DATA", help="Data instead of the checkpoint's own test split.")
    ] = None,
    *,
    common: Reading,
) -> int:
    """Look for small changes that make a model err: one images store per checkpoint and attack."""
    specs = [parse_spec("attack", text) for text in attack]
    if len({str(spec) for spec in specs}) < len(specs):
        raise UsageError("the same attack with the same options is given twice; give it once.")
    from xaicli.files.sources import gather

    settings, found = common.settings, gather(sources)  # mistakes show before torch is imported
    from xaicli.attack.run import Request
    from xaicli.attack.run import attack as run

    request = Request(found, specs, data)
    return produce(settings, len(specs) * found.cases, ".h5", lambda settings: run(request, settings))
