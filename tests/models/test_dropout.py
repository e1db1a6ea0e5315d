"""Units that are dropped: which layers, as torch drops them, and the ordinary networks that draws are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.families import lively
from xaicli.errors import InputError, UsageError
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.dropout import Dropping, dropping_layers, thinned, to_dropout
from xaicli.models.wide_resnet import StandardisedConv2d
from xaicli.run.posterior import noise_of
from xaicli.run.random import Stream

OURS = ["cnn", "resnet18-cifar:width=8", "vgg16-cifar:width=8", "dp-cnn", "mlp:hidden=16,8", "wrn-16-4:widen=1"]
THEIRS = ["densenet121", "shufflenet_v2_x0_5", "squeezenet1_1", "swin", "vit", "timm:vit_tiny_patch16_224"]


def one_set(name: str, shape: Sequence[int]) -> Tensor:
    return noise_of(Stream(0, "test", (0,)), torch.zeros(()))(name, shape)


def small() -> nn.Sequential:
    """Three layers: the second in two groups, the third behind a ReLU."""
    torch.manual_seed(0)
    second = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), second, nn.Flatten(), nn.ReLU(), nn.Linear(96, 3))


IMAGES = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("arch", OURS)
def test_every_layer_but_the_first_drops_and_the_state_dict_is_as_before(arch: str) -> None:
    network = build_network(parse_arch(arch), 10, 3, (32, 32))
    before = list(network.state_dict())
    names = to_dropout(network, 0.3)
    layers = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert names == layers[1:] == [name for name, _, _ in dropping_layers(network)]
    assert list(network.state_dict()) == before
    assert to_dropout(network, 0.1) == names and len(dropping_layers(network)) == len(names)  # once, with the new share
    assert {hook.share for _, _, hook in dropping_layers(network)} == {0.1}
    assert to_dropout(network, 0.2, lambda name: name != names[0]) == names[:1]
    assert [name for name, _, _ in dropping_layers(network)] == names[:1]


@pytest.mark.parametrize("family", THEIRS)
def test_every_family_drops_in_training_alone_and_each_draw_is_another_network(family: str) -> None:
    network, size = lively(family)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    before = network(images)
    to_dropout(network, 0.1)
    assert torch.equal(network(images), before)
    assert torch.equal(thinned(network)(images), before)
    drawn = thinned(network, one_set)
    assert not dropping_layers(drawn) and not torch.equal(drawn(images), before)
    assert drawn(images).isfinite().all()


@pytest.mark.parametrize(("layer", "shape"), [(nn.Linear(7, 2), (9, 7)), (nn.Conv2d(7, 2, 1), (9, 7, 3, 4))])
def test_units_are_dropped_as_torch_drops_them(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """The same generator gives the same mask: single units of a linear layer, whole channels of a convolution."""
    x, drop = torch.rand(shape), F.dropout if len(shape) == 2 else F.dropout2d
    torch.manual_seed(3)
    expected = drop(x, 0.3)
    torch.manual_seed(3)
    (found,) = Dropping(0.3)(layer.train(), (x,)) or (x,)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert (found == 0).any() and Dropping(0.3)(layer.eval(), (x,)) is None


def test_all_tokens_of_an_image_lose_the_same_units() -> None:
    torch.manual_seed(0)
    (found,) = Dropping(0.5)(nn.Linear(40, 2), (torch.ones(3, 5, 40),)) or (None,)
    assert torch.equal(found, found[:, :1].expand(3, 5, 40)) and found.unique().tolist() == [0, 2]
    assert not torch.equal(found[0], found[1])


def test_a_draw_multiplies_what_every_layer_is_given_by_one_mask_for_all_images() -> None:
    network = small().eval()
    to_dropout(network, 0.3)
    drawn = thinned(network, one_set)
    channels, units = (one_set(f"weights:{n}:units", (size,))[0] for n, size in ((0, 4), (1, 96)))
    quantile = -0.5244005127080407  # of 0.3
    masks = [(numbers >= quantile).float() / 0.7 for numbers in (channels, units)]
    assert all(0 < (mask == 0).sum() < len(mask) for mask in masks)
    hidden = network[1](network[0](IMAGES)) * masks[0].view(1, 4, 1, 1)
    expected = network[5](
        network[4](network[3](F.conv2d(hidden, *network[2].parameters(), padding=1, groups=2))) * masks[1]
    )
    torch.testing.assert_close(drawn(IMAGES), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(thinned(network, one_set)(IMAGES), drawn(IMAGES))
    assert drawn[0].weight is network[0].weight and not drawn[2].weight.requires_grad


def test_the_share_of_units_that_draws_drop_is_the_share_asked_for() -> None:
    network = nn.Sequential(nn.Linear(2, 4000), nn.Linear(4000, 1))
    to_dropout(network, 0.2)
    dropped = int((thinned(network, one_set)[1].weight == 0).sum())
    assert abs(dropped - 800) < 4 * (4000 * 0.2 * 0.8) ** 0.5


def test_a_standardised_convolution_loses_channels_after_it_is_standardised() -> None:
    """Before, the mean and deviation of its kernels would change with what is left."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), StandardisedConv2d(4, 3, 3))
    to_dropout(network, 0.5)
    mask = (one_set("weights:0:units", (4,))[0] >= 0).float() * 2
    expected = network.eval()[1](network[0](IMAGES) * mask.view(1, 4, 1, 1))
    torch.testing.assert_close(thinned(network, one_set)(IMAGES), expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_dropped_is_refused_and_nothing_has_changed() -> None:
    with pytest.raises(UsageError, match="p=1; choose a number from 0 to 1, not 1"):
        to_dropout(small(), 1.0)
    with pytest.raises(InputError, match="no second linear layer or convolution"):
        to_dropout(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), 0.1)
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 3, 1))
    with pytest.raises(InputError, match="'2' is of the kind ConvTranspose2d"):
        to_dropout(network, 0.1)
    assert not dropping_layers(network)


def test_p_of_zero_drops_nothing() -> None:
    network = small()
    before = network(IMAGES)
    to_dropout(network, 0.0)
    assert torch.equal(network.train()(IMAGES), before) and torch.equal(thinned(network, one_set)(IMAGES), before)
