"""DeepLIFT against differences by hand, and its promise: what it gives adds up, whatever the network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.families import lively
from tests.nets import BACKGROUND, Function, classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.errors import UnavailableError
from xaicli.explain.rescale import Pair, SideBySide
from xaicli.explain.run import Explainer
from xaicli.models.canonical import canonical
from xaicli.models.classifier import Classifier
from xaicli.specs import parse_spec


def draw(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, within: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


def multipliers(network: nn.Module, x: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """The multipliers of sum(weights * output) at x."""
    x = x.clone().requires_grad_()
    found = SideBySide(canonical(network.double().eval().requires_grad_(False), x.detach())).run(Pair(x, b))
    close(found.x.detach(), network(x.detach()))
    close(found.b, network(b))
    (m,) = torch.autograd.grad((found.x if weights is None else found.x * weights).sum(), x)
    return m


def gap(network: nn.Module, x: Tensor, b: Tensor) -> float:
    """The gap of completeness for random weights, also on the outputs, relative to the difference."""
    for number, tensor in enumerate([*network.double().parameters(), *network.buffers()]):
        if tensor.is_floating_point():
            tensor.data = (
                draw(*tensor.shape, seed=number).abs() if tensor.dim() == 1 else draw(*tensor.shape, seed=number)
            )
    weights = draw(*network.double()(b).shape[1:], seed=9)
    m = multipliers(network, x, b, weights)
    rise = ((network(x) - network(b)) * weights).flatten(1).sum(1)
    return (((m * (x - b)).flatten(1).sum(1) - rise).abs() / rise.abs()).max().item()


def test_a_linear_network_is_its_weights() -> None:
    w = draw(3, 2, 3, 3)
    net = linear(w, torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64))
    images = some_images(5, net)
    mine = w[net(images).argmax(1)]
    answers = explain_answers(net, images)
    close(maps_of("deeplift", answers), mine * images)
    close(maps_of("deeplift:baseline=white", answers), mine * (images - 1))
    grey = images.mean((2, 3), keepdim=True)
    close(maps_of("deeplift:baseline=mean", answers), mine * (images - grey))


def test_a_small_network_by_hand() -> None:
    # h1 = 2 x1 - x2 and h2 = x1 + x2 - 2; from (0, 0) to (3, 1) they go 0 -> 5 and -2 -> 2
    dense = nn.Linear(2, 2)
    network = nn.Sequential(dense, nn.ReLU(), nn.Linear(2, 1, bias=False))
    dense.weight.data = torch.tensor([[2.0, -1.0], [1.0, 1.0]])
    dense.bias.data = torch.tensor([0.0, -2.0])
    network[2].weight.data = torch.tensor([[1.0, 3.0]])
    x, b = torch.tensor([[3.0, 1.0]]).double(), torch.zeros(1, 2).double()
    # slopes: (5 - 0) / 5 = 1 and (2 - 0) / (2 + 2) = 1/2, where the gradient is 1 for both
    close(multipliers(network, x, b), torch.tensor([[2 + 1.5, -1 + 1.5]]).double())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: (x[:, 0, 0, 0].relu() - 1 - x[:, 0, 0, 1].relu()).relu(), [1.5, -0.5]),
        (lambda x: ((x[:, 0, 0, 0] - 1).relu() - x[:, 0, 0, 1].relu()).relu(), [2.0, -1.0]),
    ],
)
def test_the_two_networks_that_are_one_function(function: Callable[[Tensor], Tensor], expected: list[float]) -> None:
    # the example by which Sundararajan et al. (2017) show that DeepLIFT sees the implementation, IG does not
    net = classify(Function(lambda x: torch.stack([function(x), function(x) * 0 - 1], 1)), (1, 1, 2), 2)
    found = maps_of("deeplift", explain_answers(net, torch.tensor([[[[3.0, 1.0]]]], dtype=torch.float64)))
    close(found, torch.tensor(expected).double().view(1, 1, 1, 2))


def test_where_nothing_changes_the_gradient_counts() -> None:
    for activation in (nn.SiLU(), nn.Sigmoid(), nn.ReLU()):
        x = draw(1, 6)
        y = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(activation(y).sum(), y)
        close(multipliers(activation, x, x), gradient)
        close(multipliers(activation, x, x + 1e-12), gradient, 1e-9)
    close(
        multipliers(nn.ReLU(), torch.zeros(1, 1).double(), torch.full((1, 1), -2.0).double()),
        torch.zeros(1, 1).double(),
    )


def test_max_pooling_by_hand() -> None:
    # y: 5 at the first place, y': 4 at the last; the first rises by 5 - 1 = 4 and gives max(5, 4) - 4 = 1
    x = torch.tensor([[[[5.0, 0.0], [2.0, 3.0]]]]).double()
    b = torch.tensor([[[[1.0, 0.0], [2.0, 4.0]]]]).double()
    pool = nn.MaxPool2d(2)
    close(multipliers(pool, x, b) * (x - b), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]).double())
    # turned round: y 4, y' 5; the fall is 4 - max(4, 5) = -1 and belongs to the baseline's place
    close(multipliers(pool, b, x) * (b - x), torch.tensor([[[[-1.0, 0.0], [0.0, 0.0]]]]).double())


def test_a_gate_shares_by_halves() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first, second = x.chunk(2, 1)
            return first * second

    x, b = torch.tensor([[3.0, 5.0]]).double(), torch.tensor([[1.0, 2.0]]).double()
    close(multipliers(Gate(), x, b) * (x - b), torch.tensor([[2 * 3.5, 3 * 2.0]]).double())  # 15 - 2 = 13


class Excite(nn.Module):
    """A gate per channel, as in MobileNetV3 and EfficientNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(y, 1)))))
        return (gate * y).flatten(1)


