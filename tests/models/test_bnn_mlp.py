from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.models.conftest import WriteModel
from xaicli.errors import UsageError
from xaicli.models.arch import Arch, arch_from_record, build_network, parse_arch
from xaicli.models.bnn_mlp import bnn_mlp
from xaicli.models.head import find_head
from xaicli.models.load import load_classifier
from xaicli.models.mlp import mlp


def test_it_is_784_1024_10_with_a_mean_and_a_deviation_for_each() -> None:
    network = build_network(parse_arch("bnn-mlp"), 10, 1, (28, 28))
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    expected = {"fc1.weight": (1024, 784), "fc1.bias": (1024,), "fc2.weight": (10, 1024), "fc2.bias": (10,)}
    assert shapes == {f"{name}_{part}": shape for name, shape in expected.items() for part in ("mean", "rho")}
    assert sum(p.numel() for p in network.parameters()) == 2 * 814_090 == 1_628_180


def test_its_means_are_an_mlp() -> None:
    network = bnn_mlp(3, 2, (4, 5), hidden=(7,), sigma=0.5)
    image = torch.rand(2, 2, 4, 5)
    hidden = (image.flatten(1) @ network.fc1.weight_mean.T + network.fc1.bias_mean).clamp(min=0)
    torch.testing.assert_close(network(image), hidden @ network.fc2.weight_mean.T + network.fc2.bias_mean)
    for layer in (network.fc1, network.fc2):
        torch.testing.assert_close(F.softplus(layer.weight_rho), torch.full_like(layer.weight_mean, 0.5))


def test_options_survive_a_record_and_a_checkpoint(write_model: WriteModel) -> None:
    arch = parse_arch("bnn-mlp:hidden=6,5,sigma=1/16")
    assert arch == Arch("bnn-mlp", {"hidden": (6, 5), "sigma": 0.0625})
    assert arch_from_record(arch.record, "'m'") == arch
    path, classifier = write_model(arch, shape=(1, 8, 8))
    images = torch.rand(4, 1, 8, 8)
    loaded = load_classifier(path, uncertain=True)
    assert torch.equal(loaded(images), classifier(images))
    assert loaded.state_dict().keys() == classifier.state_dict().keys()


def test_a_checkpoint_is_an_mlp_of_its_means_unless_asked_otherwise(write_model: WriteModel) -> None:
    """Methods look for linear layers and their biases, which a layer with uncertain weights does not have."""
    path, classifier = write_model(parse_arch("bnn-mlp:hidden=6"), shape=(1, 8, 8))
    loaded, images = load_classifier(path), torch.rand(4, 1, 8, 8)
    assert str(loaded.network) == str(mlp(3, 1, (8, 8), hidden=(6,)))
    assert torch.equal(loaded(images), classifier(images))
    assert find_head(loaded).name == "fc2"
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("sigma", [0.0, -1.0, 1.5, float("nan")])
def test_absurd_deviations_are_usage_errors(sigma: float) -> None:
    with pytest.raises(UsageError, match="a bnn-mlp cannot have sigma"):
        bnn_mlp(10, 1, (8, 8), hidden=(4,), sigma=sigma)
