"""LRP against rules by hand, a second writing in matrices, and its promise: no layer loses relevance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.models.families import FAMILIES, lively
from tests.nets import Function, classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.errors import UnavailableError, UsageError
from xaicli.explain.lrp_passes import lrp_rules
from xaicli.explain.lrp_visit import Rules
from xaicli.explain.relevance import Walk
from xaicli.explain.run import Explainer
from xaicli.models.canonical import canonical
from xaicli.models.classifier import Classifier
from xaicli.specs import parse_spec

EVERY = ("composite", "epsilon", "gamma", "alpha-beta", "z-plus")


def draw(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def num(values: list[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, within: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


def ready(network: nn.Module) -> nn.Module:
    return network.double().eval().requires_grad_(False)


def relevance_of(
    network: nn.Module, x: Tensor, rules: Rules, start: Tensor | None = None, ends: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """The relevance of x, of the logits themselves or of some of them; what is lost on the way is a failure."""
    walk = Walk(canonical(ready(network), x), x, rules, ends)
    start = walk.logits if start is None else start
    *_, last = conserved(walk, start)
    return last.held[walk.image]


def conserved(walk: Walk, start: Tensor, within: float = 1e-9):
    """All cuts; at each, what is held and absorbed adds up to the start."""
    total = start.double().sum(1)
    for cut in walk.back(start):
        held = sum(total_of(value, len(start)) for value in cut.held.values())
        lost = (held + cut.absorbed - total).abs().max() / total.abs().max()
        assert lost <= within, f"{lost:.1e} lost above {[node.name for node in cut.held]}"
        yield cut


def total_of(value: Tensor | tuple[Tensor, ...], rows: int) -> Tensor:
    if isinstance(value, tuple):
        return sum(total_of(part, rows) for part in value)
    return value.double().reshape(rows, -1).sum(1)


# ------------------------------------------------------------------------------------------------ numbers by hand


def test_epsilon_on_the_linear_network_of_captums_manual() -> None:
    first, last = nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)
    nn.init.constant_(first.weight, 2.0)
    nn.init.constant_(last.weight, 3.0)
    x = num([[1.0, 2.0, 3.0]])
    network = nn.Sequential(first, nn.ReLU(), last)
    close(relevance_of(network, x, lrp_rules("epsilon", 1e-15)), num([[18.0, 36.0, 54.0]]))


def test_every_rule_on_one_neuron_by_hand() -> None:
    # contributions 1 * 4, 2 * -1, -1 * -3 and -2 * 1: 7 up, 4 down; z = 3, with the bias 5
    x, w = num([[1.0, 2.0, -1.0, -2.0]]), torch.tensor([[4.0, -1.0, -3.0, 1.0]])
    layer = nn.Linear(4, 1)
    layer.weight.data, layer.bias.data = w.clone(), torch.tensor([2.0])
    r = torch.full((1, 1), 10.0).double()

    def found(rule: str, **options: float) -> Tensor:
        rules = lrp_rules(rule, epsilon=options.pop("epsilon", 1e-15), **options)
        walk = Walk(canonical(ready(layer), x), x, rules)
        *_, last = walk.back(r)
        return last.held[walk.image]

    close(found("epsilon"), num([[4.0, -2, 3, -2]]) * 10 / 5)
    close(found("epsilon", epsilon=0.2), num([[4.0, -2, 3, -2]]) * 10 / 6)  # 5 + 0.2 * 5
    close(found("composite"), num([[4.0, -2, 3, -2]]) * 10 / 3)
    close(found("z-plus"), num([[4.0, 0, 3, 0]]) * 10 / 7)
    close(found("alpha-beta"), num([[4.0 / 7 * 2, -2 / 4, 3 / 7 * 2, -2 / 4]]) * 10)
    # gamma 1: what has the output's sign counts twice, 8 - 2 + 6 - 2, the bias too
    close(found("gamma", gamma=1.0), num([[8.0, -2, 6, -2]]) * 10 / 14)


def test_gamma_of_a_negative_output_strengthens_what_is_negative() -> None:
    layer = nn.Linear(3, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, -3.0, 2.0]]), torch.tensor([-1.0])
    x, r = num([[1.0, 2.0, -0.5]]), num([[-7.0]])
    walk = Walk(canonical(ready(layer), x), x, lrp_rules("gamma", gamma=0.5))
    *_, last = walk.back(r)
    # 1, -6 and -1 make with -1 a sum of -7; strengthened 1, -9, -1.5 and -1.5, together -11
    close(last.held[walk.image], num([[1.0, -9.0, -1.5]]) * -7 / -11)
    close(last.absorbed, num([-1.5]) * -7 / -11)


def test_the_box_by_hand() -> None:
    # low -1 and high 3: (x - low) w+ is 3 * 2 and 2 * 1, (x - high) w- is -3 * -1 for the middle one
    layer = nn.Linear(3, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[2.0, -1.0, 1.0]]), torch.tensor([5.0])
    x, r = num([[2.0, 0.0, 1.0]]), num([[22.0]])
    ends = torch.full((1, 3), -1.0).double(), torch.full((1, 3), 3.0).double()
    close(relevance_of(layer, x, lrp_rules("composite"), r, ends), num([[12.0, 6.0, 4.0]]))


def test_an_output_without_a_positive_part_shares_by_size_or_evenly() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([[-3.0, -1.0]])
    r = num([[8.0]])
    close(relevance_of(layer, num([[1.0, 1.0]]), lrp_rules("z-plus"), r), num([[6.0, 2.0]]))
    close(relevance_of(layer, torch.zeros(1, 2).double(), lrp_rules("z-plus"), r), num([[4.0, 4.0]]))


class Gated(nn.Module):
    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return self.join(first, second)


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        (lambda a, b: a + b, [3.0 / 5, 2.0 / 5]),
        (lambda a, b: a - b, [3.0 / 5, 2.0 / 5]),
        (lambda a, b: a * torch.sigmoid(b), [1.0, 0.0]),
        (lambda a, b: torch.sigmoid(a) * b, [0.0, 1.0]),
        (lambda a, b: a * b, [0.5, 0.5]),
        (lambda a, b: torch.cat([a, b], 1), [3.0, -2.0]),
    ],
)
def test_joints_by_hand(join: Callable[[Tensor, Tensor], Tensor], expected: list[float]) -> None:
    x = num([[3.0, -2.0]])
    y = Gated(join)(x)
    start = torch.ones_like(y) if y.shape[1] == 1 else y
    close(relevance_of(Gated(join), x, lrp_rules("composite"), start), num([expected]))


def test_the_winner_of_a_maximum_takes_all() -> None:
    x = num([[[[5.0, 0.0, 1.0, 2.0], [2.0, 3.0, -1.0, -4.0]]]])
    network = nn.Sequential(nn.MaxPool2d(2), nn.Flatten())
    expected = num([[[[5.0, 0, 0, 2], [0, 0, 0, 0]]]])
    for rule in EVERY:
        close(relevance_of(network, x, lrp_rules(rule)), expected)


# ----------------------------------------------------------------------------------- a second writing, in matrices


def by_matrix(rule: str, x: Tensor, w: Tensor, b: Tensor, r: Tensor, gamma: float, alpha: float) -> Tensor:
    """Relevance of x [I] from that of the outputs [O], each contribution an entry of a matrix [O, I]."""
    c = w * x
    if rule == "gamma":
        sign = torch.where(c.sum(1) + b >= 0, 1.0, -1.0)
        boosted, bias = c + gamma * c * (c * sign[:, None] > 0), b + gamma * b * (b * sign > 0)
        return (boosted / (boosted.sum(1) + bias)[:, None] * r[:, None]).sum(0)
    if rule == "epsilon":
        return (c / (c.sum(1) + b)[:, None] * r[:, None]).sum(0)
    if rule == "dense":
        return (c / c.sum(1)[:, None] * r[:, None]).sum(0)
    alpha = 1.0 if rule == "z-plus" else alpha
    total = 0
    for contributions, relevance in zip(c, r, strict=True):
        up, down = contributions.clamp(min=0), contributions.clamp(max=0)
        if (up == 0).all() or (alpha > 1 and (down == 0).all()):
            share = contributions.abs() / contributions.abs().sum()
        else:
            share = alpha * up / up.sum() - ((alpha - 1) * down / down.sum() if alpha > 1 else 0)
        total = total + share * relevance
    return total


@pytest.mark.parametrize("rule", EVERY)
def test_a_dense_network_in_matrices(rule: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = ready(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8), nn.SiLU(), nn.Linear(8, 4)))
    x = draw(5, 6)
    found = relevance_of(network, x, lrp_rules(rule, 1e-15, gamma=0.4, alpha=3.0))
    kind = "dense" if rule == "composite" else rule
    for row, mine in zip(x, found, strict=True):
        values = [row]
        for layer in network:
            values.append(layer(values[-1]))
        r = values[-1]
        for layer, value in zip(reversed(network), reversed(values[:-1]), strict=True):
            if isinstance(layer, nn.Linear):
                r = by_matrix(kind, value, layer.weight, layer.bias, r, 0.4, 3.0)
        close(mine, r, 1e-9)


def test_convolutions_and_pools_are_the_matrices_that_they_are() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        conv = ready(nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2))
    x = draw(1, 2, 5, 5)
    pool = nn.AvgPool2d(2, padding=1, ceil_mode=True)
    for layer, bias in ((conv, conv.bias.repeat_interleave(9)), (pool, torch.zeros(2 * 9).double())):
        y = layer(x)
        basis = torch.eye(50, dtype=torch.float64).view(50, 2, 5, 5)
        w = (layer(basis) - layer(torch.zeros_like(x))).flatten(1).T
        r = draw(*y.shape, seed=8)
        for rule in ("epsilon", "gamma", "alpha-beta", "z-plus"):
            expected = by_matrix(rule, x.flatten(), w, bias, r.flatten(), 0.25, 2.0)
            flat = nn.Sequential(layer, nn.Flatten())
            walk = Walk(canonical(flat, x), x, lrp_rules(rule, 1e-15))
            *_, last = walk.back(r.flatten(1))
            torch.testing.assert_close(last.held[walk.image].flatten(), expected, rtol=1e-8, atol=1e-8)


# --------------------------------------------------------------------------------------------- against the gradient


def gradient_product(net: Classifier, images: Tensor) -> Tensor:
    return maps_of("input-x-gradient", explain_answers(net, images))


@pytest.mark.parametrize("mean", [0.0, 0.45])
def test_epsilon_is_input_times_gradient_on_relu_networks(mean: float) -> None:
    for family in ("vgg16-cifar", "resnet18-cifar", "cnn"):
        network, size = lively(family)
        net = Classifier(network, [mean] * 3, [0.25] * 3, list("abcde"), (3, size, size)).double().eval()
        images = some_images(2, net)
        answers = explain_answers(net, images, batch_size=2)
        found = Explainer(parse_spec("explain", "lrp:rule=epsilon,epsilon=1e-14")).attribution(answers)
        expected = gradient_product(net, images)
        close(found.attribution / expected.abs().max(), expected / expected.abs().max(), 1e-6)
        absorbed = net(images).amax(1) - expected.sum((1, 2, 3))
        close(found.figures["bias_share"] / absorbed, torch.ones(2).double(), 1e-6)
        assert absorbed.abs().min() > 1e-3
        assert found.completeness.abs().max() < 1e-6 * net(images).amax()


def test_what_epsilon_adds_is_a_share_of_the_rows_own_largest() -> None:
    net = small_net()
    images = some_images(3, net)
    louder = torch.cat([images[:1], 1e3 * images[1:]])
    for text in ("lrp:epsilon=0.1", "lrp:rule=epsilon,epsilon=0.1"):
        alone = maps_of(text, explain_answers(net, images, target="0"))
        assert torch.equal(maps_of(text, explain_answers(net, louder, target="0"))[:1], alone[:1])
        assert (
            alone - maps_of(text.replace("0.1", "1e-6"), explain_answers(net, images, target="0"))
        ).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------------- families


CONSERVED = [
    *("alexnet", "vgg11_bn", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "googlenet"),
    "inception_v3",
    *("squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0"),
    *("regnet_y_400mf", "convnext_tiny", "resnet18-cifar", "vgg16-cifar", "cnn", "mlp", "timm:efficientnet_lite0"),
]


TRANSFORMERS = ["vit", "swin", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"]


def family_net(family: str) -> Classifier:
    network, size = lively(family)
    return Classifier(network, [0.45] * 3, [0.25] * 3, list("abcde"), (3, size, size)).eval()


@pytest.mark.slow
@pytest.mark.parametrize("family", CONSERVED)
def test_the_composite_conserves_at_every_layer(family: str) -> None:
    net = family_net(family)
    images = some_images(2, net)
    x = (images - net.mean) / net.std
    ends = tuple((end - net.mean) / net.std for end in (0.0, 1.0))
    walk = Walk(canonical(net.network, x), x, lrp_rules("composite"), ends)
    start = walk.logits * F.one_hot(walk.logits.argmax(1), 5)
    # alexnet's first dense layers give 1e4 f and take it back, of which epsilon keeps its share
    *cuts, last = conserved(walk, start, 1e-2 if family == "alexnet" else 1e-3)
    assert len(cuts) >= 4
    close(last.absorbed, torch.zeros(2).double())
    assert last.held[walk.image].abs().sum((1, 2, 3)).min() >= (1 - 1e-3) * start.sum(1).abs().min()


@pytest.mark.slow
@pytest.mark.parametrize("rule", EVERY[1:])
@pytest.mark.parametrize("family", ["vgg16-cifar", "resnet18", "densenet121", "efficientnet_b0", "mobilenet_v3_small"])
def test_other_rules_conserve_up_to_what_biases_take(family: str, rule: str) -> None:
    net = family_net(family).double()
    images = some_images(2, net)
    found = Explainer(parse_spec("explain", f"lrp:rule={rule},epsilon=1e-9")).attribution(
        explain_answers(net, images, batch_size=2)
    )
    value = net(images).amax(1)
    close(found.completeness / value, torch.zeros(2).double(), 1e-4)
    sums = found.attribution.sum((1, 2, 3)) + found.figures["bias_share"]
    close(sums / value, torch.ones(2).double(), 1e-4)
    if rule in ("alpha-beta", "z-plus"):
        assert (found.figures["bias_share"] == 0).all()


def test_no_family_is_left_out() -> None:
    assert {*CONSERVED, *TRANSFORMERS} == FAMILIES.keys()


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_attention_is_refused_with_the_method_to_use(family: str) -> None:
    net = family_net(family)
    answers = explain_answers(net, some_images(2, net), batch_size=2)
    with pytest.raises(UnavailableError, match=r"no rule for the network's 'MatMul' .*; use transformer-lrp"):
        maps_of("lrp", answers)


# ------------------------------------------------------------------------------------------------------- the method


def test_every_layer_of_a_network_without_biases_has_all_of_f() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = nn.Sequential(
            *(nn.Conv2d(2, 5, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, bias=False), nn.ReLU()),
            *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False)),
        )
    x = draw(3, 2, 10, 10)
    for rule in EVERY:
        walk = Walk(canonical(ready(network), x), x, lrp_rules(rule, 1e-14))
        start = walk.logits * F.one_hot(walk.logits.argmax(1), 3)
        for cut in walk.back(start):
            close(sum(value.flatten(1).sum(1) for value in cut.held.values()), start.sum(1), 1e-9)  # in one place each
            assert len(cut.held) == 1
            close(cut.absorbed, torch.zeros(3).double())


@pytest.mark.parametrize("quantity", ["logit", "margin", "probability", "log-probability"])
@pytest.mark.parametrize("rule", EVERY)
def test_every_quantity_adds_up(quantity: str, rule: str) -> None:
    net = small_net(side=8)
    images = some_images(4, net)
    answers = explain_answers(net, images, quantity=quantity)
    found = Explainer(parse_spec("explain", f"lrp:rule={rule},epsilon=1e-12")).attribution(answers)
    close(found.completeness, torch.zeros(4).double(), 1e-8)
    logits = net(images)
    start = (found.attribution.sum((1, 2, 3)) + found.figures["bias_share"]).double()
    expected = {
        "logit": logits.amax(1),
        "margin": logits.sort(1).values[:, -1] - logits.sort(1).values[:, -2],
        "probability": logits.softmax(1).amax(1),
        "log-probability": logits.log_softmax(1).amax(1),
    }
    close(start, expected[quantity], 1e-8)


def test_a_contrast_of_two_classes() -> None:
    net = small_net()
    images = some_images(3, net)
    for rule in EVERY:
        first, second, both = (
            maps_of(f"lrp:rule={rule}", explain_answers(net, images, target=t)) for t in ("2", "0", "2,0")
        )
        if rule == "composite":  # the others, too, are linear in what the logits start with
            assert (first - second).abs().max() > 1e-3
        close(both, first - second, 1e-9)


def test_of_a_linear_network() -> None:
    w, b = draw(3, 2, 3, 3), num([0.3, -0.1, 0.2])
    net = linear(w, b)
    images = some_images(5, net)
    logits, answers = net(images), explain_answers(net, images)
    mine, bias = w[logits.argmax(1)], b[logits.argmax(1)]
    close(maps_of("lrp:rule=epsilon,epsilon=1e-14", answers), mine * images)
    box = images * mine.clamp(min=0) + (images - 1) * mine.clamp(max=0)
    close(maps_of("lrp", answers), box / box.sum((1, 2, 3), keepdim=True) * logits.amax(1).view(-1, 1, 1, 1))
    found = Explainer(parse_spec("explain", "lrp:rule=epsilon,epsilon=1e-14")).attribution(answers)
    close(found.figures["bias_share"], bias)


def test_the_box_goes_through_scaling_and_moving() -> None:
    class Shifted(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            first, second = x[:, 0:1] * -2.0 + 0.3, (x[:, 1:] - 0.5) / 0.2
            return self.inner(torch.cat([first, second], 1).flatten(1))

    inner = nn.Linear(8, 1)
    x = some_images(3, classify(inner, (2, 2, 2), 1))
    found = relevance_of(
        Shifted(inner),
        x,
        lrp_rules("composite"),
        None,
        (torch.zeros(1, 2, 1, 1).double(), torch.ones(1, 2, 1, 1).double()),
    )
    w = inner.weight.view(2, 2, 2)
    z = torch.stack([-2 * x[:, 0] + 0.3, (x[:, 1] - 0.5) / 0.2], 1)
    low = num([-1.7, -2.5]).view(2, 1, 1)
    high = num([0.3, 2.5]).view(2, 1, 1)
    c = (z - low) * w.clamp(min=0) + (z - high) * w.clamp(max=0)
    close(found, c / c.sum((1, 2, 3), keepdim=True) * inner(z.flatten(1)).view(-1, 1, 1, 1))


@pytest.mark.parametrize("rule", EVERY)
def test_single_precision_and_other_rows_change_nothing_that_matters(rule: str) -> None:
    exact = maps_of(f"lrp:rule={rule}", explain_answers(net := small_net(side=9), images := some_images(5, net)))
    single = small_net(side=9, dtype=torch.float32)
    found = maps_of(f"lrp:rule={rule}", explain_answers(single, images.float()))
    assert (found - exact).abs().max() < 1e-3 * exact.abs().max()
    answers = explain_answers(single, images.float()[[3, 1]])
    assert torch.equal(maps_of(f"lrp:rule={rule}", answers), found[[3, 1]])
    assert answers.ask("block", {}).calls.forwards == 2


def test_alpha_below_one_is_refused() -> None:
    net = small_net()
    with pytest.raises(UsageError, match="would make beta"):
        maps_of("lrp:rule=alpha-beta,alpha=0.5", explain_answers(net, some_images(2, net)))


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x.cumsum(1).flatten(1), "cumsum"),
        (lambda x: (x / (x + 2)).flatten(1), "truediv"),
        (lambda x: x.flatten(1).softmax(1), "Softmax"),
        (lambda x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).flatten(1), "MatMul"),
    ],
)
def test_an_operation_without_a_rule_is_refused_by_name(function: Callable[[Tensor], Tensor], name: str) -> None:
    net = classify(Function(function), (1, 2, 2), 4)
    with pytest.raises(UnavailableError, match=f"lrp has no rule for the network's '{name}'"):
        maps_of("lrp", explain_answers(net, some_images(2, net)))


def test_a_network_that_mixes_the_rows_is_refused() -> None:
    net = classify(Function(lambda x: (x.flatten(1).transpose(0, 1) + 1.0).transpose(0, 1)), (1, 3, 3), 9)
    with pytest.raises(UnavailableError, match="mixes the images of a batch"):
        maps_of("lrp:rule=epsilon", explain_answers(net, some_images(4, net)))