class Residual(nn.Module):
    """One ReLU module used twice, in place, around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again, self.relu = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.again(self.relu(self.conv(x)))
        out += x
        return self.relu(out).flatten(1)


class Attend(nn.Module):
    """Attention between the pixels as tokens, after a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up = nn.LayerNorm(4), nn.Linear(2, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.up(x.flatten(2).transpose(1, 2)))
        return (tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])[:, 0]


class Embedded(nn.Module):
    """A product of sums, and what the network computes from its parameters alone."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.up = nn.Parameter(torch.randn(2, 3)), nn.Linear(3, 9)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,nchk->nkw", x * self.up(self.weight)[:, None], x.softmax(3))


@pytest.mark.parametrize(
    "network",
    [
        Excite(),
        Residual(),
        Attend(),
        Embedded(),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.MaxPool2d(3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Softmax(1)),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.AvgPool2d(2), nn.Hardswish()),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Upsample(scale_factor=2), nn.Softplus()),
    ],
    ids=["excite", "residual", "attend", "embedded", "max-pool", "softmax", "group-norm", "batch-norm"],
)
def test_differences_add_up(network: nn.Module) -> None:
    assert gap(network, draw(3, 2, 9, 9), draw(3, 2, 9, 9, seed=6)) < 1e-10


@pytest.mark.parametrize("quantity", ["logit", "margin", "probability", "log-probability"])
@pytest.mark.parametrize("target", ["predicted", "least-likely"])
def test_every_quantity_adds_up(quantity: str, target: str) -> None:
    net = small_net(side=8)
    images = some_images(6, net)
    answers = explain_answers(net, images, quantity=quantity, target=target)
    found = Explainer(parse_spec("explain", "deeplift:baseline=blur")).attribution(answers)
    rise = found.attribution.sum((1, 2, 3))
    baseline = answers.ask("baseline_image", {"baseline": "blur"})
    ig = answers.ask("prediction", {}).score - explained(net, baseline, answers, quantity)
    close(rise, ig)
    close(found.completeness, torch.zeros(6, dtype=torch.float64))
    assert rise.abs().min() > 1e-6


def explained(net: Classifier, images: Tensor, answers: object, quantity: str) -> Tensor:
    target = answers.ask("prediction", {}).target[:, None]  # type: ignore[attr-defined]
    logits = net(images)
    others = logits.scatter(1, target, -torch.inf).amax(1)
    return {
        "logit": logits.gather(1, target)[:, 0],
        "margin": logits.gather(1, target)[:, 0] - others,
        "probability": logits.softmax(1).gather(1, target)[:, 0],
        "log-probability": logits.log_softmax(1).gather(1, target)[:, 0],
    }[quantity]


def test_a_contrast_of_two_classes() -> None:
    net = small_net()
    images = some_images(3, net)
    first, second, both = (maps_of("deeplift", explain_answers(net, images, target=t)) for t in ("2", "0", "2,0"))
    close(both, first - second)


def test_captum_on_a_plain_network() -> None:
    from captum.attr import DeepLift

    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(16, 3)
        )
    net = classify(network, (2, 7, 7), 3)
    images = some_images(4, net)
    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
        theirs = DeepLift(net).attribute(images.clone().requires_grad_(), 0.2 * images, net(images).argmax(1))
    answers = explain_answers(net, images)
    pair = SideBySide(canonical(network, images)).run(Pair(x := images.clone().requires_grad_(), 0.2 * images))
    (m,) = torch.autograd.grad(pair.x.gather(1, answers.ask("prediction", {}).target[:, None]).sum(), x)
    close(m * 0.8 * images, theirs.detach(), 1e-10)


def test_deepshap_is_the_mean_over_the_training_images() -> None:
    net = small_net(side=8)
    images, training = some_images(3, net), some_images(BACKGROUND, net, seed=99)  # as tests.nets has them
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", "deepshap:background=7")).attribution(answers)
    weights = F.one_hot(net(images).argmax(1), 3)
    parts = torch.stack(
        [multipliers(net.network, images, b.expand_as(images), weights) * (images - b) for b in training[:7]]
    )
    close(found.attribution, parts.mean(0), 1e-12)
    close(found.figures["standard_error"], parts.std(0) / 7**0.5, 1e-12)
    drop = net(images).amax(1) - (weights.double() @ net(training[:7]).mean(0))
    close(found.attribution.sum((1, 2, 3)), drop)
    close(found.completeness, torch.zeros(3, dtype=torch.float64))
    assert answers.ask("block", {}).calls.forwards == 3 * (1 + 2 * 7)
    twice = explain_answers(net, images)  # ten images, twice
    close(maps_of("deepshap:background=20", twice), maps_of("deepshap:background=10", twice), 1e-12)


@pytest.mark.parametrize(
    ("function", "name"),
    [(lambda x: x.cumsum(1).flatten(1), "cumsum"), (lambda x: (x / (x + 2)).flatten(1), "truediv")],
)
def test_an_operation_without_a_rule_is_refused_by_name(function: Callable[[Tensor], Tensor], name: str) -> None:
    net = classify(Function(function), (1, 2, 2), 4)
    with pytest.raises(UnavailableError, match=f"no rule for the network's '{name}'") as caught:
        maps_of("deeplift", explain_answers(net, some_images(2, net)))
    assert "\n" not in str(caught.value)
    batchwise = classify(nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()), (1, 2, 2), 4)
    with pytest.raises(UnavailableError, match="no rule for the network's 'BatchNorm2d'"):
        maps_of("deeplift", explain_answers(batchwise, some_images(2, batchwise)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [
        *("alexnet", "vgg11_bn", "resnet18", "densenet121", "googlenet", "squeezenet1_1", "mobilenet_v3_small"),
        *("shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vit", "swin"),
        *("cnn", "vgg16-cifar", "timm:efficientnet_lite0", "timm:vit_tiny_patch16_224"),
    ],
)
def test_completeness_on_the_families(family: str) -> None:
    network, size = lively(family)
    net = Classifier(network, [0.45] * 3, [0.25] * 3, list("abcde"), (3, size, size)).eval()
    images = some_images(2, net)
    answers = explain_answers(net, images, batch_size=2)
    found = Explainer(parse_spec("explain", "deeplift")).attribution(answers)
    rise = answers.ask("prediction", {}).score - answers.ask("difference_pass", {}).baseline_score
    assert found.attribution.abs().amax() > 0
    assert (found.completeness / rise).abs().max().item() < 1e-3


def test_the_network_is_rewritten_once_a_run() -> None:
    net = small_net()
    answers = explain_answers(net, some_images(3, net))
    calls = answers.ask("block", {}).calls
    form = calls.canonical()
    maps_of("deeplift", answers)
    maps_of("deepshap:background=2", answers)
    assert calls.canonical() is form
    assert calls.forwards == 3 * (1 + 2 + 4)
