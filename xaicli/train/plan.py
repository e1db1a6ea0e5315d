"""One training before it starts: the request with all that it names looked up, and what it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from typing import Any

from xaicli.attack.gradient import pgd
from xaicli.attack.plan import Attack
from xaicli.data.cut import only_known, relabelled
from xaicli.data.dataset import Dataset
from xaicli.data.open import open_data
from xaicli.data.splits import SPLIT_SEED
from xaicli.errors import UsageError
from xaicli.models.arch import Arch, parse_arch
from xaicli.models.detectors.table import is_fitted
from xaicli.run.job import Job, make_job
from xaicli.run.progress import warn
from xaicli.run.settings import Settings
from xaicli.specs import Spec, parse_spec
from xaicli.train.canaries import Canaries, draw_canaries, with_canaries
from xaicli.train.known import Asked, known_of
from xaicli.train.loop import Schedule
from xaicli.train.order import Order
from xaicli.train.private.budget import Budget, plan_budget
from xaicli.train.private.noisy import Poisson
from xaicli.train.private.past import ledger_of, refuse_known_data
from xaicli.train.private.secret import Secret
from xaicli.train.source import Source, read_source
from xaicli.train.uncertain import KINDS, arch_of
from xaicli.train.watchdog import Watchdog

DEFAULT_ARCH = "cnn"
DEFAULT_BATCH = 64
PRIVATE_BATCH = 256  # noise is for the batch, so a larger one has a larger share of signal
DEFAULT_EPOCHS = 15
JUDGE_STEPS = 10
SPLITS = ("fit", "val", "test")
OF_PROBABILITIES = ("entropy", "msp", "max-logit")
"""Detectors for them: a mean of predictions has no features, and log probabilities have no energy but 0."""


@dataclass(frozen=True)
class Request:
    """What the user asked of `train`. `source`: the checkpoint to start from. `freeze`: layers, or `body`.

    known: the classes that it is shown, all if None. detector: by which the checkpoint will tell others.
    """

    data: str
    arch: str | None
    recipe: Spec
    epochs: int = DEFAULT_EPOCHS
    physical_batch: int | None = None
    shape: tuple[int, int, int] | None = None
    precision: str = "float32"
    source: str | None = None
    freeze: tuple[str, ...] = ()
    known: str | None = None
    detector: Asked | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The recipe's."""
        return self.recipe.options

    @property
    def is_private(self) -> bool:
        """Whether gradients are clipped and hidden in noise."""
        return "noise_multiplier" in self.options

    @property
    def is_uncertain(self) -> bool:
        """Whether the checkpoint will be a distribution over networks."""
        return self.recipe.name in KINDS

    @property
    def rejecting(self) -> Asked | None:
        """The detector that is asked for, or the usual one where unknown images are to be expected."""
        if self.detector is not None:
            return self.detector
        usual = "entropy" if self.is_uncertain else "max-logit" if self.known is not None else None
        return Asked(parse_spec("detector", usual)) if usual is not None else None


@dataclass(frozen=True)
class Planned:
    """One training with everything that the request names."""

    request: Request
    arch: Arch
    schedule: Schedule
    splits: Mapping[str, Dataset]
    data: dict[str, Any]
    job: Job
    canaries: Canaries | None = None
    source: Source | None = None

    @property
    def rows(self) -> int:
        """Images that are trained on."""
        return len(self.splits["fit"])

    @cached_property
    def budget(self) -> Budget | None:
        """What a private training may cost; solving for the noise takes some seconds. Raises UsageError."""
        if not self.request.is_private:
            return None
        return plan_budget(
            self.request.options,
            rows=self.rows,
            batch_size=self.schedule.batch_size,
            epochs=self.request.epochs,
            data=self.data["digest"],
            before=ledger_of(self.source.meta, self.source.path.name) if self.source else ledger_of(None),
        )

    @property
    def order(self) -> Order:
        """The steps of the training; those of a private one will have other rows, which nobody knows before."""
        if self.budget is not None:
            return Poisson(self.budget, Secret.fresh())
        return self.schedule.shuffled(self.rows, self.request.options)

    @property
    def attack(self) -> Attack | None:
        """The attack that held-out data is judged under: the recipe's own threat model, if it has one."""
        options = self.request.options
        if options.get("norm", "none") == "none":
            return None
        if "steps" not in options:  # a recipe of single steps, whose own attack would flatter it
            return pgd(norm=options["norm"], eps=options["eps"], steps=JUDGE_STEPS)
        return pgd(**{name: options[name] for name in ("norm", "eps", "step", "steps")})

    @property
    def watchdog(self) -> Watchdog | None:
        """What guards a recipe of single steps against catastrophic overfitting, if it wants that."""
        wanted = self.attack is not None and self.request.options.get("watchdog")
        return Watchdog(self.splits["val"], self.attack, self.schedule.seed) if self.attack and wanted else None

    @property
    def forwards(self) -> int:
        """Forwards per image that is drawn, judging and roll-backs aside."""
        count = getattr(self.request.recipe.method.load(), "forwards", 1)
        if not callable(count):
            return int(count)
        return int(count(**{name: self.request.options[name] for name in signature(count).parameters}))


