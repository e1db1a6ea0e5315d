"""Adversarial weight perturbation: how far weights move, what gradient comes back, and that nothing else does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tests.train.test_recipes import FIT, fresh
from xaicli.run.random import Stream
from xaicli.train.batch import Batch
from xaicli.train.recipes import adversarial
from xaicli.train.weights import GAMMA, WARM_UP, Ask, loss_of, moved_weights

IMAGES, LABELS = torch.as_tensor(FIT.pixels[30:60]).double(), torch.tensor(FIT.labels[30:60])


def plain(model: Ask) -> Tensor:
    return cross_entropy(model(IMAGES), LABELS)


def test_weights_move_along_their_gradient_by_gamma_of_their_norm() -> None:
    net = fresh(torch.float64)
    slopes = dict(zip(dict(net.named_parameters()), torch.autograd.grad(plain(net), net.parameters()), strict=True))
    net = fresh(torch.float64)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    moved = moved_weights(plain, net)
    assert GAMMA == 5e-3
    assert list(moved) == ["network.0.weight", "network.4.weight"]  # no bias, and nothing of BatchNorm
    for name, tensor in moved.items():
        stride = tensor.detach() - before[name]
        assert stride.norm().item() == pytest.approx(GAMMA * before[name].norm().item(), rel=1e-9)
        cosine = (stride * slopes[name]).sum() / stride.norm() / slopes[name].norm()
        assert cosine.item() == pytest.approx(1, abs=1e-9)
    after = net.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())  # BatchNorm saw nothing
    assert all(parameter.grad is None for parameter in net.parameters())
    assert plain(lambda images: functional_call(net, moved, (images,))) > plain(net)


def test_the_gradient_is_that_of_the_moved_weights() -> None:
    net, other = fresh(torch.float64), fresh(torch.float64)
    batch = Batch(net, IMAGES, LABELS, Stream(0, "t", tuple(range(30))), done=WARM_UP)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    loss = loss_of(plain, batch, True)
    loss.backward()
    for name, tensor in moved_weights(plain, other).items():
        other.get_parameter(name).data.copy_(tensor)
    expected = plain(other)
    expected.backward()
    assert loss.item() == expected.item()
    for (name, mine), (_, moved) in zip(net.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(mine.detach(), before[name])
        torch.testing.assert_close(mine.grad, moved.grad, rtol=0, atol=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), other.buffers(), strict=True))  # one look, not two


def test_a_recipe_looks_twice_only_after_the_warm_up() -> None:
    losses = []
    for done, awp, looks in ((WARM_UP - 1e-9, True, 1), (WARM_UP, False, 1), (WARM_UP, True, 2)):
        net, asked = fresh(torch.float64), []
        net.register_forward_hook(lambda model, *_, asked=asked: asked.append(model.training))
        batch = Batch(net, IMAGES, LABELS, Stream(0, "t", tuple(range(30))), done)
        losses.append(adversarial(batch, eps=0.05, steps=3, awp=awp).item())
        assert asked == [False] * 3 + [True] * looks
    assert losses[0] == losses[1] < losses[2]
