"""One train command: data, architecture and recipe in, a checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
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
from xaicli.run.stop import STOP
from xaicli.train.judge import Judge
from xaicli.train.loop import Moments, Pixels, Schedule, train_model
from xaicli.train.savepoint import Savepoint, clear_away, find_savepoint
from xaicli.train.state import random_devices
from xaicli.train.watchdog import Watchdog

DEFAULT_BATCH = 64
DEFAULT_EPOCHS = 15
JUDGE_STEPS = 10


@dataclass(frozen=True)
class Request:
    """What the user asked of `train`."""

    data: str
    arch: str
    recipe: Spec
    epochs: int = DEFAULT_EPOCHS
    physical_batch: int | None = None
    shape: tuple[int, int, int] | None = None
    precision: str = "float32"


@dataclass(frozen=True)
class Planned:
    """One training before it starts: the request with all that it names looked up."""

    request: Request
    arch: Arch
    schedule: Schedule
    splits: Mapping[str, Dataset]
    data: dict[str, Any]
    job: Job

    @property
    def rows(self) -> int:
        """Images of one epoch."""
        return len(self.splits["fit"])

    @property
    def attack(self) -> Attack | None:
        """The attack that held-out data is judged under: the recipe's own threat model, if it has one."""
        options: dict[str, Any] = self.request.recipe.options
        if "eps" not in options:
            return None
        if "steps" not in options:  # a recipe of single steps, whose own attack would flatter it
            return pgd(norm=options["norm"], eps=options["eps"], steps=JUDGE_STEPS)
        return pgd(**{name: options[name] for name in ("norm", "eps", "step", "steps")})

    @property
    def watchdog(self) -> Watchdog | None:
        """What guards a recipe of single steps against catastrophic overfitting, if it wants that."""
        wanted = self.attack is not None and self.request.recipe.options.get("watchdog")
        return Watchdog(self.splits["val"], self.attack, self.schedule.seed) if self.attack and wanted else None

    @property
    def forwards(self) -> int:
        """Forwards per image and epoch, judging and roll-backs aside."""
        count = getattr(self.request.recipe.method.load(), "forwards", 1)
        if not callable(count):
            return int(count)
        options = self.request.recipe.options
        return int(count(**{name: options[name] for name in signature(count).parameters}))


def train(request: Request, settings: Settings) -> Iterator[Record]:
    """Train and yield the checkpoint's record."""
    if settings.limit is not None or settings.per_class is not None:
        raise UsageError("train uses all of its data; leave --limit and --per-class out.")
    if not settings.shard.is_whole:
        raise UsageError("train cannot be sharded: every step needs the one before; leave --shard out.")
    arch = parse_arch(request.arch)
    splits = {name: open_data(request.data, split=name, shape=request.shape, access=settings.access) for name in SPLITS}
    fit, test = splits["fit"], splits["test"]
    schedule = Schedule(
        request.epochs,
        settings.batch_size or DEFAULT_BATCH,
        request.physical_batch or settings.batch_size or DEFAULT_BATCH,
        settings.seed,
        request.precision,
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
    planned = Planned(request, arch, schedule, splits, data, job)
    done = finished(path, job, settings)
    savepoint = find_savepoint(path, job.id, request.epochs, force=settings.force or done is not None)
    if settings.dry_run:
        yield _forecast(planned, path, savepoint, done is not None)
        return
    if done is None:
        meta, id = _make(planned, path, savepoint, settings)
    else:
        meta, id = read_meta(path)
        if savepoint.found is not None:  # the last run was killed just before removing it
            savepoint.remove()
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
        "dtype": request.precision,
    }
    whole = replace(settings, batch_size=schedule.batch_size)
    job = make_job("train", request.recipe, {"data": data}, whole, block=0, extra=extra)
    chosen = (request.epochs, schedule.batch_size, schedule.physical_batch, settings.seed, request.shape)
    changed = bool(request.recipe.changed) or "=" in request.arch
    default = (*chosen, request.precision) == (DEFAULT_EPOCHS, DEFAULT_BATCH, DEFAULT_BATCH, 0, None, "float32")
    return Job(job.document, suffix=changed or not default)


def _forecast(planned: Planned, path: Path, savepoint: Savepoint, is_done: bool) -> Record:
    """What the training takes in all, judging aside, and what is left of it."""
    epochs = planned.request.epochs
    return plain_record(
        "info",
        path=str(path),
        method=planned.request.recipe.name,
        rows=planned.rows,
        epochs=epochs,
        steps=epochs * planned.schedule.steps(planned.rows, planned.request.recipe.options),
        forwards=epochs * planned.rows * planned.forwards,
        epochs_left=0 if is_done else epochs - savepoint.epochs_done,
        resume=str(savepoint.path) if savepoint.found is not None else None,
    )


def _make(planned: Planned, path: Path, savepoint: Savepoint, settings: Settings) -> tuple[CheckpointMeta, str]:
    """Train and publish the checkpoint: its metadata and its id."""
    clear_away(path)
    device = prepare(settings)
    with memory_guard(planned.schedule.physical_batch, "--physical-batch"):
        pixels = Pixels(planned.splits["fit"])
        moments = pixels.moments()
        with STOP.shielded(), torch.random.fork_rng(random_devices(device)):  # a wish to stop waits for the savepoint
            meta, tensors = _fit(planned, pixels, moments, device, savepoint)
            id = write_checkpoint(path, tensors, meta)
            savepoint.remove()
    return meta, id


def _fit(
    planned: Planned, pixels: Pixels, moments: Moments, device: torch.device, savepoint: Savepoint
) -> tuple[CheckpointMeta, dict[str, Any]]:
    request, arch, schedule, fit, job = planned.request, planned.arch, planned.schedule, pixels.dataset, planned.job
    attack, (mean, std) = planned.attack, moments
    torch.manual_seed(schedule.seed)
    network = build_network(arch, len(fit.classes), fit.channels, (fit.height, fit.width))
    classifier = lay_out(Classifier(network, mean, std, fit.classes, fit.shape), device)
    judge = Judge(planned.splits["val"], attack, schedule.seed)
    text = f"train {fit.name} {arch.slug} {request.recipe.name}"
    training = train_model(classifier, pixels, judge, request.recipe, schedule, text, savepoint, planned.watchdog)
    kept = training.history[training.best_epoch - 1]
    metrics = {"epoch": training.best_epoch, **{k: v for k, v in kept.items() if k.startswith("val_")}}
    classifier.load_state_dict(training.best)
    with savepoint.judging(training):  # a stop saves the best weights as the last ones, which nobody needs any more
        metrics |= Judge(planned.splits["test"], attack, schedule.seed, prefix="test_").figures(classifier)
    meta = CheckpointMeta(
        job=job.document,
        job_id=job.id,
        arch=arch.record,
        classes=fit.classes,
        shape=fit.shape,
        mean=mean,
        std=std,
        data=planned.data,
        recipe={"name": request.recipe.name, "options": request.recipe.record},
        epochs=request.epochs,
        metrics=metrics,
        history=tuple(training.history),
        threat={"norm": attack.norm, "eps": attack.eps} if attack else None,
        lineage=(job.document,),
        versions=job.document["versions"],
    )
    return meta, state_arrays(classifier)
