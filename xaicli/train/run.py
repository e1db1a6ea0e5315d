"""One train command: data, architecture and recipe in, a checkpoint out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xaicli.files.checkpoint import Checkpoint, CheckpointMeta, read_meta, write_checkpoint
from xaicli.files.record import Record, artifact_record, plain_record
from xaicli.models.arch import build_network
from xaicli.models.classifier import Classifier
from xaicli.models.detectors.table import is_fitted
from xaicli.models.head import find_head
from xaicli.models.load import lay_out
from xaicli.models.state import state_arrays
from xaicli.run.device import memory_guard, prepare
from xaicli.run.outputs import Named, finished, place
from xaicli.run.progress import say
from xaicli.run.settings import Settings
from xaicli.run.stop import STOP
from xaicli.train.freezing import freeze
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, train_model
from xaicli.train.plan import Planned, Request, plan
from xaicli.train.private.record import THRESHOLD
from xaicli.train.private.secret import Secret
from xaicli.train.private.start import Start, start_private
from xaicli.train.private.statement import statement
from xaicli.train.rejecting import fit_rejection, rehearse
from xaicli.train.savepoint import Savepoint, clear_away, find_savepoint
from xaicli.train.state import random_devices
from xaicli.train.uncertain import make_uncertain


def train(request: Request, settings: Settings) -> Iterator[Record]:
    """Train and yield the checkpoint's record."""
    planned = plan(request, settings)
    fit, data = planned.splits["fit"], planned.data
    stem = f"{fit.name.replace('folder:', '')}-{planned.arch.slug}-{request.recipe.name}"
    (path,) = place([Named(planned.job, stem, ".safetensors")], settings)
    done = finished(path, planned.job, settings)
    savepoint = find_savepoint(path, planned.job.id, force=settings.force or done is not None)
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
    if planned.source is not None:
        parents["checkpoint"] = planned.source.record
    yield artifact_record(
        kind="checkpoint",
        path=str(path),
        id=id,
        verb="train",
        method=request.recipe.name,
        options=planned.job.document["options"],
        rows=len(fit),
        failed=0,
        parents=parents,
        metrics=meta.metrics,
    )


def _forecast(planned: Planned, path: Path, savepoint: Savepoint, is_done: bool) -> Record:
    """What the training takes in all, judging aside, and what is left of it."""
    order = planned.order
    return plain_record(
        "info",
        path=str(path),
        method=planned.request.recipe.name,
        rows=planned.rows,
        epochs=order.epochs,
        steps=order.steps,
        forwards=order.drawn * planned.forwards,
        epochs_left=0 if is_done else order.epochs - savepoint.epochs_done,
        resume=str(savepoint.path) if savepoint.found is not None else None,
    )


def _make(planned: Planned, path: Path, savepoint: Savepoint, settings: Settings) -> tuple[CheckpointMeta, str]:
    """Train and publish the checkpoint: its metadata and its id."""
    clear_away(path)
    device = prepare(settings)
    with memory_guard(planned.schedule.physical_batch, "--physical-batch"):
        pixels = Pixels(planned.splits["fit"])
        with STOP.shielded(), torch.random.fork_rng(random_devices(device)):  # a wish to stop waits for the savepoint
            meta, tensors = _fit(planned, pixels, device, savepoint)
            id = write_checkpoint(path, tensors, meta)
            savepoint.remove()
    for line in statement(meta.privacy) if meta.privacy is not None else ():
        say(line)
    return meta, id


def _fit(
    planned: Planned, pixels: Pixels, device: torch.device, savepoint: Savepoint
) -> tuple[CheckpointMeta, dict[str, Any]]:
    request, schedule, fit, job = planned.request, planned.schedule, pixels.dataset, planned.job
    attack, source = planned.attack, planned.source
    mean, std = pixels.moments() if source is None else (source.meta.mean, source.meta.std)
    torch.manual_seed(schedule.seed)
    classifier = lay_out(Classifier(_network(planned), mean, std, fit.classes, fit.shape), device)
    freeze(classifier, request.freeze)
    if (asked := request.rejecting) is not None and is_fitted(asked.spec.name):
        rehearse(asked, find_head(classifier.eval()), planned.rows)
    uncertain = make_uncertain(classifier, planned.arch, request.recipe, len(fit))
    private = _private(planned, classifier, savepoint)
    judge = Judge(planned.splits["val"], attack, schedule.seed)
    text = f"train {fit.name} {planned.arch.slug} {request.recipe.name}"
    way = private.way if private is not None else None
    training = train_model(classifier, pixels, judge, request.recipe, schedule, text, savepoint, planned.watchdog, way)
    kept = training.history[training.best_epoch - 1]
    metrics = {"epoch": training.best_epoch, **{k: v for k, v in kept.items() if k.startswith("val_")}}
    classifier.load_state_dict(training.best)
    with savepoint.judging(training):  # a stop saves the best weights as the last ones, which nobody needs any more
        metrics |= Judge(planned.splits["test"], attack, schedule.seed, prefix="test_").figures(classifier)
    if private is not None:
        metrics |= {name: private.record[name] for name in ("epsilon", "delta")}
    changes = uncertain.changes
    if private is not None:
        changes = replace(changes, norms=(*changes.norms, *private.replaced))
    privacy = private.record if private is not None else None
    if privacy is not None and asked is not None:
        privacy = {**privacy, "not_covered": [*privacy["not_covered"], THRESHOLD]}
    meta = CheckpointMeta(
        job=job.document,
        job_id=job.id,
        arch=replace(planned.arch, changes=changes).record,
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
        privacy=privacy,
        posterior=uncertain.posterior,
        lineage=(*(source.meta.lineage if source is not None else ()), job.document),
        versions=job.document["versions"],
    )
    tensors = state_arrays(classifier) | (planned.canaries.arrays if planned.canaries is not None else {})
    if asked is None:
        return meta, tensors
    with savepoint.judging(training):
        rejection = fit_rejection(asked, Checkpoint(Path(), "", meta, tensors), planned.splits, device)
    say(rejection.line)
    meta = replace(meta, rejection=rejection.record, metrics={**metrics, **rejection.metrics})
    return meta, tensors | rejection.arrays


def _network(planned: Planned) -> nn.Module:
    fit = planned.splits["fit"]
    if planned.source is not None:
        return planned.source.network(fit)
    return build_network(planned.arch, len(fit.classes), fit.channels, (fit.height, fit.width))


def _private(planned: Planned, classifier: Classifier, savepoint: Savepoint) -> Start | None:
    """A private training goes on with the key and the noise that it was begun with, whatever would be chosen now."""
    budget, options = planned.budget, planned.request.options
    if budget is None:
        return None
    seeded = options["noise"] == "seeded"
    if not savepoint.fixed:
        secret = Secret.from_seed(planned.schedule.seed, planned.job.id) if seeded else Secret.fresh()
        savepoint.fixed = {"key": secret.key, "noise_multiplier": budget.noise_multiplier, "steps": budget.steps}
    fixed = savepoint.fixed
    budget = replace(budget, noise_multiplier=float(fixed["noise_multiplier"]), steps=int(fixed["steps"]))
    source = planned.source.meta if planned.source is not None else None
    secret = Secret(str(fixed["key"]), seeded)
    return start_private(classifier, budget, secret, options["multiplicity"], planned.canaries, source)
