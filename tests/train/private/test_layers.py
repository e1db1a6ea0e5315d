"""Every rule against one backward per sample, in float64."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.nets import classify
from tests.train.private.one_by_one import errors
from xaicli.models.classifier import Classifier
from xaicli.models.wide_resnet import StandardisedConv2d
from xaicli.train.private import layers
from xaicli.train.private.operations import Anything
from xaicli.train.private.watched import Site, Tape, watched

SHAPE = (3, 7, 6)


def lively(network: nn.Module) -> nn.Module:
    """No weight is one or zero, and no statistic the one of nothing."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2)
        elif name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.3)
    return network


def net(*layers: nn.Module) -> Classifier:
    """The layers, then the mean over places and a dense layer, so that what follows has a gradient of its own."""
    torch.manual_seed(0)
    body = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        width = body(torch.zeros(2, *SHAPE, dtype=torch.float64)).flatten(1).shape[1]
    network = nn.Sequential(body, nn.Flatten(), nn.Tanh(), nn.Linear(width, 5)).double()
    return classify(lively(network), SHAPE, 5).requires_grad_(True)


class Then(nn.Module):
    """A layer behind a pointwise function of the image, one line each."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, dtype=torch.float64))


def flat(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(2), layer)


def tokens(self: Then, x: Tensor) -> Tensor:
    words = x.flatten(2).transpose(1, 2)
    words = torch.cat([self.token.expand(x.shape[0], -1, -1), words], 1) + self.places
    return self.norm(words)


def computed(self: Then, x: Tensor) -> Tensor:
    kernel = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * self.gain
    return F.conv2d(x, kernel, self.bias, 2, 1)


def looked_up(self: Then, x: Tensor) -> Tensor:
    return x + self.table[torch.tensor([0, 2, 1, 0, 1, 2])].view(1, 1, 1, 6)


def windows(self: Then, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    halves = x.reshape(n, c, h, 2, w // 2).permute(0, 3, 1, 2, 4).reshape(n * 2, c, h, w // 2)
    return (self.conv(halves) * self.scale).reshape(n, 2, -1).sum(1)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(126, 4)),
    "linear at places": lambda: nn.Linear(6, 4),
    "linear without bias": lambda: nn.Linear(6, 40, bias=False),
    "conv1d": lambda: flat(nn.Conv1d(3, 4, 5, stride=3, padding=2, dilation=2)),
    "conv2d": lambda: nn.Conv2d(3, 4, 3),
    "conv2d, few places": lambda: nn.Conv2d(3, 60, (7, 5)),
    "conv2d, few places, stride and padding": lambda: nn.Conv2d(3, 40, 5, stride=3, padding=(1, 2)),
    "conv2d of 1x1": lambda: nn.Conv2d(3, 8, 1, bias=False),
    "conv2d, stride": lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0)),
    "conv2d, dilation": lambda: nn.Conv2d(3, 4, 3, dilation=(2, 1), padding=2),
    "conv2d, groups": lambda: nn.Conv2d(3, 6, 3, groups=3, padding=1),
    "conv2d, groups of two": lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3, groups=2, stride=2)),
    "conv2d, same": lambda: nn.Conv2d(3, 4, (2, 4), padding="same"),
    "conv2d, valid": lambda: nn.Conv2d(3, 4, 2, padding="valid"),
    "conv2d, reflected": lambda: nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="reflect"),
    "conv2d, circular": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    "conv3d": lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 4, (2, 3, 3), stride=(1, 2, 1), padding=1)),
    "group norm": lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6)),
    "group norm of vectors": lambda: nn.Sequential(nn.Flatten(), nn.GroupNorm(6, 126)),
    "instance norm": lambda: nn.InstanceNorm2d(3, affine=True),
    "instance norm with statistics": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "instance norm 1d": lambda: flat(nn.InstanceNorm1d(3, affine=True)),
    "layer norm": lambda: nn.LayerNorm(6),
    "layer norm without bias": lambda: nn.LayerNorm((7, 6), bias=False),
    "batch norm": lambda: nn.BatchNorm2d(3),
    "batch norm of vectors": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(126)),
    "standardised convolution": lambda: StandardisedConv2d(3, 4, 3, 2),
    "prelu": lambda: nn.PReLU(3),
    "rms norm": lambda: nn.RMSNorm((6,)),
    "transposed convolution": lambda: nn.ConvTranspose2d(3, 4, 3, stride=2),
    "bilinear": lambda: Then(lambda s, x: s.two(x, x.flip(3)), two=nn.Bilinear(6, 6, 3)),
    "class token and places": lambda: Then(
        tokens, token=parameter(1, 1, 3), places=parameter(1, 43, 3), norm=nn.LayerNorm(3)
    ),
    "repeated token": lambda: Then(
        lambda s, x: torch.cat([s.token.repeat(x.shape[0], 1, 7, 1), x], 1), token=parameter(1, 1, 1, 6)
    ),
    "layer scale": lambda: Then(lambda s, x: x * s.scale, scale=parameter(3, 1, 1)),
    "weight first": lambda: Then(lambda s, x: s.scale - x / s.other, scale=parameter(1), other=parameter(1, 3, 1, 1)),
    "scalar": lambda: Then(lambda s, x: s.scale * x, scale=parameter()),
    "computed kernel": lambda: Then(
        computed, weight=parameter(4, 3, 3, 3), gain=parameter(4, 1, 1, 1), bias=parameter(4)
    ),
    "table of positions": lambda: Then(looked_up, table=parameter(3)),
    "matrix": lambda: Then(lambda s, x: x @ s.matrix, matrix=parameter(6, 4)),
    "einsum": lambda: Then(lambda s, x: torch.einsum("nchw,wv->nchv", x, s.matrix), matrix=parameter(6, 4)),
    "size of a weight": lambda: Then(lambda s, x: s.conv(x) / s.conv.weight.shape[2], conv=nn.Conv2d(3, 4, 3)),
    "functions by name": lambda: Then(
        lambda s, x: F.conv2d(input=x, weight=s.a * 2, stride=2, groups=3, padding="valid", dilation=(1, 2)),
        a=parameter(6, 1, 2, 3),
    ),
    "padded function": lambda: Then(
        lambda s, x: F.conv1d(x.flatten(2), s.a.abs(), padding="same"), a=parameter(4, 3, 5)
    ),
    "linear function": lambda: Then(lambda s, x: F.linear(x, s.a * 2, s.b), a=parameter(4, 6), b=parameter(4)),
    "weight in two places": lambda: Then(lambda s, x: s.conv(s.conv(x).tanh()), conv=nn.Conv2d(3, 3, 3, padding=1)),
    "weight as kernel and factor": lambda: Then(lambda s, x: F.linear(x, s.a) * s.a.mean(), a=parameter(4, 6)),
    "windows": lambda: Then(windows, conv=nn.Conv2d(3, 4, 3), scale=parameter(4, 1, 1)),
}


@pytest.mark.filterwarnings("ignore:Using padding")  # of torch, about its own copies
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_norms_and_clipped_sums_are_those_of_single_samples(layer: str, copies: int) -> None:
    classifier = net(nn.Hardswish(), LAYERS[layer]())
    assert max(errors(classifier, samples=4, copies=copies)) < 1e-9


@pytest.mark.parametrize("layer", [name for name in LAYERS if "conv" in name])
@pytest.mark.filterwarnings("ignore:Using padding")
def test_images_may_be_unfolded_one_by_one(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "SCRATCH", 1)
    assert max(errors(net(nn.Hardswish(), LAYERS[layer]()), samples=4, copies=2)) < 1e-9


def test_attention_is_trained_through_views_of_its_parameters() -> None:
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    classifier = net(Then(lambda s, x: s.inner(*[x.flatten(1, 2)] * 3)[0], inner=attention))
    assert attention.in_proj_weight.requires_grad
    assert max(errors(classifier)) < 1e-9


@pytest.mark.parametrize(
    "layer", ["conv2d", "linear", "group norm", "batch norm", "weight in two places", "class token and places"]
)
def test_frozen_parameters_are_left_alone(layer: str) -> None:
    classifier = net(nn.Conv2d(3, 3, 1), nn.Tanh(), LAYERS[layer](), nn.Tanh())
    classifier.network[0][0].requires_grad_(False)
    for name, one in classifier.network[0][2].named_parameters():
        one.requires_grad_("bias" in name)
    assert max(errors(classifier)) < 1e-9
    assert all(one.grad is None for one in classifier.parameters() if not one.requires_grad)


def test_what_is_frozen_is_not_even_watched() -> None:
    classifier = net(nn.Conv2d(3, 3, 1), nn.GroupNorm(3, 3), nn.Tanh())
    classifier.network[0].requires_grad_(False)
    random = torch.randn(3, *SHAPE, dtype=torch.float64)
    sites = [site for site in watched(classifier.network, random, Tape()).modules() if isinstance(site, Site)]
    assert [site.name for site in sites] == ["3"]


def test_common_layers_do_not_need_the_rule_for_anything() -> None:
    parts = OrderedDict((name.replace(".", ""), make()) for name, make in LAYERS.items() if name in COMMON)
    for part in parts.values():
        classifier = net(part)
        form = watched(classifier.network, torch.randn(3, *SHAPE, dtype=torch.float64), Tape())
        sites = [site for site in form.modules() if isinstance(site, Site)]
        assert not any(isinstance(site.rule, Anything) for site in sites)
        assert len(sites) >= 2


COMMON = {name for name in LAYERS if name.split(",")[0].split()[0] in ("linear", "conv1d", "conv2d", "conv3d", "group")}
COMMON |= {name for name in LAYERS if "norm" in name and "rms" not in name}
COMMON |= {"class token and places", "repeated token", "layer scale", "scalar", "computed kernel", "table of positions"}
