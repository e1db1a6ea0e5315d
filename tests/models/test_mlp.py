from __future__ import annotations

import pytest
import torch

from xaicli.errors import UsageError
from xaicli.models.arch import Arch, arch_from_record, build_network, parse_arch
from xaicli.models.mlp import mlp


@pytest.mark.parametrize(
    ("text", "shape", "count"),
    [
        ("mlp", (3, 32, 32), 3072 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10),
        ("mlp:hidden=100", (1, 28, 28), 79_510),  # 784-100-10
        ("mlp:hidden=500,300", (1, 28, 28), 545_810),  # 784-500-300-10
    ],
)
def test_parameter_count(text: str, shape: tuple[int, int, int], count: int) -> None:
    network = build_network(parse_arch(text), 10, shape[0], shape[1:])
    assert sum(p.numel() for p in network.parameters()) == count
    assert network(torch.zeros(2, *shape)).shape == (2, 10)


def test_it_is_its_formula() -> None:
    network = mlp(3, 2, (4, 5), hidden=(7, 6))
    image = torch.rand(2, 2, 4, 5)
    x = image.flatten(1)
    for layer in (network.fc1, network.fc2):
        x = (x @ layer.weight.T + layer.bias).clamp(min=0)
    torch.testing.assert_close(network(image), x @ network.fc3.weight.T + network.fc3.bias)


def test_widths_survive_a_record() -> None:
    arch = parse_arch("mlp:hidden=64,32")
    assert arch == Arch("mlp", {"hidden": (64, 32)})
    assert arch.record == {"name": "mlp", "options": {"hidden": [64, 32]}}
    assert arch_from_record(arch.record, "'m'") == arch
    assert str(arch) == "mlp:hidden=64,32"


@pytest.mark.parametrize("hidden", [(), (0,), (65_537,), (2,) * 65, ("8",), (True,)])
def test_absurd_widths_are_usage_errors(hidden: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="choose 1 to 64 widths"):
        mlp(10, 3, (8, 8), hidden=hidden)
