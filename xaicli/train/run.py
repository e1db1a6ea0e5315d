"""One train command: data, architecture and recipe in, a checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from xaicli.attack.gradient import pgd
from xaicli.attack.plan import Attack
from xaicli.data.dataset import Dataset
from xaicli.data.open import open_data
from xaicli.data.splits import SPLIT_SEED
from xaicli.errors import UsageError
from xaicli.files.checkpoint import CheckpointMeta, read_meta, write_checkpoint
from xaicli.files.record import Record, artifact_record, plain_record
from xaicli.methods import Spec
from xaicli.models.arch import Arch, build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.load import lay_out
from xaicli.models.state import state_arrays
from xaicli.run.device import memory_guard, prepare
from xaicli.run.job import Job, make_job
from xaicli.run.outputs import Named, finished, place
from xaicli.run.settings import Settings
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model

DEFAULT_BATCH = 64
DEFAULT_EPOCHS = 15


@dataclass(frozen=True)
class Request:
    """What the user asked of `train`."""

    data: str
    arch: str
    recipe: Spec
    epochs: int = DEFAULT_EPOCHS
    physical_batch: int | None = None
    shape: tuple[int, int, int] | None = None


def train(request: Request, settings: Settings) -> Iterator[Record]:
    """Train and yield the checkpoint's record."""
    if settings.limit is not None or settings.per_class is not None:
        raise UsageError("train uses all of its data; leave --limit and --per-class out.")
    arch = parse_arch(request.arch)
    splits = {
        name: open_data(request.data, split=name, shape=request.shape, root=settings.data_root) for name in SPLITS
    }
    fit, test = splits["fit"], splits["test"]
    schedule = Schedule(
        request.epochs,
        settings.batch_size or DEFAULT_BATCH,
        request.physical_batch or settings.batch_size or DEFAULT_BATCH,
        settings.seed,
    )
    data = {
        "name": fit.name,
        "split": "train",
        "digest": fit.digest,
        "test_digest": test.digest,
        "split_seed": SPLIT_SEED,
    }
    job = _job(request, arch, settings, schedule, data, fit)
    stem = f"{fit.name.replace('folder:', '')}-{arch.slug}-{request.recipe.name}"
    (path,) = place([Named(job, stem, ".safetensors")], settings)
    if settings.dry_run:
        rows = len(fit) * request.epochs
        yield plain_record("info", path=str(path), method=request.recipe.name, rows=len(fit), forwards=rows)
        return
    done = finished(path, job, settings)
    if done is None:
        device = prepare(settings)
        with memory_guard(schedule.physical_batch):
            meta, tensors = _fit(request, arch, schedule, splits, job, data, device, stem)
        id = write_checkpoint(path, tensors, meta)
    else:
        meta, id = read_meta(path)
    parents: dict[str, Any] = {"data": {**data, "path": str(fit.path)} if fit.path else data}
    yield artifact_record(
        kind="checkpoint",
        path=str(path),
        id=id,
        verb="train",
        method=request.recipe.name,
        options=job.document["options"],
        rows=len(fit),
        failed=0,
        parents=parents,
        metrics=meta.metrics,
    )


SPLITS = ("fit", "val", "test")


def _job(
    request: Request, arch: Arch, settings: Settings, schedule: Schedule, data: dict[str, Any], fit: Dataset
) -> Job:
    extra = {
        "arch": arch.identity,
        "epochs": request.epochs,
        "shape": list(fit.shape),
        "physical_batch": schedule.physical_batch,
    }
    whole = replace(settings, batch_size=schedule.batch_size)
    job = make_job("train", request.recipe, {"data": data}, whole, block=0, extra=extra)
    ordinary = (request.epochs, schedule.batch_size, schedule.physical_batch, settings.seed, request.shape)
    changed = bool(request.recipe.changed) or "=" in request.arch
    default = ordinary == (DEFAULT_EPOCHS, DEFAULT_BATCH, DEFAULT_BATCH, 0, None)
    return Job(job.document, suffix=changed or not default)


def _fit(
    request: Request,
    arch: Arch,
    schedule: Schedule,
    splits: dict[str, Dataset],
    job: Job,
    data: dict[str, Any],
    device: torch.device,
    text: str,
) -> tuple[CheckpointMeta, dict[str, Any]]:
    fit = splits["fit"]
    attack = _threat(request.recipe)
    mean, std = Pixels(fit).moments()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)
        network = build_network(arch, len(fit.classes), fit.channels, (fit.height, fit.width))
        classifier = lay_out(Classifier(network, mean, std, fit.classes, fit.shape), device)
        judge = Judge(splits["val"], attack, schedule.seed)
        trained = train_model(classifier, fit, judge, request.recipe, schedule, f"train {text}")
    classifier.load_state_dict(trained.state)
    metrics = dict(trained.history[trained.best_epoch - 1])
    metrics = {"epoch": trained.best_epoch, **{k: v for k, v in metrics.items() if k.startswith("val_")}}
    metrics |= Judge(splits["test"], attack, schedule.seed, prefix="test_").figures(classifier)
    meta = CheckpointMeta(
        job=job.document,
        job_id=job.id,
        arch=arch.record,
        classes=fit.classes,
        shape=fit.shape,
        mean=mean,
        std=std,
        data=data,
        recipe={"name": request.recipe.name, "options": request.recipe.record},
        epochs=request.epochs,
        metrics=metrics,
        history=tuple(trained.history),
        threat={"norm": attack.norm, "eps": attack.eps} if attack else None,
        lineage=(job.document,),
        versions=job.document["versions"],
    )
    return meta, state_arrays(classifier)


def _threat(recipe: Spec) -> Attack | None:
    """The attack that held-out data is judged under: the recipe's own threat model, None for recipes without one."""
    options: dict[str, Any] = recipe.options
    if "eps" not in options:
        return None
    return pgd(**{name: options[name] for name in ("norm", "eps", "step", "steps")})
