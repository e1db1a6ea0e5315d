from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.models.conftest import WriteModel
from xaicli.errors import InputError
from xaicli.models.arch import Arch, arch_from_record, build_network, parse_arch
from xaicli.models.changes import Changes
from xaicli.models.group_norm import group_norms, groups_of
from xaicli.models.load import load_classifier


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(1, 1), (3, 1), (7, 1), (8, 2), (16, 4), (24, 6), (32, 8), (48, 12), (58, 2), (64, 16), (512, 16), (1280, 16)],
)
def test_groups(channels: int, groups: int) -> None:
    assert groups_of(channels) == groups


def test_affine_parameters_are_kept_and_statistics_are_not() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU(), nn.BatchNorm2d(8, affine=False))
    norm = network[1]
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    nn.init.uniform_(norm.running_mean)
    assert group_norms(network) == ["1", "3"]
    assert network[1].weight is norm.weight and network[1].bias is norm.bias
    x = torch.randn(2, 8, 5, 5)
    groups = x.view(2, 2, -1)
    unit = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, correction=0, keepdim=True) + 1e-3).sqrt()
    expected = unit.view_as(x) * norm.weight.view(8, 1, 1) + norm.bias.view(8, 1, 1)
    torch.testing.assert_close(network[1](x), expected)
    assert list(network.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_some_are_kept_and_one_module_stays_one() -> None:
    shared = nn.BatchNorm1d(4)
    inner = nn.Sequential(shared, nn.BatchNorm1d(4))
    network = nn.Sequential(inner, nn.Linear(4, 4), shared)
    assert group_norms(network, lambda name: name == "0.1") == ["0.0"]
    assert type(inner[0]) is nn.GroupNorm and network[2] is inner[0]
    assert type(inner[1]) is nn.BatchNorm1d
    network(torch.randn(3, 4))


def test_a_stranger_among_norms_is_refused_before_anything_is_changed() -> None:
    class Odd(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.BatchNorm2d(4), Odd(4))
    with pytest.raises(InputError, match="'1' is of the kind Odd"):
        group_norms(network)
    assert type(network[0]) is nn.BatchNorm2d


def test_timms_norms_keep_their_activation() -> None:
    timm = pytest.importorskip("timm")
    norm = timm.layers.BatchNormAct2d(8)
    network = nn.Sequential(norm)
    assert group_norms(network) == ["0"]
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(network(x), nn.functional.group_norm(x, 2).relu())
    assert network[0].norm.weight is norm.weight


def test_a_checkpoint_says_which_norms_were_replaced(write_model: WriteModel) -> None:
    torch.manual_seed(0)
    network = build_network(parse_arch("cnn"), 3, 3, (32, 32))
    names = group_norms(network, lambda name: name.startswith("block1"))
    arch = replace(parse_arch("cnn"), changes=Changes(norms=tuple(names)))
    assert arch.record["norms"] == {"group": [f"block{number}.norm" for number in range(2, 6)]}
    assert arch_from_record(arch.record, "'m'") == arch
    path, classifier = write_model(arch)
    loaded = load_classifier(path)
    image = torch.rand(2, 3, 32, 32)
    kinds = [type(loaded.network.get_submodule(f"block{number}.norm")) for number in range(1, 6)]
    assert kinds == [nn.BatchNorm2d, *[nn.GroupNorm] * 4]
    torch.testing.assert_close(loaded(image), classifier(image))
    assert "norms" not in Arch("cnn").record


def test_every_norm_of_torchvisions_and_our_networks_has_a_place_in_their_record() -> None:
    for name in ("torchvision:densenet121", "resnet18-cifar:width=4"):
        arch = parse_arch(name)
        network = build_network(arch, 4, 3, (32, 32))
        names = group_norms(network)
        assert names == group_norms(build_network(arch, 4, 3, (32, 32)))
        again = build_network(replace(arch, changes=Changes(norms=tuple(names))), 4, 3, (32, 32))
        again.load_state_dict(network.state_dict())
        assert not [one for one in again.modules() if isinstance(one, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    "norms", ["group", {"group": "a"}, {"group": [1]}, {"other": []}, {"group": [], "more": 1}, None]
)
def test_a_record_of_another_kind_is_refused(norms: object) -> None:
    with pytest.raises(InputError, match="changes layers in a way"):
        arch_from_record({"name": "cnn", "options": {}, "norms": norms}, "'m'")


def test_a_norm_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"norm 'block1.conv' was replaced, but it has none"):
        build_network(Arch("cnn", {"width": 16, "depth": 5}, changes=Changes(norms=("block1.conv",))), 3, 3, (32, 32))
