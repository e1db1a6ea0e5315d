from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from xaicli.errors import UsageError
from xaicli.models.arch import arch_from_record, build_network, parse_arch
from xaicli.models.dp_cnn import dp_cnn


def test_it_has_the_parameters_of_the_networks_on_which_it_was_published() -> None:
    """26,010 as Opacus' example counts them."""
    assert sum(one.numel() for one in dp_cnn(10, 1, (28, 28)).parameters()) == 26_010


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_it_is_its_formula(activation: str) -> None:
    network = dp_cnn(10, 1, (28, 28), activation=activation)  # type: ignore[arg-type]
    act = getattr(torch, activation)
    image = torch.rand(2, 1, 28, 28)
    x = F.max_pool2d(act(F.conv2d(image, network.conv1.weight, network.conv1.bias, 2, 3)), 2, 1)
    assert x.shape == (2, 16, 13, 13)
    x = F.max_pool2d(act(F.conv2d(x, network.conv2.weight, network.conv2.bias, 2)), 2, 1)
    assert x.shape == (2, 32, 4, 4)
    x = act(x.flatten(1) @ network.fc1.weight.T + network.fc1.bias)
    torch.testing.assert_close(network(image), x @ network.fc2.weight.T + network.fc2.bias)


@pytest.mark.parametrize("size", [(14, 14), (15, 17), (28, 28), (32, 32), (33, 64), (224, 224)])
def test_it_takes_other_sizes(size: tuple[int, int]) -> None:
    assert dp_cnn(5, 3, size, width=2)(torch.zeros(1, 3, *size)).shape == (1, 5)


@pytest.mark.parametrize(
    ("size", "options"), [((13, 28), {}), ((28, 13), {}), ((28, 28), {"width": 0}), ((28, 28), {"activation": "gelu"})]
)
def test_what_it_cannot_be_is_a_usage_error(size: tuple[int, int], options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="a dp-cnn cannot"):
        dp_cnn(10, 1, size, **options)  # type: ignore[arg-type]


def test_options_are_read_and_recorded() -> None:
    arch = parse_arch("dp-cnn:width=4,activation=tanh")
    assert arch.options == {"width": 4, "activation": "tanh"}
    assert arch_from_record(arch.record, "'m'") == arch
    assert build_network(arch, 3, 1, (28, 28))(torch.zeros(1, 1, 28, 28)).shape == (1, 3)
    with pytest.raises(UsageError, match="gelu"):
        parse_arch("dp-cnn:activation=gelu")
