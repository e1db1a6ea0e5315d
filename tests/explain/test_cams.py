"""Grad-CAM on paper numbers."""

from __future__ import annotations

import torch
from torch import nn

from tests.nets import classify, explain_answers, maps_of, small_net, some_images
from xaicli.explain.cams import gradcam


def paper_net():
    conv = nn.Conv2d(1, 2, 3)
    fc = nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        conv.weight.fill_(1)
        conv.bias.copy_(torch.tensor([-50.0, -75.0]))
        fc.weight.copy_(torch.tensor([1.0] * 5 + [-1.0] * 3).expand(4, 8))
    return classify(nn.Sequential(conv, nn.ReLU(), nn.Flatten(), fc, nn.ReLU()), (1, 4, 4), 4)


def cam(layer: str, relu: bool) -> list[list[float]]:
    images = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    answers = explain_answers(paper_net(), images, target="0")
    return answers.call(gradcam, {"layer": layer, "relu": relu}, "gradcam")[0, 0].tolist()


def test_the_small_example_at_the_convolution_and_at_its_relu() -> None:
    assert cam("0", False) == [[11.25, 13.5], [20.25, 22.5]]
    assert cam("1", True) == [[0, 4], [28, 32.5]]


def test_auto_is_the_last_layer_that_tells_places_apart() -> None:
    net = small_net()
    images = some_images(3, net)
    answers = explain_answers(net, images)
    assert torch.equal(maps_of("gradcam", answers), maps_of("gradcam:layer=4", answers))
    assert not torch.equal(maps_of("gradcam", answers), maps_of("gradcam:layer=2", answers))


def test_weights_and_upsampling_against_autograd_by_hand() -> None:
    net = small_net(2, side=8)
    images = some_images(3, net)
    below, above = net.network[:5], net.network[5:]
    a = below(images).requires_grad_()
    (g,) = torch.autograd.grad(above(a).amax(1).sum(), a)
    by_hand = torch.stack([sum(g[n, k].mean() * a[n, k] for k in range(4)) for n in range(3)])[:, None].detach()
    answers = explain_answers(net, images)
    torch.testing.assert_close(maps_of("gradcam:relu=false", answers), by_hand, rtol=0, atol=1e-12)
    torch.testing.assert_close(maps_of("gradcam", answers), by_hand.clamp_min(0), rtol=0, atol=1e-12)
