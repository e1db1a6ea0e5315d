"""One generate command: every checkpoint with every generator a store of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xaicli.errors import InputError, UsageError
from xaicli.explain.quantity import parse_class
from xaicli.files.artifact import Artifact
from xaicli.files.checkpoint import CheckpointMeta, read_meta
from xaicli.files.columns import Status, generate_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import MAP_KINDS, Record
from xaicli.files.sources import Sources
from xaicli.files.store import open_store
from xaicli.generate.ascend import ascend
from xaicli.generate.class_images import Ascent
from xaicli.generate.figures import figures
from xaicli.generate.guide import class_weights
from xaicli.generate.starts import Draw, Starts, gaussian_draw, given_draw, make_starts, noise_draw
from xaicli.methods import Spec
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import reopen_data
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.job import make_job
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.settings import Settings
from xaicli.run.stored import open_stored_images

DEFAULT_EACH = 8


@dataclass(frozen=True)
class Request:
    """What the user asked of `generate`."""

    sources: Sources
    generators: Sequence[Spec]
    classes: str | None = None


@dataclass(frozen=True)
class Subject:
    """One checkpoint and what came with it."""

    checkpoint: Artifact
    meta: CheckpointMeta
    attributions: Artifact | None
    images: Artifact | None
    wanted: list[int]


def generate(request: Request, settings: Settings) -> Iterator[Record]:
    """Generate and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    if settings.limit is not None:
        raise UsageError("generate makes --per-class images of each class; leave --limit out.")
    subjects = _subjects(request, parents)
    groups = [_group(subject, spec, parents, settings) for subject in subjects for spec in request.generators]
    yield from produce(groups, settings)


def _subjects(request: Request, parents: Parents) -> list[Subject]:
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
    return [_subject(checkpoint, m, images[0] if images else None, request.classes) for checkpoint, m in pairs]


def _subject(checkpoint: Artifact, maps: Artifact | None, images: Artifact | None, classes: str | None) -> Subject:
    meta, _ = read_meta(checkpoint.path)
    names = classes.split(",") if classes else [str(number) for number in range(len(meta.classes))]
    wanted = list(dict.fromkeys(parse_class(name, meta.classes) for name in names))
    return Subject(checkpoint, meta, maps, images, wanted)


def _group(subject: Subject, spec: Spec, parents: Parents, settings: Settings) -> Group:
    ascent: Ascent = spec.method.load()(**spec.options)
    if ascent.guide == "mask" and subject.attributions is None:
        raise UsageError(f"'{spec}' is guided by attributions; give an attributions store as a SOURCE.")
    if ascent.start == "images" and subject.images is None:
        raise UsageError(f"'{spec}' starts from images; give an images store as a SOURCE.")
    guide = subject.attributions if ascent.guide == "mask" else None
    starts = _starts(subject, ascent, parents, settings)
    inputs = Inputs(starts, np.arange(len(starts), dtype=np.int64))
    ids: dict[str, Any] = {"checkpoint": subject.checkpoint.id, "data": subject.meta.data}
    shown: dict[str, Any] = {"checkpoint": _place(subject.checkpoint), "data": subject.meta.data}
    for role, parent in (("attributions", guide), ("images", subject.images if ascent.start == "images" else None)):
        if parent is not None:
            ids[role], shown[role] = parent.id, _place(parent)
    forwards = ascent.steps + 1
    block = auto_block(forwards, settings.block)
    every = subject.wanted == list(range(len(subject.meta.classes)))
    extra = {"classes": subject.wanted}
    job = make_job(
        "generate", spec, ids, settings, block=block, extra=extra, defaults={} if every else {"classes": None}
    )
    layout = StoreLayout(
        kind="images",
        job=job.document,
        history=(*subject.checkpoint.history, job.document),
        rows=len(inputs),
        block=block,
        columns=generate_columns(
            shape=subject.meta.shape,
            classes=len(subject.meta.classes),
            key_length=inputs.longest_key,
            steps=ascent.steps + 1,
        ),
        attributes={"classes": list(subject.meta.classes), "forwards": forwards},
    )

    def ready() -> Compute:
        device = prepare(settings)
        classifier = load_classifier(subject.checkpoint.path, device=device, arch=settings.arch)
        calls = Calls(classifier, batch_size=settings.call_rows)
        weights = None
        if guide is not None:
            with open_store(guide.path) as store:
                weights = class_weights(store, subject.wanted)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                return {0: Result(_columns(ascent, starts, rows, calls, weights))}

        return compute

    stem = (guide or subject.checkpoint).stem
    plan = Planned(job, f"{stem}.{spec.name}", layout, forwards, shown, metrics=figures)
    return Group(inputs, [plan], ready, f"generate {stem} ({spec.name})")


def _place(artifact: Artifact) -> dict[str, str]:
    return {"id": artifact.id, "path": str(artifact.path)}


def _starts(subject: Subject, ascent: Ascent, parents: Parents, settings: Settings) -> Starts:
    each = settings.per_class or DEFAULT_EACH
    meta = subject.meta
    draw: Draw
    begun: npt.NDArray[np.int64] | None = None
    if ascent.start == "images" and subject.images is not None:
        images = open_stored_images(subject.images.path)
        if images.shape != tuple(meta.shape):
            raise InputError(f"the start images of '{subject.images.path.name}' do not have the checkpoint's size.")
        name, digest, draw = images.name, images.digest, given_draw(images, each)
        begun = images.index[:each]
    elif ascent.start == "noise":
        name, digest, draw = "noise", "", noise_draw(meta.shape, settings.seed)
    else:
        recorded = dict(meta.data or {})
        if not recorded.get("name"):
            raise UsageError(
                f"'{subject.checkpoint.path.name}' does not say what data it was trained on; use start=noise."
            )
        training = reopen_data({**recorded, "split": "train"}, meta.shape, parents, settings)
        name, digest = training.name, training.digest
        draw = gaussian_draw(training, subject.wanted, settings.seed)
    return make_starts(
        draw,
        name=name,
        digest=digest,
        classes=meta.classes,
        wanted=subject.wanted,
        each=each,
        shape=meta.shape,
        begun=begun,
    )


def _columns(ascent: Ascent, starts: Starts, rows: Rows, calls: Calls, weights: Mapping[int, Any] | None) -> Columns:
    start = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
    target = torch.as_tensor(rows.labels).to(calls.device)
    guide = None
    if weights is not None:
        guide = torch.as_tensor(np.stack([weights[int(label)] for label in rows.labels])[:, None]).to(start)
    done = ascend(ascent, calls, start, target, guide)
    logits = done.logits.float().cpu().numpy()
    status = np.full(len(rows), Status.OK, dtype=np.uint8)
    status[~np.isfinite(logits).all(axis=1)] = Status.NON_FINITE
    return {
        "data": (done.images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy(),
        "prediction": logits,
        "target": rows.labels.astype(np.uint16),
        "start": starts.origin[rows.positions],
        "score": done.score.float().cpu().numpy(),
        "loss": done.loss.float().cpu().numpy(),
        "status": status,
    }
