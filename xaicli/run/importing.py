"""Foreign weights become a checkpoint: architecture, classes, image size and normalisation are said by the user.

What the file itself says of classes and normalisation is taken over where the user says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xaicli.data.dataset import Dataset
from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError, UsageError
from xaicli.files.checkpoint import CheckpointMeta, read_meta, write_checkpoint
from xaicli.files.record import Record, artifact_record, plain_record
from xaicli.models.arch import SMALL, Arch, build_network, parse_arch, usual_shape
from xaicli.models.classifier import Classifier
from xaicli.models.layers import auto_layer, named_layers
from xaicli.models.layouts import Foreign, load_foreign
from xaicli.models.matching import Match, class_count, match_state
from xaicli.models.state import fit_state, state_arrays
from xaicli.run.clean import Accuracy, checked_rows, clean_accuracy
from xaicli.run.job import Job, make_job
from xaicli.run.outputs import Named, finished, place
from xaicli.run.progress import say, warn
from xaicli.run.settings import Settings

Shape = tuple[int, int, int]
Moments = tuple[float, ...]


@dataclass(frozen=True)
class Request:
    """What the user says of the weights; None is worked out. `entry`: which of several sets of weights in the file."""

    weights: Path
    arch: str
    classes: str | None = None
    shape: Shape | None = None
    mean: Moments | None = None
    std: Moments | None = None
    data: str | None = None
    match: Match = "name"
    entry: str | None = None


def import_weights(request: Request, settings: Settings) -> Iterator[Record]:
    """Write the checkpoint and yield its record, with the layers that `layer=` can name."""
    arch = parse_arch(request.arch)
    foreign = load_foreign(request.weights, request.entry)
    test, data, shape = _data(request, arch, settings)
    names = _classes(request.classes, foreign, test) or _numbered(arch, foreign, shape)
    _compare_names(names, test)
    network, beside = _network(arch, foreign, len(names), shape, request)
    mean, std = _normalisation(request, foreign, beside, shape[0])
    job = _job(request, arch, names, shape, (mean, std), data, settings)
    (path,) = place([Named(job, f"{request.weights.stem}-{arch.slug}-imported", ".safetensors")], settings)
    inputs = checked_rows(test, settings) if test is not None else None
    if settings.dry_run:
        forwards = len(inputs) if inputs is not None else 0
        yield plain_record("info", path=str(path), method="", rows=forwards, forwards=forwards)
        return
    classifier = Classifier(network, mean, std, names, shape)
    layers = _layers(classifier)
    if finished(path, job, settings) is None:
        metrics = _metrics(clean_accuracy(classifier, inputs, settings)) if inputs is not None else {}
        meta = CheckpointMeta(
            job=job.document,
            job_id=job.id,
            arch=arch.record,
            classes=names,
            shape=shape,
            mean=mean,
            std=std,
            data=data,
            metrics=metrics,
            lineage=(job.document,),
            versions=job.document["versions"],
        )
        write_checkpoint(path, state_arrays(classifier), meta)
    meta, id = read_meta(path)
    _warn_of_chance(meta.metrics, len(names))
    record = artifact_record(
        kind="checkpoint",
        path=str(path),
        id=id,
        verb="import",
        method="",
        options={},
        rows=0,
        failed=0,
        parents={"data": {**data, **({"path": str(test.path)} if test and test.path else {})}} if data else {},
        metrics=meta.metrics,
    )
    yield {**record, **layers}


def _network(arch: Arch, foreign: Foreign, classes: int, shape: Shape, request: Request) -> tuple[nn.Module, bool]:
    """The network with its weights, and whether the file's normalisation lies beside it (and not within)."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(arch, classes, shape[0], shape[1:]).eval()
    what, expected = f"'{request.weights}'", network.state_dict()
    within = any(f".{own}".endswith(f".{name}") for own in expected for name in foreign.normaliser)
    state = foreign.state if within else foreign.network
    fit_state(network, match_state(state, expected, request.match, what), what)
    return network, not within


def _job(
    request: Request,
    arch: Arch,
    names: tuple[str, ...],
    shape: Shape,
    moments: tuple[Moments, Moments],
    data: dict[str, Any] | None,
    settings: Settings,
) -> Job:
    said: dict[str, Any] = {
        "arch": arch.identity,
        "classes": list(names),
        "shape": list(shape),
        "mean": list(moments[0]),
        "std": list(moments[1]),
        "match": request.match,
        "entry": request.entry,
    }
    parents = {"weights": sha256(request.weights.read_bytes()).hexdigest(), "data": data}
    libraries = ("timm",) if arch.name.startswith("timm:") else ()
    job = make_job("import", None, parents, settings, block=0, extra=said, libraries=libraries)
    return Job(job.document, suffix=False)


