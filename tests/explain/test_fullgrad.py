"""FullGrad: its identity holds on networks that are linear piece by piece, and the map is made of its terms."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tests.nets import classify, explain_answers, maps_of, small_net, some_images
from xaicli.explain.explanation import Explanation
from xaicli.explain.fullgrad import bias_of
from xaicli.explain.run import Explainer
from xaicli.models.classifier import Classifier
from xaicli.specs import parse_spec


def unsettled(network: nn.Module) -> nn.Module:
    """BatchNorm with other statistics and weights than the fresh ones, which hide the faults."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def explained(net: Classifier, images: Tensor, **how) -> Explanation[Tensor]:
    return Explainer(parse_spec("explain", "fullgrad")).attribution(explain_answers(net, images, **how))


@pytest.mark.parametrize("target", ["predicted", "least-likely", "class1,class0"])
def test_the_identity_on_a_small_network(target: str) -> None:
    net = small_net(2, side=8)
    for quantity in ("logit", "margin") if "," not in target else ("logit",):
        gap = explained(net, some_images(5, net), target=target, quantity=quantity).completeness
        assert gap.abs().max() < 1e-12
    # a probability is not linear in the logits: the identity does not hold, and the gap says so
    if target == "predicted":
        assert explained(net, some_images(5, net), quantity="probability").completeness.abs().min() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_the_identity_on_a_residual_network_behind_a_normalisation(dtype: torch.dtype, within: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = unsettled(torchvision.models.resnet18(weights=None, num_classes=5))
    net = Classifier(network, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], list("abcde"), (3, 48, 48))
    net = net.to(dtype).eval().requires_grad_(False)
    images = some_images(3, net)
    score = net(images).amax(1)
    gap = explained(net, images).completeness
    assert score.abs().min() > 1e-2
    assert (gap / score).abs().max() < within


def test_the_identity_behind_normalisations_that_end_in_an_activation() -> None:
    layers = pytest.importorskip("timm.layers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 8, 3)
        body = [first, layers.BatchNormAct2d(6), second, layers.BatchNormAct2d(8, inplace=False), nn.AvgPool2d(6)]
        network = unsettled(nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 4)))
    net = classify(network, (2, 10, 10), classes=4)
    gap = explained(net, some_images(5, net)).completeness
    assert gap.abs().max() < 1e-12


def test_each_kind_of_layer_says_what_it_adds() -> None:
    x = torch.rand(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    norms = [nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)]
    for module in [nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3), *norms]:
        unsettled(module).eval()
        bias = bias_of(module)
        assert bias is not None
        expected = module(torch.zeros_like(x)).expand_as(module(x))
        torch.testing.assert_close(bias.view(1, -1, 1, 1).expand_as(expected), expected, rtol=0, atol=1e-6)
    assert bias_of(nn.Linear(3, 2)).shape == (2,)
    assert bias_of(nn.Conv2d(4, 6, 3, bias=False)) is None and bias_of(nn.ReLU()) is None
    assert bias_of(nn.BatchNorm2d(4, affine=False, track_running_stats=False)) is None


def test_the_map_is_made_of_the_input_and_of_the_biases_of_layers_with_maps() -> None:
    net = small_net(2, side=8)
    net.network[3].stride = (2, 2)
    images = some_images(4, net)
    x = images.clone().requires_grad_()
    conv = net.network[0](x)
    norm = net.network[1](conv)
    second = net.network[3](norm.relu())
    logits = net.network[4:](second)
    gradients = torch.autograd.grad(logits.amax(1).sum(), (x, conv, norm, second))

    def psi(product: Tensor) -> Tensor:
        strength = product.abs()
        total = torch.zeros(4, 1, 8, 8, dtype=torch.float64)
        for n in range(4):
            for channel in strength[n]:
                spread = channel.max() - channel.min()
                scaled = (channel - channel.min()) / spread if spread > 0 else 0 * channel
                total[n] += interpolate(scaled[None, None], size=(8, 8), mode="bilinear", align_corners=False)[0]
        return total

    batch_norm = net.network[1]
    shift = batch_norm.bias - batch_norm.running_mean * batch_norm.weight / (batch_norm.running_var + 1e-5).sqrt()
    biases = [net.network[0].bias, shift, net.network[3].bias]
    terms = [bias[:, None, None] * g for bias, g in zip(biases, gradients[1:], strict=True)]
    expected = sum((psi(term) for term in terms), psi(images * gradients[0])).detach()
    torch.testing.assert_close(maps_of("fullgrad", explain_answers(net, images)), expected, rtol=0, atol=1e-10)


def test_what_lies_above_in_place_layers_and_a_layer_used_twice_are_counted() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        conv = nn.Conv2d(2, 2, 3, padding=1)
        network = nn.Sequential(
            conv, nn.ReLU(inplace=True), conv, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 3)
        )
    net = classify(network, (2, 6, 6), 3)
    assert explained(net, some_images(4, net)).completeness.abs().max() < 1e-12
    assert not any(module._forward_hooks for module in net.modules())


class ChannelsLast(nn.Module):
    """A dense layer over the channels of a map [n, h, w, K], as in ConvNeXt, and normalised features."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(2, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.dense(x.permute(0, 2, 3, 1)).relu()
        return self.last(self.norm(maps.mean((1, 2))).relu())


def test_the_identity_where_channels_lie_last_and_features_are_normalised() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = ChannelsLast()
        nn.init.uniform_(network.norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(network.norm.bias, 0.1, 0.3)
        net = classify(network, (2, 5, 6), 3)
    images = some_images(4, net)
    assert explained(net, images).completeness.abs().max() < 1e-12
    dense = network.dense
    x = images.clone().requires_grad_()
    maps = dense(x.permute(0, 2, 3, 1))
    top = network.last(network.norm(maps.relu().mean((1, 2))).relu()).amax(1)
    at_image, at_dense = torch.autograd.grad(top.sum(), (x, maps))
    total = torch.zeros(4, 1, 5, 6, dtype=torch.float64)
    for product in (images * at_image, (dense.bias * at_dense).permute(0, 3, 1, 2)):
        low, high = product.abs().amin((2, 3), keepdim=True), product.abs().amax((2, 3), keepdim=True)
        total += ((product.abs() - low) / torch.where(high > low, high - low, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(maps_of("fullgrad", explain_answers(net, images)), total, rtol=0, atol=1e-10)
