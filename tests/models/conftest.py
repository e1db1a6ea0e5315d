from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from xaicli.files.canonical import digest_json
from xaicli.files.checkpoint import CheckpointMeta, write_checkpoint
from xaicli.models.arch import Arch, build_network
from xaicli.models.classifier import Classifier
from xaicli.models.state import state_arrays

WriteModel = Callable[..., tuple[Path, Classifier]]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def randomise() -> Callable[[nn.Module], nn.Module]:
    return _randomise


def _randomise(network: nn.Module) -> nn.Module:
    """Give BatchNorm statistics that are not the identity, so that a lost one is noticed."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network


def _meta_of(classifier: Classifier, arch: Arch) -> CheckpointMeta:
    job = {"verb": "train"}
    return CheckpointMeta(
        job=job,
        job_id=digest_json(job),
        arch=arch.record,
        classes=classifier.class_names,
        shape=classifier.shape,
        mean=tuple(classifier.mean.flatten().tolist()),
        std=tuple(classifier.std.flatten().tolist()),
    )


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Write a checkpoint of an architecture with random weights; returns its path and the model in it."""

    def write(arch: Arch, *, classes: int = 3, shape: tuple[int, int, int] = (3, 32, 32)) -> tuple[Path, Classifier]:
        network = _randomise(build_network(arch, classes, shape[0], shape[1:])).eval()
        names = [f"class {number}" for number in range(classes)]
        classifier = Classifier(network, [0.4] * shape[0], [0.25] * shape[0], names, shape).eval()
        path = tmp_path / "model.safetensors"
        write_checkpoint(path, state_arrays(classifier), _meta_of(classifier, arch))
        return path, classifier

    return write