def _data(request: Request, arch: Arch, settings: Settings) -> tuple[Dataset | None, dict[str, Any] | None, Shape]:
    """The test split of the data that later verbs use by default, its description, and the image shape."""
    shape = request.shape or usual_shape(arch)
    if request.data is None:
        return None, None, shape or SMALL
    test = open_data(request.data, split="test", shape=shape, access=settings.access)
    train = open_data(request.data, split="train", shape=test.shape, access=settings.access)
    data = {"name": train.name, "split": "train", "digest": train.digest, "test_digest": test.digest}
    return test, data, test.shape


def _classes(text: str | None, foreign: Foreign, data: Dataset | None) -> tuple[str, ...]:
    """The user's names, else the file's own, else the data's; nothing when nobody names or counts them."""
    given = None if text is None or text.isdecimal() else _read_names(text)
    own, theirs = foreign.classes, data.classes if data is not None else None
    count = int(text) if text is not None and text.isdecimal() else None
    if count == 0:
        raise UsageError("--classes 0 makes no classifier; give the number of classes or a file of names.")
    names = next((n for n in (given, own, theirs) if n is not None and count in (None, len(n))), None)
    return names or tuple(str(number) for number in range(count or 0))


def _numbered(arch: Arch, foreign: Foreign, shape: Shape) -> tuple[str, ...]:
    """As many numbers as the network has classes, told by the architecture's head, else by the file's last tensor."""
    count = None
    if arch.factory is None:
        with suppress(UsageError), torch.device("meta"):
            count = class_count(foreign.network, build_network(arch, 1, shape[0], shape[1:]).state_dict())
    return tuple(str(number) for number in range(count or _last_size(foreign.network)))


def _compare_names(names: tuple[str, ...], data: Dataset | None) -> None:
    theirs = data.classes if data is not None else None
    if theirs is not None and len(names) != len(theirs):
        raise InputError(f"--data has {len(theirs)} classes, but the network {len(names)}; name its own data.")
    if theirs is not None and names != theirs:
        warn("the class names of the network and of the data differ; labels are compared by number.")


def _read_names(text: str) -> tuple[str, ...]:
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


def _normalisation(request: Request, foreign: Foreign, beside: bool, channels: int) -> tuple[Moments, Moments]:
    """What the user says, else what the file has beside the network, else none."""
    own_mean, own_std = (foreign.mean, foreign.std) if beside else (None, None)
    if request.mean is None and request.std is None:
        if own_mean is not None and own_std is not None:
            say(f"normalisation of the file: --mean {_listed(own_mean)} --std {_listed(own_std)}.")
        elif not foreign.normaliser:
            warn("no --mean and --std given: the network is fed pixels in [0, 1] as they are.")
    mean, std = request.mean or own_mean or (0.0,), request.std or own_std or (1.0,)
    mean, std = (v * channels if len(v) == 1 else v for v in (mean, std))
    for name, values in (("--mean", mean), ("--std", std)):
        if len(values) != channels:
            raise UsageError(f"{name} has {len(values)} values for {channels} channels; give one, or one a channel.")
    if min(std) <= 0:
        raise UsageError("--std must be positive.")
    return mean, std


def _listed(values: Moments) -> str:
    return ",".join(f"{value:.6g}" for value in values)


def _layers(classifier: Classifier) -> dict[str, Any]:
    """Maps of more than one place that are at most two names deep, and the one that `layer=auto` takes."""
    names = [layer.name for layer in named_layers(classifier) if layer.height * layer.width > 1]
    auto = auto_layer(classifier) if names else None
    return {"layers": [name for name in names if name.count(".") < 2 or name == auto], "layer": auto}


def _metrics(accuracy: Accuracy) -> dict[str, Any]:
    return {"test_accuracy": accuracy.hits / accuracy.n, "n": accuracy.n} if accuracy.n else {}


def _warn_of_chance(metrics: dict[str, Any], classes: int) -> None:
    if "test_accuracy" not in metrics or "n" not in metrics:
        return
    value, n = metrics["test_accuracy"], metrics["n"]
    if Accuracy(round(value * n), n, classes).at_chance:
        warn(
            f"{value:.1%} of {n} test images are right, which is no better than chance for {classes} classes: check "
            "the normalisation (--mean, --std), the order of the channels (RGB or BGR) and the order of the classes."
        )