def plan(request: Request, settings: Settings) -> Planned:
    """Look everything up. Raises UsageError for what cannot be trained, and what opening data or checkpoints raises."""
    if settings.limit is not None or settings.per_class is not None:
        raise UsageError("train uses all of its data; leave --limit and --per-class out.")
    if not settings.shard.is_whole:
        raise UsageError("train cannot be sharded: every step needs the one before; leave --shard out.")
    source = read_source(request.source, request.arch) if request.source is not None else None
    arch = source.arch if source is not None else parse_arch(request.arch or DEFAULT_ARCH)
    arch = arch_of(arch, request.recipe, source, request.freeze)
    shape = request.shape or (source.meta.shape if source is not None else None)
    splits = {name: open_data(request.data, split=name, shape=shape, access=settings.access) for name in SPLITS}
    if not splits["fit"].classes:
        raise UsageError(f"the images of '{request.data}' are of no class, so that nothing can be learned from them.")
    if request.known is not None:  # before anything reads a row
        known = known_of(request.known, splits["fit"].classes, splits["fit"].name, settings.seed)
        splits = {name: only_known(relabelled(dataset, known)) for name, dataset in splits.items()}
    _check_detector(request)
    wanted = int(request.options.get("canaries") or 0)
    canaries = draw_canaries(splits["fit"], wanted, settings.seed) if wanted else None
    if canaries is not None:
        splits["fit"] = with_canaries(splits["fit"], canaries)
    fit, schedule = splits["fit"], _schedule(request, settings, len(splits["fit"]))
    data = {
        "name": fit.name,
        "split": "train",
        "digest": fit.digest,
        "test_digest": splits["test"].digest,
        "split_seed": SPLIT_SEED,
        **({"known": list(fit.known)} if fit.known else {}),
    }
    if source is not None:
        source.check(fit)
        if request.is_private:
            refuse_known_data(source.meta, source.path.name, fit.digest)
        elif source.meta.privacy is not None:
            warn(f"'{source.path.name}' was trained privately; the new checkpoint promises nothing.")
    job = _job(request, arch, settings, schedule, {"data": data, **_parent(source)}, fit)
    return Planned(request, arch, schedule, splits, data, job, canaries, source)


def _check_detector(request: Request) -> None:
    """Refuse detectors that the checkpoint could not have, or should not."""
    asked = request.rejecting
    if asked is None:
        return
    name = asked.spec.name
    if request.is_uncertain and name not in OF_PROBABILITIES:
        raise UsageError(
            f"the detector {name} asks for one network's features or logits, and {request.recipe.name} makes a "
            f"distribution over networks; take one of {', '.join(OF_PROBABILITIES)}."
        )
    if request.is_private and is_fitted(name):
        raise UsageError(
            f"the detector {name} would put what the network makes of single training images into a private "
            "checkpoint; take msp, max-logit, energy or entropy."
        )


def _schedule(request: Request, settings: Settings, rows: int) -> Schedule:
    batch = settings.batch_size or (min(PRIVATE_BATCH, rows) if request.is_private else DEFAULT_BATCH)
    copies, physical = int(request.options.get("multiplicity", 1)), request.physical_batch or batch
    if physical < copies:
        raise UsageError(
            f"--physical-batch {physical} has no room for the {copies} augmentations of one image; "
            f"take at least {copies}, or a smaller multiplicity."
        )
    if request.is_private and request.precision != "float32":
        raise UsageError("private training computes in float32, where clipping is exact; leave --precision out.")
    return Schedule(request.epochs, batch, physical, settings.seed, request.precision)


def _parent(source: Source | None) -> dict[str, Any]:
    return {"checkpoint": source.id} if source is not None else {}


def _job(
    request: Request, arch: Arch, settings: Settings, schedule: Schedule, parents: dict[str, Any], fit: Dataset
) -> Job:
    extra: dict[str, Any] = {
        "arch": arch.identity,
        "epochs": request.epochs,
        "shape": list(fit.shape),
        "physical_batch": schedule.physical_batch,
        "dtype": request.precision,
    }
    if request.freeze:
        extra["freeze"] = list(request.freeze)
    if request.rejecting is not None:
        extra["detector"] = request.rejecting.record
    whole = replace(settings, batch_size=schedule.batch_size)
    libraries = ("opacus",) if request.is_private else ()
    job = make_job("train", request.recipe, parents, whole, block=0, extra=extra, libraries=libraries)
    usual = PRIVATE_BATCH if request.is_private else DEFAULT_BATCH
    chosen = (request.epochs, schedule.batch_size, schedule.physical_batch, settings.seed, request.shape)
    changed = bool(request.recipe.changed) or "=" in (request.arch or "")
    more = (request.precision, request.source, request.freeze, request.known, request.detector)
    default = (*chosen, *more) == (DEFAULT_EPOCHS, usual, usual, 0, None, "float32", None, (), None, None)
    return Job(job.document, suffix=changed or not default)
