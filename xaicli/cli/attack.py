"""`xaicli attack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xaicli.cli.completion import complete
from xaicli.cli.options import Reading, chosen, command
from xaicli.cli.whole import produce
from xaicli.errors import InputError, UsageError
from xaicli.specs import parse_spec

EXAMPLES = """
xaicli attack digits-cnn-standard.safetensors -a pgd:eps=8/255
xaicli attack m.safetensors -a pgd:norm=l2,eps=0.5,steps=40,restarts=5 -n 1000 -o pgd.h5
xaicli attack m.safetensors -a pgd:eps=4/255 --sanity --transfer-to other.safetensors
xaicli attack standard.safetensors robust.safetensors -a fgsm -a pgd -a deepfool -a uniform-noise -o attacks/
xaicli attack bayesian.safetensors -a pgd:eps=4/255,draws=10
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
    transfer_to: Annotated[
        list[Path] | None,
        typer.Option(
            "--transfer-to", metavar="CHECKPOINT", help="Try the images on another checkpoint as well; repeatable."
        ),
    ] = None,
    sanity: Annotated[
        bool,
        typer.Option("--sanity", help="Check on a few rows whether the attack's numbers can be trusted; it is stored."),
    ] = False,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", metavar="float32|uint8", help="Type of the stored images; uint8 is judged after rounding."
        ),
    ] = "float32",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="float32|bf16",
            help="bf16 searches in bfloat16; verdicts are float32's all the same.",
        ),
    ] = "float32",
    *,
    common: Reading,
) -> int:
    """Look for small changes that make a model err: one images store per checkpoint and attack."""
    specs = [parse_spec("attack", text) for text in attack]
    if len({str(spec) for spec in specs}) < len(specs):
        raise UsageError("the same attack with the same options is given twice; give it once.")
    chosen("--dtype", dtype, ("float32", "uint8"))
    chosen("--precision", precision, ("float32", "bf16"))
    from xaicli.files.artifact import identify
    from xaicli.files.sources import gather

    judges = {judge.id: judge for judge in map(identify, transfer_to or ())}
    for judge in judges.values():
        if judge.kind != "checkpoint":
            raise InputError(f"--transfer-to '{judge.path}' holds {judge.kind}; name a checkpoint.")
    settings, found = common.settings, gather(sources)  # mistakes show before torch is imported
    from xaicli.attack.run import Request
    from xaicli.attack.run import attack as run

    request = Request(found, specs, data, dtype, precision, tuple(judges.values()), sanity)
    return produce(settings, len(specs) * found.cases, ".h5", lambda settings: run(request, settings))
