from __future__ import annotations

import pytest
import torch
from torch import nn

from xaicli.models.classifier import Classifier

SHAPE = (3, 4, 4)


def identity() -> Classifier:
    return Classifier(nn.Identity(), [0.5, 0.25, 0.0], [0.25, 0.5, 2.0], ["a"], SHAPE)


def test_normalisation_is_the_closed_form() -> None:
    pixels = torch.tensor([1.0, 0.75, 0.5]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert torch.equal(identity()(pixels), torch.tensor([2.0, 1.0, 0.25]).view(1, 3, 1, 1).expand(2, 3, 4, 4))


def test_gradients_are_those_of_pixels() -> None:
    pixels = torch.rand(1, 3, 4, 4, requires_grad=True)
    identity()(pixels).sum().backward()
    assert pixels.grad is not None
    assert torch.equal(pixels.grad, torch.tensor([4.0, 2.0, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4))


def test_the_state_is_the_networks_alone_and_normalisation_follows_the_type() -> None:
    classifier = Classifier(nn.Conv2d(3, 1, 1), [0.5] * 3, [0.25] * 3, ["a"], SHAPE)
    assert list(classifier.state_dict()) == ["network.weight", "network.bias"]
    assert classifier.double().mean.dtype == torch.float64
    assert (classifier.class_names, classifier.shape, classifier.meta) == (("a",), SHAPE, None)


def test_a_grey_image_is_not_broadcast_over_three_channels() -> None:
    with pytest.raises(AssertionError, match="number of channels"):
        identity()(torch.rand(1, 1, 4, 4))


def test_it_can_be_traced() -> None:
    classifier = Classifier(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), [0.5] * 3, [0.25] * 3, ["a"], SHAPE)
    pixels = torch.rand(2, 3, 4, 4)
    assert torch.equal(torch.fx.symbolic_trace(classifier)(pixels), classifier(pixels))


@pytest.mark.parametrize(("mean", "std"), [([0.5], [1.0] * 3), ([0.5] * 3, [1.0]), ([0.5] * 3, [1.0, 0.0, 1.0])])
def test_normalisation_that_does_not_fit_is_refused(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match=r"channels|positive"):
        Classifier(nn.Identity(), mean, std, ["a"], SHAPE)


def test_another_network_can_stand_behind_the_same_border() -> None:
    own = identity().double()
    own.mean += 0.1  # a network may be loaded in a finer type than the numbers of its file
    other = own.eval().around(nn.Sequential(nn.Dropout(0.5), nn.Flatten()))
    pixels = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(other(pixels), own(pixels).flatten(1))
    assert (other.class_names, other.shape, other.meta) == (own.class_names, own.shape, own.meta)
    assert other.mean is own.mean and not any(module.training for module in other.modules())
    assert all(module.training for module in own.train().around(nn.Dropout(0.5)).modules())
