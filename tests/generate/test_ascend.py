"""The loop of all generators: lanes, plateaus, and which image of a walk is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from tests.generate.making import made, task_of
from tests.nets import Function, classify, linear, small_net, some_images
from xaicli.generate.ascend import WINDOW, ascend
from xaicli.generate.class_images import class_images
from xaicli.generate.objectives import ClassScore
from xaicli.generate.parameters import Pixels
from xaicli.generate.plan import Plan
from xaicli.generate.rules import Strides
from xaicli.run.calls import Calls


def weights_of(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_an_image_stops_ten_steps_after_it_has_come_to_the_rim_of_its_ball() -> None:
    w = weights_of(2)
    start, target = torch.full((5, 1, 5, 5), 0.5, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 0])
    plan = class_images(steps=60, step=0.05, eps=0.2, plateau=1e-6).plan(5)
    calls = Calls(linear(w), batch_size=2)
    done = ascend(plan, calls, task_of(start, target))
    rim = 4  # steps to it
    assert done.steps.tolist() == [rim + WINDOW + 1] * 5
    assert calls.forwards == 5 * (rim + WINDOW + 1) + 5  # and once as stored
    assert done.loss.isfinite().sum(1).tolist() == [rim + WINDOW + 2] * 5
    whole = made(replace(plan, plateau=0.0), linear(w), start, target)
    assert whole.steps.tolist() == [60] * 5 and torch.equal(whole.images, done.images)


def test_images_that_are_finished_make_room_for_the_next() -> None:
    net = small_net()
    start, target = some_images(7, net), torch.arange(7) % 3
    sizes: list[int] = []
    handle = net.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    plan = class_images(steps=40, step=0.3, eps=1.0, plateau=0.02).plan(6)
    calls = Calls(net, batch_size=3)
    done = ascend(plan, calls, task_of(start, target))
    handle.remove()
    assert len(set(done.steps.tolist())) > 1  # each by its own walk
    assert set(sizes) == {3} and calls.forwards == int(done.steps.sum()) + 7
    one_by_one = -(-7 // 3) * int(done.steps.max())
    assert len(sizes) - 3 < one_by_one  # lanes were refilled before the slowest of a batch was done
    for row in range(7):
        alone = made(plan, net, start[[row]], target[[row]], batch_size=3)
        assert torch.equal(alone.images[0], done.images[row])
        assert torch.equal(alone.loss[0].nan_to_num(9), done.loss[row].nan_to_num(9))
    for size in (1, 32):
        other = made(plan, net, start, target, batch_size=size)
        assert torch.equal(other.steps, done.steps)
        torch.testing.assert_close(other.loss[:, 0], done.loss[:, 0], rtol=0, atol=1e-9)
        torch.testing.assert_close(other.score, done.score, rtol=0, atol=1e-9)


def test_a_walk_that_is_no_number_ends_at_once() -> None:
    net = classify(Function(lambda x: torch.stack([x.mean((1, 2, 3)).log(), x.mean((1, 2, 3))], 1)), (1, 2, 2), 2)
    start = torch.tensor([0.0, 0.5], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    done = made(class_images(steps=3, step=0.1), net, start, torch.tensor([0, 0]))
    assert done.steps.tolist() == [1, 3] and not done.score[0].isfinite() and done.score[1].isfinite()


@dataclass(frozen=True)
class Near:
    """Minus the distance of every image's mean to 0.3."""

    def __call__(self, calls, images, task):
        return -(images.mean((1, 2, 3)) - 0.3).abs(), calls.classifier(images)


def test_the_best_image_is_kept_and_judged_as_it_is_stored() -> None:
    net = linear(torch.ones(2, 1, 1, 1, dtype=torch.float64))
    start = torch.tensor([[[[0.07]]], [[[0.302]]]], dtype=torch.float64)
    plan = Plan(4, Pixels(), Near(), Strides(0.1), keep="best", levels=False)
    done = made(plan, net, start)  # 0.07, 0.17, 0.27, 0.37, then 0.27 again
    assert done.images.flatten().tolist() == pytest.approx([0.27, 0.302])
    assert done.score.tolist() == pytest.approx([-0.03, -0.002])
    last = made(replace(plan, steps=3, keep="last"), net, start[:1])
    assert last.images.flatten().tolist() == pytest.approx([0.37])
    rounded = made(replace(plan, levels=True), net, start)
    assert (rounded.images * 255).flatten().tolist() == [69, 77]
    assert rounded.score.tolist() == pytest.approx([69 / 255 - 0.3, 0.3 - 77 / 255])


def test_odds_are_those_of_softmax() -> None:
    net = small_net()
    images, target = some_images(4, net), torch.tensor([0, 1, 2, 0])
    value, logits = ClassScore("odds")(Calls(net), images, task_of(images, target))
    chance = logits.softmax(1).gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(value, chance.logit())
