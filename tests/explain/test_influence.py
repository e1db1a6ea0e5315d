"""Influence-directed explanations: against autograd point by point, and in closed form on a linear network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.families import lively
from tests.nets import background_of_noise, classify, explain_answers, small_net, some_images
from xaicli.errors import UsageError
from xaicli.explain.background import Background
from xaicli.explain.run import Explainer
from xaicli.models.classifier import Classifier
from xaicli.specs import parse_spec

LAYER = 3  # the second convolution of the small net, 4 channels
STEPS = 7


def found(text: str, net: Classifier, images: torch.Tensor, **how):
    result = Explainer(parse_spec("explain", text)).attribution(explain_answers(net, images, **how))
    return result.attribution, result.figures["influence"], result.figures["experts"]


def quantity_of(logits: torch.Tensor, target: int, against: int | None, quantity: str) -> torch.Tensor:
    if quantity == "probability":
        return logits.softmax(0)[target]
    return logits[target] - (logits[against] if against is not None else 0)


def gradient_at_layer(
    net: Classifier, image: torch.Tensor, target: int, against: int | None, quantity: str
) -> torch.Tensor:
    """d q / d h at the layer for one image, averaged over its places: [K]."""
    hidden = net.network[: LAYER + 1](image[None]).detach().requires_grad_()
    logits = net.network[LAYER + 1 :](hidden)[0]
    (gradient,) = torch.autograd.grad(quantity_of(logits, target, against, quantity), hidden)
    return gradient[0].mean((1, 2))


def points_of(distribution: str, net: Classifier, image: torch.Tensor, target: int) -> list[tuple[float, torch.Tensor]]:
    """Every image of the distribution with its weight."""
    training = background_of_noise(net)
    if distribution == "sample":
        return [(1.0, image)]
    if distribution == "path":
        nodes, weights = np.polynomial.legendre.leggauss(STEPS)
        return [(w / 2, image * (node + 1) / 2) for node, w in zip(nodes, weights, strict=True)]
    chosen = training.of_class(target, STEPS) if distribution == "class" else training(STEPS)
    return [(1 / len(chosen), one) for one in chosen]


@pytest.mark.parametrize("distribution", ["class", "all", "sample", "path"])
@pytest.mark.parametrize(
    ("target", "quantity"), [("predicted", "logit"), ("2,0", "logit"), ("predicted", "probability")]
)
def test_units_experts_and_map_are_those_of_a_plain_loop(distribution: str, target: str, quantity: str) -> None:
    net = small_net()
    images = some_images(5, net)
    text = f"influence:layer={LAYER},distribution={distribution},samples={STEPS},experts=2"
    maps, influence, experts = found(text, net, images, target=target, quantity=quantity)
    for row, image in enumerate(images):
        c = int(net(image[None]).argmax()) if target == "predicted" else 2
        against = None if target == "predicted" else 0
        points = points_of(distribution, net, image, c)
        expected = sum(w * gradient_at_layer(net, point, c, against, quantity) for w, point in points)
        torch.testing.assert_close(influence[row], expected, rtol=0, atol=1e-12)
        best = expected.argsort(descending=True)[:2]
        assert experts[row].tolist() == best.tolist()
        whole = torch.zeros_like(image)
        for unit in best.tolist():
            x = image.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(net.network[: LAYER + 1](x[None])[0, unit].sum(), x)
            whole += max(float(expected[unit]), 0.0) * image * gradient
        torch.testing.assert_close(maps[row], whole, rtol=0, atol=1e-12)


def linear_net() -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    """h = A x + b as a 1x1 convolution over 4 places, logits = V mean(h): closed forms for everything."""
    a = torch.tensor([[1.0, -2.0], [0.5, 1.0], [-1.0, 3.0]], dtype=torch.float64)
    v = torch.tensor([[2.0, -1.0, 0.5], [-1.0, 4.0, 1.0]], dtype=torch.float64)
    convolution, last = nn.Conv2d(2, 3, 1), nn.Linear(3, 2)
    net = classify(nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last), (2, 2, 2), 2)
    convolution.weight.data.copy_(a[:, :, None, None])
    last.weight.data.copy_(v)
    return net, a, v


@pytest.mark.parametrize("distribution", ["class", "all", "sample", "path"])
def test_on_a_linear_network_every_distribution_gives_the_weights(distribution: str) -> None:
    net, a, v = linear_net()
    images = some_images(4, net)
    maps, influence, experts = found(
        f"influence:layer=0,distribution={distribution},experts=2", net, images, target="0"
    )
    torch.testing.assert_close(influence, (v[0] / 4).expand(4, 3), rtol=0, atol=1e-12)  # the mean over 4 places
    assert experts.tolist() == [[0, 2]] * 4  # 2, 0.5; not -1
    expected = images * (v[0, 0] * a[0] + v[0, 2] * a[2]).view(1, 2, 1, 1) / 4
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-12)


def test_the_map_of_all_positive_units_adds_up_to_what_they_contribute() -> None:
    net, _, v = linear_net()
    images = some_images(3, net)
    maps, _, _ = found("influence:layer=0,experts=3", net, images, target="1")
    hidden = (net.network[0](images) - net.network[0].bias.view(1, 3, 1, 1)).mean((2, 3))
    torch.testing.assert_close(maps.sum((1, 2, 3)), hidden[:, 1:] @ v[1, 1:], rtol=0, atol=1e-12)


def test_units_that_speak_against_the_class_draw_nothing() -> None:
    net, _, _ = linear_net()
    net.network[3].weight.data.neg_().abs_().neg_()
    maps, influence, _ = found("influence:layer=0", net, some_images(2, net), target="0")
    assert (influence < 0).all() and not maps.any()


def test_training_images_are_asked_once_a_run_and_class() -> None:
    net = small_net()
    images = some_images(9, net)
    targets = net(images).argmax(1)
    assert len(targets.unique()) > 1
    asked: list[int] = []
    handle = net.register_forward_pre_hook(lambda module, inputs: asked.append(len(inputs[0])))
    answers = explain_answers(net, images, batch_size=3)
    explainer = Explainer(parse_spec("explain", f"influence:layer={LAYER},samples=3"))
    explainer.attribution(answers)
    once = asked.count(3)  # looking for the layer asks about one image
    assert once == 3 + 3 + len(targets.unique())  # prediction, expert pass, and three images for each class
    block = answers.ask("block", {})
    again = explain_answers(net, images, batch_size=3)
    object.__setattr__(again.ask("block", {}), "background", block.background)
    explainer.attribution(again)
    handle.remove()
    assert asked.count(3) == 2 * once - len(targets.unique())
    assert block.calls.forwards == 9 * explainer.forwards(36)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    net = small_net(dtype=torch.float32)
    images = some_images(7, net)
    whole = found(f"influence:layer={LAYER},distribution=path,samples=5", net, images)
    part = found(f"influence:layer={LAYER},distribution=path,samples=5", net, images[4:6], index=[4, 5])
    for together, alone in zip(whole, part, strict=True):
        assert torch.equal(together[4:6], alone)


def test_units_of_a_transformer_are_the_numbers_of_its_tokens() -> None:
    network, side = lively("vit")
    net = classify(network, (3, side, side), 5)
    images = some_images(2, net)
    maps, influence, _ = found("influence:distribution=sample,experts=16", net, images)
    layer = explain_answers(net, images).ask("block", {}).calls.find("auto")
    tokens: list[torch.Tensor] = []
    handle = network.get_submodule(layer.name).register_forward_hook(lambda *call: tokens.append(call[2]))
    x = images.clone().requires_grad_()
    logits = net(x)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.amax(1).sum(), tokens[0], retain_graph=True)
    expected = gradient[:, 1:].mean(1)  # without the class token
    torch.testing.assert_close(influence, expected, rtol=0, atol=1e-12)
    (slope,) = torch.autograd.grad((tokens[0][:, 1:] * expected.relu().unsqueeze(1)).sum(), x)
    torch.testing.assert_close(maps, images * slope, rtol=0, atol=1e-12)


def test_fewer_units_than_experts_are_all_experts() -> None:
    net = small_net()
    explainer = Explainer(parse_spec("explain", f"influence:layer={LAYER},experts=9"))
    shapes = {column.name: (column.dtype, column.shape) for column in explainer.figures((2, 6, 6), lambda: net)}
    assert shapes == {"influence": ("<f4", (4,)), "experts": ("<u2", (4,))}
    assert found(f"influence:layer={LAYER},experts=9", net, some_images(2, net))[2].shape == (2, 4)


def test_without_training_data_the_other_distributions_still_work() -> None:
    net = small_net()
    answers = explain_answers(net, some_images(2, net))
    object.__setattr__(answers.ask("block", {}), "background", Background())
    Explainer(parse_spec("explain", "influence:distribution=sample")).attribution(answers)
    with pytest.raises(UsageError, match="does not say what data"):
        Explainer(parse_spec("explain", "influence")).attribution(answers)
