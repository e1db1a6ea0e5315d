"""One generate command: every checkpoint with every generator a store of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xaicli.errors import UsageError
from xaicli.explain.quantity import parse_class
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import read_meta
from xaicli.files.columns import UNKNOWN_LABEL, Column, Status, generate_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import MAP_KINDS, Record
from xaicli.files.sources import Sources
from xaicli.generate.ascend import ascend
from xaicli.generate.figures import figures
from xaicli.generate.subject import Generator, Ready, Subject
from xaicli.run.blocks import MAX_FORWARDS, Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Rows
from xaicli.run.job import make_job
from xaicli.run.posterior import open_calls, usual_draws
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.settings import Settings
from xaicli.specs import Spec


@dataclass(frozen=True)
class Request:
    """What the user asked of `generate`."""

    sources: Sources
    generators: Sequence[Spec]
    classes: str | None = None


def generate(request: Request, settings: Settings) -> Iterator[Record]:
    """Generate and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    subjects = _subjects(request, parents, settings)
    groups = [_group(subject, spec) for subject in subjects for spec in request.generators]
    yield from produce(groups, settings)


def _subjects(request: Request, parents: Parents, settings: Settings) -> list[Subject]:
    """The checkpoints given, or those of the stores given; a store of maps or images goes with each of them."""
    maps, images = request.sources.of_kind(*MAP_KINDS), request.sources.of_kind("images")
    checkpoints = request.sources.of_kind("checkpoint")
    if not checkpoints and not maps:
        raise UsageError("no checkpoint and no attributions store among the sources; name at least one.")
    if len(images) > 1:
        raise UsageError("one images store can be the start; give one.")
    pairs: list[tuple[Artifact, Artifact | None]]
    if not checkpoints:
        pairs = [(parents.find("checkpoint", str(m.parents["checkpoint"]), m), m) for m in maps]
    elif len(maps) > 1:
        raise UsageError(
            "several attributions stores and a checkpoint were given; give the stores alone, or one of them."
        )
    else:
        pairs = [(checkpoint, maps[0] if maps else None) for checkpoint in checkpoints]
    image = images[0] if images else None
    return [_subject(checkpoint, m, image, request.classes, parents, settings) for checkpoint, m in pairs]


def _subject(
    checkpoint: Artifact,
    maps: Artifact | None,
    images: Artifact | None,
    classes: str | None,
    parents: Parents,
    settings: Settings,
) -> Subject:
    meta, _ = read_meta(checkpoint.path)
    names = classes.split(",") if classes else [str(number) for number in range(len(meta.classes))]
    wanted = list(dict.fromkeys(parse_class(name, meta.classes) for name in names))
    return Subject(checkpoint, meta, maps, images, wanted, parents, settings)


def _group(subject: Subject, spec: Spec) -> Group:
    generator: Generator = spec.method.load()(**spec.options)
    meta, settings = subject.meta, subject.settings
    if generator.of_classes and settings.limit is not None:
        raise UsageError(
            f"generate makes --per-class images of each class; leave --limit out, which '{spec.name}' does not take."
        )
    order = generator.order(subject, str(spec))
    ids: dict[str, Any] = {"checkpoint": subject.checkpoint.id, "data": order.data}
    shown: dict[str, Any] = {"checkpoint": _place(subject.checkpoint), "data": order.data}
    for role, parent in order.parents.items():
        ids[role], shown[role] = parent.id, _place(parent)
    # a call has so many rows however few the block holds: a smaller block would leave them empty
    block = auto_block(min(generator.forwards, max(MAX_FORWARDS // settings.call_rows, 1)), settings.block)
    extra: dict[str, Any] = {"classes": subject.wanted}
    draws = 0 if generator.looks_inside else usual_draws(meta)
    if meta.posterior is not None:
        extra["draws"] = draws
    job = make_job(
        "generate", spec, ids, settings, block=block, extra=extra, defaults={} if subject.every else {"classes": None}
    )
    layout = StoreLayout(
        kind="images",
        job=job.document,
        history=(*subject.checkpoint.history, job.document),
        rows=len(order.inputs),
        block=block,
        columns=generate_columns(
            shape=meta.shape,
            classes=len(meta.classes),
            key_length=order.inputs.longest_key,
            steps=generator.steps + 1,
            dtype=order.dtype,
            extra=(Column("steps", "<u4"), *order.columns),
        ),
        attributes={"classes": list(meta.classes), "forwards": generator.forwards, **order.attributes},
    )

    def start() -> Compute:
        device = prepare(settings)
        calls = open_calls(subject.checkpoint.path, device=device, settings=settings, draws=draws)
        with memory_guard(settings.call_rows):
            ready = generator.ready(subject, order, calls)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                return {0: Result(_columns(ready, rows, calls))}

        return compute

    stem = next((one.stem for one in order.parents.values() if one.kind in MAP_KINDS), subject.checkpoint.stem)
    plan = Planned(job, f"{stem}.{spec.name}", layout, generator.forwards, shown, metrics=figures)
    return Group(order.inputs, [plan], start, f"generate {stem} ({spec.name})")


def _place(artifact: Artifact) -> dict[str, str]:
    return {"id": artifact.id, "path": str(artifact.path)}


def _columns(ready: Ready, rows: Rows, calls: Calls) -> Columns:
    """What is stored of some rows; one whose score or logits are not finite has failed."""
    task = ready.task(rows)
    made = ascend(ready.plan, calls, task)
    own = ready.columns(rows, task, made)
    logits, score = made.logits.float().cpu().numpy(), made.score.float().cpu().numpy()
    finite = np.isfinite(logits).all(axis=1) & np.isfinite(score)
    status = own.get("status", np.full(len(rows), Status.OK, dtype=np.uint8))
    images = made.images.float().cpu()
    if ready.plan.levels:
        images = (images.nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8)
    return {
        "data": images.numpy(),
        "prediction": logits,
        "target": np.full(len(rows), UNKNOWN_LABEL, dtype=np.uint16),
        "score": score,
        "loss": made.loss.float().cpu().numpy(),
        "steps": made.steps.cpu().numpy().astype(np.uint32),
        **own,
        "status": np.where(finite, status, Status.NON_FINITE).astype(np.uint8),
    }
