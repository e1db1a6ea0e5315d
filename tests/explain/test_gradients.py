"""Gradient methods against closed forms, paper numbers and quadrature written another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from tests.nets import Function, classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.explain.baselines import make_baseline
from xaicli.explain.run import Explainer
from xaicli.run.random import Stream
from xaicli.specs import parse_spec


def weights(seed: int = 3) -> torch.Tensor:
    return torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(actual: torch.Tensor, expected: torch.Tensor, within: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x[:, 0, 0, 0].relu() - 1 - x[:, 0, 0, 1].relu()).relu(),
        lambda x: ((x[:, 0, 0, 0] - 1).relu() - x[:, 0, 0, 1].relu()).relu(),
    ],
)
def test_integrated_gradients_of_the_two_networks_of_the_paper(function) -> None:
    net = classify(Function(lambda x: torch.stack([function(x), -torch.ones(len(x), dtype=x.dtype)], 1)), (1, 1, 2), 2)
    answers = explain_answers(net, torch.tensor([[[[3.0, 1.0]]]], dtype=torch.float64))
    close(maps_of("integrated-gradients", answers), torch.tensor([[[[1.5, -0.5]]]], dtype=torch.float64))


def test_a_linear_network_is_its_weights() -> None:
    w = weights()
    net = linear(w, torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64))
    images = some_images(5, net)
    logits = net(images)
    mine = w[logits.argmax(1)]
    answers = explain_answers(net, images)
    close(maps_of("saliency", answers), mine)
    close(maps_of("input-x-gradient", answers), mine * images)
    for name, b in (("black", torch.zeros_like(images)), ("white", torch.ones_like(images))):
        explained = Explainer(parse_spec("explain", f"ig:baseline={name}"))
        found = explained.attribution(answers)
        maps, gap = found.attribution, found.completeness
        close(maps, mine * (images - b))
        close(gap, torch.zeros(5, dtype=torch.float64))


def test_every_quantity_and_target_has_its_own_gradient() -> None:
    w = weights()
    net = linear(w)
    images = some_images(6, net)
    logits = net(images)
    p = logits.softmax(1)
    rows = torch.arange(6)
    top, low, second = logits.argmax(1), logits.argmin(1), logits.topk(2).indices[:, 1]
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    mean = torch.einsum("nk,kchw->nchw", p, w)

    def gradient(**how) -> torch.Tensor:
        return maps_of("saliency", explain_answers(net, images, labels=labels, **how))

    close(gradient(), w[top])
    close(gradient(target="label"), w[labels])
    close(gradient(target="runner-up"), w[second])
    close(gradient(target="least-likely"), w[low])
    close(gradient(target="2"), w[2].expand_as(images))
    close(gradient(target="name:class1"), w[1].expand_as(images))
    close(gradient(target="class2,class0"), (w[2] - w[0]).expand_as(images))
    close(gradient(quantity="log-probability"), w[top] - mean)
    close(gradient(quantity="probability"), p[rows, top].view(-1, 1, 1, 1) * (w[top] - mean))
    close(gradient(quantity="margin"), w[top] - w[second])
    close(gradient(quantity="margin", target="least-likely"), w[low] - w[top])


def test_input_x_gradient_sums_to_the_logit_of_a_network_without_bias() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3, bias=False))
    net = classify(network, (2, 6, 6), 3)
    images = some_images(4, net)
    maps = maps_of("input-x-gradient", explain_answers(net, images))
    close(maps.sum((1, 2, 3)), net(images).amax(1))


def test_gauss_legendre_is_exact_for_the_degrees_it_promises() -> None:
    # the gradient of x^6 along the path has degree 5: three nodes integrate it exactly, two do not
    net = classify(Function(lambda x: torch.stack([(x**6).sum((1, 2, 3)), x.sum((1, 2, 3)) * 0 - 1], 1)), (1, 2, 2), 2)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    close(maps_of("ig:steps=3", answers), images**6)
    assert (maps_of("ig:steps=2", answers) - images**6).abs().max() > 1e-3


@pytest.mark.parametrize("baseline", ["black", "white", "mean", "blur", "uniform", "gaussian"])
def test_integrated_gradients_against_a_riemann_sum(baseline: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 9, 3))
    net = classify(network, (2, 5, 5), 3)
    images = some_images(2, net)
    answers = explain_answers(net, images, index=[7, 3])
    target = net(images).argmax(1)
    b = answers.ask("baseline_image", {"baseline": baseline})
    steps = 2000
    total = torch.zeros_like(images)
    for k in range(steps):
        point = (b + (k + 0.5) / steps * (images - b)).requires_grad_()
        (g,) = torch.autograd.grad(net(point).gather(1, target[:, None]).sum(), point)
        total += g / steps
    found = Explainer(parse_spec("explain", f"ig:baseline={baseline}")).attribution(answers)
    maps, gap = found.attribution, found.completeness
    close(maps, (images - b) * total, 1e-6)
    drop = (net(images) - net(b)).gather(1, target[:, None]).squeeze(1)
    close(gap, maps.sum((1, 2, 3)) - drop)
    assert gap.abs().max() < 1e-9


def test_the_stored_gap_is_that_of_the_rule_with_few_steps() -> None:
    net = small_net()
    images = some_images(4, net) * 3
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", "ig:steps=3")).attribution(answers)
    maps, gap = found.attribution, found.completeness
    top = net(images).argmax(1, keepdim=True)
    drop = (net(images) - net(torch.zeros_like(images))).gather(1, top).squeeze(1)
    close(gap, maps.sum((1, 2, 3)) - drop)
    assert gap.abs().max() > 1e-4  # three steps cannot be exact here


def test_baselines() -> None:
    images = torch.rand(3, 2, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    stream = Stream(0, "baseline", (4, 9, 2))
    assert make_baseline("black", images, stream).eq(0).all()
    assert make_baseline("white", images, stream).eq(1).all()
    mean = make_baseline("mean", images, stream)
    close(mean, images.mean((2, 3), keepdim=True).expand_as(images))
    blurred = np.stack(
        [[gaussian_filter(c, 1.0, mode="nearest", truncate=4.0) for c in image] for image in images.numpy()]
    )
    close(make_baseline("blur", images, stream), torch.as_tensor(blurred), 1e-12)
    wide = torch.rand(1, 1, 448, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    expected = gaussian_filter(wide[0, 0].numpy(), 10.0, mode="nearest", truncate=4.0)
    close(make_baseline("blur", wide, stream)[0, 0], torch.as_tensor(expected), 1e-12)
    close(make_baseline("uniform", images, stream), torch.as_tensor(stream.uniform((2, 9, 7))).double())
    noisy = (images + 0.5 * torch.as_tensor(stream.normal((2, 9, 7))).double()).clamp(0, 1)
    close(make_baseline("gaussian", images, stream), noisy)
    coins = make_baseline("salt-pepper", images, stream)
    expected = torch.as_tensor(stream.uniform((1, 9, 7)) < 0.5).double().expand_as(images)
    close(coins, expected)
    assert 0.4 < coins.mean() < 0.6
