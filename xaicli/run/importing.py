"""Foreign weights become a checkpoint: architecture, classes, image size and normalisation are said by the user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError, UsageError
from xaicli.files.checkpoint import CheckpointMeta, read_meta, write_checkpoint
from xaicli.files.record import Record, artifact_record, plain_record
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.foreign import load_foreign_state
from xaicli.models.state import fit_state, state_arrays
from xaicli.run.job import Job, make_job
from xaicli.run.outputs import Named, finished, place
from xaicli.run.progress import warn
from xaicli.run.settings import Settings


@dataclass(frozen=True)
class Request:
    """What the user says of the weights; None is worked out."""

    weights: Path
    arch: str
    classes: str | None = None
    shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    data: str | None = None


def import_weights(request: Request, settings: Settings) -> Iterator[Record]:
    """Write the checkpoint and yield its record."""
    arch = parse_arch(request.arch)
    state = load_foreign_state(request.weights)
    shape = request.shape or ((3, 224, 224) if request.arch.startswith("torchvision:") else (3, 32, 32))
    data, names = _data(request, shape, settings)
    names = _classes(request.classes, state) if request.classes or names is None else names
    mean, std = _normalisation(request, shape[0])
    said = {
        "arch": arch.identity,
        "classes": list(names),
        "shape": list(shape),
        "mean": list(mean),
        "std": list(std),
    }
    job = make_job("import", None, {"weights": _digest(request.weights), "data": data}, settings, block=0, extra=said)
    job = Job(job.document, suffix=False)
    (path,) = place([Named(job, f"{request.weights.stem}-{arch.slug}-imported", ".safetensors")], settings)
    if settings.dry_run:
        yield plain_record("info", path=str(path), method="", rows=0, forwards=0)
        return
    if finished(path, job, settings) is None:
        with torch.random.fork_rng(devices=[]):
            network = build_network(arch, len(names), shape[0], shape[1:])
        fit_state(network, state, f"'{request.weights}'")
        classifier = Classifier(network, mean, std, names, shape)
        meta = CheckpointMeta(
            job=job.document,
            job_id=job.id,
            arch=arch.record,
            classes=names,
            shape=shape,
            mean=mean,
            std=std,
            data=data,
            lineage=(job.document,),
            versions=job.document["versions"],
        )
        write_checkpoint(path, state_arrays(classifier), meta)
    meta, id = read_meta(path)
    yield artifact_record(
        kind="checkpoint",
        path=str(path),
        id=id,
        verb="import",
        method="",
        options={},
        rows=0,
        failed=0,
        parents={"data": data} if data else {},
        metrics=meta.metrics,
    )


def _data(
    request: Request, shape: tuple[int, int, int], settings: Settings
) -> tuple[dict[str, Any] | None, tuple[str, ...] | None]:
    """The data set that later verbs use by default, with its class names."""
    if request.data is None:
        return None, None
    train, test = (open_data(request.data, split=s, shape=shape, root=settings.data_root) for s in ("train", "test"))
    return {"name": train.name, "split": "train", "digest": train.digest, "test_digest": test.digest}, train.classes


def _classes(text: str | None, state: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Names from a file with one a line, or numbers; the last layer's size when nothing is said."""
    if text is None or text.isdecimal():
        count = int(text) if text else _last_size(state)
        if count < 1:
            raise UsageError("--classes 0 makes no classifier; give the number of classes or a file of names.")
        return tuple(str(number) for number in range(count))
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise MissingError(f"--classes '{text}' cannot be read: {error.strerror}; give a file or a number.") from None
    except UnicodeDecodeError:
        raise InputError(f"--classes '{text}' is not UTF-8 text; write one class name a line.") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise InputError(f"--classes '{text}' is empty; write one class name a line.")
    return names


def _last_size(state: dict[str, torch.Tensor]) -> int:
    sized = [tensor for tensor in state.values() if tensor.ndim]
    if not sized:
        raise InputError("the weights hold no tensor from which the number of classes could be told; give --classes.")
    return int(sized[-1].shape[0])


def _normalisation(request: Request, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if request.mean is None and request.std is None:
        warn("no --mean and --std given: the network is fed pixels in [0, 1] as they are.")
    mean, std = request.mean or (0.0,), request.std or (1.0,)
    mean, std = (v * channels if len(v) == 1 else v for v in (mean, std))
    for name, values in (("--mean", mean), ("--std", std)):
        if len(values) != channels:
            raise UsageError(f"{name} has {len(values)} values for {channels} channels; give one, or one a channel.")
    if min(std) <= 0:
        raise UsageError("--std must be positive.")
    return mean, std


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
