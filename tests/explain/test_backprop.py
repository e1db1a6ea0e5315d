"""Guided backpropagation and deconvolution: closed forms, every way to write a ReLU, and a network left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.nets import Function, classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.errors import InputError

WAYS = {
    "functional.relu": functional.relu,
    "functional.relu in place": lambda x: functional.relu(x, inplace=True),
    "functional.relu_": functional.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place, result unused": lambda x: (x.relu_(), x)[1],
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
}


def by_hand(x: torch.Tensor, w: torch.Tensor, v: torch.Tensor, rule: str) -> torch.Tensor:
    """d/dx of v.relu(W x) with the rule at the ReLU, for x [n, D]."""
    active = (x @ w.T > 0).double()
    cut = v.clamp_min(0).expand(len(x), -1)
    return (cut * active if rule == "guided-backprop" else cut) @ w


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("rule", ["guided-backprop", "deconvolution"])
def test_one_hidden_layer_however_its_relu_is_written(way: str, rule: str) -> None:
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    v = torch.randn(2, 6, dtype=torch.float64, generator=generator)
    relu = WAYS[way]
    net = classify(Function(lambda x: relu(x.flatten(1) @ w.T) @ v.T), (1, 2, 2), 2)
    images = some_images(5, net) - 0.5
    expected = by_hand(images.flatten(1), w, v[1], rule).view_as(images)
    answers = explain_answers(net, images, target="1")
    torch.testing.assert_close(maps_of(rule, answers), expected, rtol=0, atol=1e-12)
    (plain,) = (maps_of("saliency", answers),)
    true = ((images.flatten(1) @ w.T > 0).double() * v[1]) @ w
    torch.testing.assert_close(plain.flatten(1), true, rtol=0, atol=1e-12)  # the rule ends with its call


def test_relu6_lets_nothing_through_where_it_saturates() -> None:
    x = torch.tensor([[[[-1.0, 3.0, 7.0]]]], dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    for relu in (nn.ReLU6(), nn.ReLU6(inplace=True), functional.relu6):

        def forward(x: torch.Tensor, relu=relu) -> torch.Tensor:
            value = (relu(x.clone()) * weights).sum((1, 2, 3))
            return torch.stack([value, value - 1], 1)

        answers = explain_answers(classify(Function(forward), (1, 1, 3), 2), x)
        assert maps_of("guided-backprop", answers).flatten().tolist() == [0, 2, 0]
        assert maps_of("deconvolution", answers).flatten().tolist() == [1, 2, 4]


def test_prediction_and_modules_stay_what_they_were() -> None:
    net = small_net()
    images = some_images(3, net)
    answers = explain_answers(net, images)
    for query in ("guided_pass", "deconvolution_pass"):
        found = answers.ask(query, {})
        assert torch.equal(found.logits, answers.ask("input_pass", {}).logits)
        assert torch.equal(found.target, net(images).argmax(1))
    assert isinstance(net.network[2], nn.ReLU) and type(net.network[2]).forward is nn.ReLU.forward
    assert not net.network[2]._backward_hooks and not net.network[2]._forward_hooks


@pytest.mark.parametrize("name", ["guided-backprop", "deconvolution", "guided-gradcam"])
def test_a_network_without_relu_is_refused(name: str) -> None:
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(32, 2))
    for net in (classify(smooth, (1, 4, 4), 2), linear(torch.ones(2, 1, 4, 4, dtype=torch.float64))):
        with pytest.raises(InputError, match="no ReLU"):
            maps_of(name if net.network is smooth else "guided-backprop", explain_answers(net, some_images(2, net)))


def test_guided_gradcam_is_the_product() -> None:
    net = small_net(side=8)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    for layer in ("auto", "0"):
        product = maps_of("guided-backprop", answers) * maps_of(f"gradcam:layer={layer}", answers)
        assert torch.equal(maps_of(f"guided-gradcam:layer={layer}", answers), product)
