"""`xaicli store`: look into artifacts, verify them, compare them; merge and export have files of their own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaicli.cli.options import Display, command
from xaicli.cli.output import OUTPUT
from xaicli.cli.store_export import EXAMPLES as EXAMPLES_EXPORT
from xaicli.cli.store_export import export
from xaicli.cli.store_merge import EXAMPLES as EXAMPLES_MERGE
from xaicli.cli.store_merge import merge
from xaicli.errors import UsageError
from xaicli.files.record import plain_record

if TYPE_CHECKING:
    from xaicli.files.artifact import Artifact

EXAMPLES_INFO = """
xaicli store info digits-cnn-standard.safetensors
xaicli store info maps/*.h5 --format json | jq .rows
"""
EXAMPLES_VERIFY = """
xaicli store verify maps/*.h5
xaicli store verify model.safetensors || echo damaged
"""
EXAMPLES_DIFF = """
xaicli store diff a.h5 b.h5
xaicli store diff a.h5 b.h5 --tolerance 1e-5
"""

Paths = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Checkpoints or stores.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    store = typer.Typer(no_args_is_help=True, help="Look into artifacts, verify, compare, merge and export them.")
    command(store, "info", examples=EXAMPLES_INFO)(info)
    command(store, "verify", examples=EXAMPLES_VERIFY)(verify)
    command(store, "diff", examples=EXAMPLES_DIFF)(diff)
    command(store, "merge", examples=EXAMPLES_MERGE)(merge)
    command(store, "export", examples=EXAMPLES_EXPORT)(export)
    app.add_typer(store, name="store", rich_help_panel="Helpers")


def info(files: Paths, *, display: Display) -> None:
    """Say what files are and what they were made from, reading structure and header only."""
    for path in files:
        artifact, details = _look(path)
        OUTPUT.record(
            plain_record(
                "info",
                path=str(path),
                artifact=artifact.kind,
                id=artifact.id,
                job_id=artifact.job_id,
                verb=artifact.job.get("verb"),
                method=artifact.job.get("method"),
                options=artifact.job.get("options"),
                parents=artifact.parents,
                **details,
                versions=artifact.job.get("versions"),
            )
        )


def _look(path: Path) -> tuple[Artifact, dict[str, object]]:
    """What a file is, and what only its kind has to say; it is opened once."""
    from xaicli.files.artifact import identify, of_store
    from xaicli.files.signature import signature

    if path.is_file() and signature(path) == "store":
        from xaicli.files.store import open_store

        with open_store(path) as store:
            shapes = {name: list(store.shape(name)) for name in store.columns}
            history = [step.get("verb") for step in store.history]
            return of_store(store), {"rows": store.rows, "columns": shapes, "history": history}
    artifact = identify(path)
    from xaicli.files.checkpoint import read_meta
    from xaicli.train.private.statement import statement

    meta, _ = read_meta(path)
    promise = {"statement": "\n".join(statement(meta.privacy))} if meta.privacy is not None else {}
    return artifact, {
        "arch": meta.arch["name"],
        "classes": list(meta.classes),
        "shape": list(meta.shape),
        "epochs": meta.epochs,
        "metrics": meta.metrics,
        "threat": meta.threat,
        "privacy": meta.privacy,
        "posterior": meta.posterior,
        "rejection": meta.rejection,
        **promise,
    }


def verify(files: Paths, *, display: Display) -> int:
    """Check every byte that a reader would see; exit 65 at the first damaged file."""
    from xaicli.files.artifact import identify
    from xaicli.files.checkpoint import read_checkpoint
    from xaicli.files.store import open_store

    for path in files:
        artifact = identify(path)
        if artifact.kind == "checkpoint":
            read_checkpoint(path)
        else:
            with open_store(path) as store:
                store.verify()
        OUTPUT.record(plain_record("check", path=str(path), artifact=artifact.kind, id=artifact.id, ok=True))
    return 0


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A checkpoint or store.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind.")],
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Largest absolute difference that still counts as equal.")
    ] = 0.0,
    *,
    display: Display,
) -> int:
    """Compare two artifacts part by part; exit 0 when equal, 65 when they differ."""
    from xaicli.files.difference import compare

    if math.isnan(tolerance):
        raise UsageError("--tolerance is not a number; use 0 or more.")
    differences = compare(first, second, tolerance)
    for difference in differences:
        OUTPUT.record(plain_record("difference", **difference))
    return 65 if differences else 0
