"""SmoothGrad and its kin against loops by hand, closed forms and their own error bars."""

from __future__ import annotations

import pytest
import torch

from tests.nets import Function, classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.explain.run import Explainer
from xaicli.run.random import Stream
from xaicli.specs import parse_spec


def close(actual: torch.Tensor, expected: torch.Tensor, within: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


def cubic(side: int = 3):
    """f = sum x^3, so the gradient is 3 x^2 and its moments under normal noise are known."""
    return classify(
        Function(lambda x: torch.stack([(x**3).sum((1, 2, 3)), x.sum((1, 2, 3)) * 0 - 99], 1)), (1, side, side), 2
    )


def test_every_member_of_the_family_against_a_loop_over_the_same_noise() -> None:
    net = small_net()
    images, index = some_images(5, net), [7, 3, 11, 0, 8]
    answers = explain_answers(net, images, index=index, seed=4)
    target = net(images).argmax(1)
    stream = Stream(4, "noisy_gradient_moments:n=6,sigma=0.3", tuple(index))
    gradients = []
    for copy in range(6):
        noise = torch.as_tensor(stream.fork(str(copy)).normal(images.shape[1:])).double()
        point = (images + 0.3 * noise).requires_grad_()
        gradients += torch.autograd.grad(net(point).gather(1, target[:, None]).sum(), point)
    terms = torch.stack(gradients)
    close(maps_of("smoothgrad:n=6,sigma=0.3", answers), terms.mean(0))
    close(maps_of("squaregrad:n=6,sigma=0.3", answers), (terms**2).mean(0))
    close(maps_of("vargrad:n=6,sigma=0.3", answers), terms.var(0, unbiased=False))
    found = Explainer(parse_spec("explain", "smoothgrad:n=6,sigma=0.3")).attribution(answers)
    close(found.figures["standard_error"], terms.std(0) / 6**0.5)
    assert answers.ask("block", {}).calls.forwards == 5 * (1 + 6)  # the noise is shared


def test_a_linear_network_has_the_same_gradient_everywhere() -> None:
    w = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w)
    images = some_images(4, net)
    answers = explain_answers(net, images)
    mine = w[net(images).argmax(1)]
    close(maps_of("smoothgrad", answers), mine)
    close(maps_of("squaregrad", answers), mine**2)
    close(maps_of("vargrad", answers), torch.zeros_like(mine))


def test_moments_of_a_cubic_function_and_an_honest_error_bar() -> None:
    net, s = cubic(), 0.2
    images = some_images(2, net)
    off = []
    for seed in range(20):
        answers = explain_answers(net, images, seed=seed)
        found = Explainer(parse_spec("explain", f"smoothgrad:n=40,sigma={s}")).attribution(answers)
        off.append((found.attribution - 3 * (images**2 + s * s)) / found.figures["standard_error"])
    deviations = torch.stack(off)
    # 360 studentised deviations, those of one map independent: 95 % within 2.02 of Student's t with 39 degrees
    assert 0.91 < (deviations.abs() < 2.02).double().mean().item() < 0.98
    variance = maps_of("vargrad:n=4000,sigma=0.2", explain_answers(net, images))
    expected = 9 * (4 * images**2 * s**2 + 2 * s**4)
    assert ((variance - expected).abs() / expected).max().item() < 0.15  # a variance of 4,000 draws is 3 % off
    square = maps_of("squaregrad:n=4000,sigma=0.2", explain_answers(net, images))
    close(square, variance + maps_of("smoothgrad:n=4000,sigma=0.2", explain_answers(net, images)) ** 2)


def test_one_copy_has_no_error_bar() -> None:
    net = small_net()
    found = Explainer(parse_spec("explain", "smoothgrad:n=1")).attribution(explain_answers(net, some_images(3, net)))
    assert found.figures["standard_error"].isnan().all() and found.attribution.isfinite().all()


@pytest.mark.parametrize("name", ["smoothgrad", "squaregrad", "vargrad"])
def test_metrics_reduce_raw_gradients_by_their_size(name: str) -> None:
    assert Explainer(parse_spec("explain", name)).reduce == "abs-sum"
