"""Steps against an independent optimiser and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from tests.generate.making import made, task_of
from tests.nets import linear
from xaicli.errors import UsageError
from xaicli.generate.counterfactual import counterfactual
from xaicli.generate.rules import Adam, ClosingIn, Strides


def test_adam_is_torchs() -> None:
    draws = torch.Generator().manual_seed(0)
    point = torch.randn(3, 2, 4, dtype=torch.float64, generator=draws)
    theirs = point.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.05, maximize=True)
    rule, ours = Adam(0.05), point
    memory = rule.begin(point)
    for step in range(6):
        gradient = torch.randn(3, 2, 4, dtype=torch.float64, generator=draws)
        theirs.grad = gradient.clone()
        optimiser.step()
        taken = torch.full((3,), step)
        ours, memory = rule.move(ours, gradient, torch.zeros(3), memory, taken, task_of(torch.zeros(3, 1, 1, 1)))
    torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-12)


def test_strides_keep_their_direction_and_fade() -> None:
    start = torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64)
    rule, task = Strides(0.1, momentum=0.5, fades=4), task_of(start)
    gradients = [torch.tensor([[[[3.0, 4.0]]]]).double(), torch.tensor([[[[-1.5, 2.0]]]]).double()]
    point, memory = start, rule.begin(start)
    for step, gradient in enumerate(gradients):
        point, memory = rule.move(point, gradient, torch.zeros(1), memory, torch.tensor([step]), task)
    # 3,4 over 5; then 1.5,2 + -1.5,2 = 0,4 over 4, of three quarters the length
    assert point.flatten().tolist() == pytest.approx([0.56, 0.58 + 0.075])


def test_strides_hold_the_ball_and_the_box_and_stand_still_without_a_gradient() -> None:
    start = torch.tensor([0.95, 0.5], dtype=torch.float64).view(2, 1, 1, 1)
    up = torch.tensor([1.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    rule, task = Strides(0.3, radius=0.2), task_of(start)
    moved, _ = rule.move(start, up, torch.zeros(2), rule.begin(start), torch.zeros(2).long(), task)
    assert moved.flatten().tolist() == pytest.approx([1.0, 0.7])
    still, _ = rule.move(start, up * 0, torch.zeros(2), rule.begin(start), torch.zeros(2).long(), task)
    assert torch.equal(still, start)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_on_a_linear_model_the_counterfactual_is_the_nearest_point_of_the_boundary(confidence: float) -> None:
    w = torch.randn(2, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w)
    start = torch.full((3, 1, 6, 6), 0.5, dtype=torch.float64) + 0.02 * torch.arange(3).view(3, 1, 1, 1)
    margin = net(start)[:, 0] - net(start)[:, 1]
    target = (margin > 0).long()
    generator = counterfactual(confidence=confidence, steps=120)
    done = made(generator.plan(6), net, start, target)
    threshold = math.log(confidence / (1 - confidence))
    exact = (margin.abs() + threshold) / (w[0] - w[1]).norm()
    distance = (done.images - start).flatten(1).norm(dim=1)
    assert (done.score >= threshold).all() and (distance >= exact * (1 - 1e-9)).all()
    torch.testing.assert_close(distance, exact, rtol=0.01, atol=0)
    assert done.images.min() > 0 and done.images.max() < 1  # the box is inactive, or there were no closed form
    along = (w[target] - w[1 - target]) / (w[0] - w[1]).norm()
    torch.testing.assert_close((done.images - start) / distance.view(-1, 1, 1, 1), along, rtol=0, atol=0.02)


def test_an_image_that_never_arrives_is_the_one_that_came_nearest() -> None:
    w = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    w[1] = 2.0  # p of class 1 is at most 0.88
    done = made(
        counterfactual(confidence=0.95, steps=50).plan(32),
        linear(w),
        torch.full((1, 1, 1, 1), 0.4).double(),
        torch.tensor([1]),
    )
    assert done.images.item() == 1.0 and done.score.item() == pytest.approx(2.0)


def test_an_image_that_says_it_already_stays_as_it_is() -> None:
    net = linear(torch.tensor([1.0, 9.0], dtype=torch.float64).view(2, 1, 1, 1))
    start = torch.full((1, 1, 1, 1), 0.7, dtype=torch.float64)
    assert torch.equal(made(counterfactual().plan(32), net, start, torch.tensor([1])).images, start)


def test_confidences_that_cannot_be_asked() -> None:
    for confidence in (0.4, 1.0):
        with pytest.raises(UsageError, match=r"take one from 0\.5 to below 1"):
            counterfactual(confidence=confidence)


def test_the_ball_closes_behind_the_boundary_and_opens_before_it() -> None:
    rule = ClosingIn(0.5, 10, threshold=0.0)
    start = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    point, gradient = start + 0.5, torch.ones_like(start)
    memory = torch.tensor([[0.5], [0.5]], dtype=torch.float64)
    value = torch.tensor([1.0, -1.0], dtype=torch.float64)
    moved, radius = rule.move(point, gradient, value, memory, torch.zeros(2).long(), task_of(start))
    assert radius.flatten().tolist() == pytest.approx([0.5 * 0.85, 0.5 * 1.15])
    assert moved.flatten().tolist() == pytest.approx([0.5 * 0.85, 0.5 * 1.15])
    half, _ = rule.move(point, gradient, value, memory, torch.full((2,), 5), task_of(start))
    assert half.flatten().tolist() == pytest.approx([0.5 * 0.925, 0.5 * 1.075])
