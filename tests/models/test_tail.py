"""The part of a network above a layer gives the network's logits, or the whole network does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.nets import classify, small_net, some_images
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.models.tail import Tail


def tail_of(net: Classifier, name: str) -> tuple[Tail, nn.Module]:
    layer = net.network.get_submodule(find_layer(net, name).name)
    return Tail(net, layer), layer


def output_of(net: Classifier, layer: nn.Module, images: Tensor) -> Tensor:
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    net(images)
    handle.remove()
    return kept[0]


def never() -> Tensor:
    raise AssertionError("the layers below were asked")


@pytest.mark.parametrize("name", ["0", "1", "2", "3", "4", "5"])
def test_every_layer_of_a_chain(name: str) -> None:
    net = small_net()
    images = some_images(5, net)
    tail, layer = tail_of(net, name)
    assert tail.cut
    assert torch.equal(tail(output_of(net, layer, images), never), net(images))
    changed = torch.rand_like(output_of(net, layer, images))
    assert torch.equal(tail(changed.clone(), never), net.network[int(name) + 1 :](changed))


def built(text: str, size: int) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(parse_arch(text), 4, 3, (size, size))
    names = [str(k) for k in range(4)]
    return Classifier(network, [0.5] * 3, [0.25] * 3, names, (3, size, size)).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("text", "size", "layer", "cut"),
    [
        ("cnn", 16, "block2.relu", True),
        ("resnet18-cifar:width=8", 16, "auto", True),
        ("resnet18-cifar:width=8", 16, "layer3.0", True),
        ("resnet18-cifar:width=8", 16, "layer3.0.conv1", False),  # the shortcut leads around it
        ("torchvision:resnet18", 32, "layer2", True),
        ("torchvision:mobilenet_v3_small", 32, "auto", True),
        ("torchvision:densenet121", 32, "features.denseblock3", True),
        ("torchvision:squeezenet1_1", 32, "auto", True),
        ("torchvision:convnext_tiny", 32, "auto", True),
    ],
)
def test_architectures(text: str, size: int, layer: str, cut: bool) -> None:
    net = built(text, size)
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(2))
    tail, module = tail_of(net, layer)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    output = output_of(net, module, images)
    assert tail.cut == cut
    # the last bit may differ: another layout of the same numbers in memory
    torch.testing.assert_close(tail(output, never if cut else lambda: images), net(images), rtol=1e-6, atol=1e-6)
    assert not any(inner._forward_hooks for inner in net.modules())
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


class Branching(nn.Module):
    """Python that looks at a value cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if float(x.sum()) > 1e6:
            x = x / 2
        return self.head(x.mean((2, 3)))


class Twice(Branching):
    """A constant of the traced run, which the random batch gives away."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        Twice.calls += 1
        return self.head(self.body(x).mean((2, 3))) * (1.0 if Twice.calls != 1 else 2.0)


class Sharing(Branching):
    """A path from the image leads past the layer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3))) + x.mean()


@pytest.mark.parametrize("kind", [Branching, Twice, Sharing])
def test_what_cannot_be_cut_runs_from_the_image_on(kind: type[Branching]) -> None:
    net = classify(kind(), (2, 5, 5), 3)
    images = some_images(3, net)
    layer = net.network.body
    tail = Tail(net, layer)
    assert not tail.cut
    changed = torch.rand(3, 3, 3, 3, dtype=torch.float64)
    extra = images.mean() if kind is Sharing else 0
    torch.testing.assert_close(tail(changed, lambda: images), net.network.head(changed.mean((2, 3))) + extra)
    assert not layer._forward_hooks
