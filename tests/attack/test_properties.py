"""What holds for every attack: ball, box, best iterate, monotonicity, and that nothing else is touched."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.attack.runs import attacked
from tests.nets import Function, classify, linear, small_net, some_images
from xaicli.attack.norms import direction
from xaicli.data.dataset import UNKNOWN

NET = small_net(seed=1)
IMAGES = some_images(24, NET)
LABELS = NET(IMAGES).argmax(1)
LABELS[3] = (LABELS[3] + 1) % 3  # wrong from the start
LABELS[7] = UNKNOWN
ATTACKS = [
    "fgsm:eps=0.02",
    "fgsm:norm=l2,eps=0.12",
    "pgd:eps=0.02,steps=5",
    "pgd:norm=l2,eps=0.12,steps=5,restarts=2",
    "pgd:eps=0.02,steps=4,targeted=true,towards=random",
    "uniform-noise:eps=0.2,draws=2",
    "uniform-noise:norm=l2,eps=0.9",
    "gaussian-noise:sigma=0.3,draws=2",
    "fgsm:norm=l1,eps=0.9",
    "pgd:norm=l1,eps=0.9,steps=5",
    "pgd:eps=0.01,0.02,0.03,steps=4,eot=2",
    "uniform-noise:norm=l1,eps=9",
    "apgd:eps=0.02,steps=9",
    "apgd:norm=l2,eps=0.12,steps=9,loss=dlr,restarts=2",
    "apgd:norm=l1,eps=0.9,steps=9",
    "apgd-t:norm=l2,eps=0.12,steps=7",
    "fab-t:eps=0.02,steps=5",
    "fab-t:norm=l1,eps=0.9,steps=5",
    "square:eps=0.02,queries=25",
    "square:norm=l2,eps=0.12,queries=25",
    "square:norm=l1,eps=0.9,queries=25",
    "autoattack:norm=l2,eps=0.06,0.12,steps=6,queries=12",
]
WHOLE = {text: attacked(text, NET, IMAGES, LABELS, index=range(50, 74)) for text in ATTACKS}


def same(found, expected, rows: list[int]) -> None:
    for name in ("images", "logits", "clean_logits", "success", "distance", "steps", "target"):
        assert torch.equal(getattr(found, name), getattr(expected, name)[rows]), name


@pytest.mark.parametrize("text", ATTACKS)
def test_ball_and_box_hold(text: str) -> None:
    done = WHOLE[text]
    assert done.images.min() >= 0 and done.images.max() <= 1
    delta = (done.images - IMAGES).flatten(1)
    order = 1 if "l1" in text else 2 if "l2" in text or "gaussian" in text else torch.inf
    size = torch.linalg.vector_norm(delta, order, 1)
    torch.testing.assert_close(done.distance, size, rtol=0, atol=1e-14)
    eps = np.inf if "sigma" in text else max(float(part) for part in re.search(r"eps=([\d.,]*\d)", text)[1].split(","))
    assert (size <= eps + 1e-12).all()


@pytest.mark.parametrize("text", ATTACKS)
def test_logits_and_success_are_those_of_the_stored_image(text: str) -> None:
    done = WHOLE[text]
    torch.testing.assert_close(done.logits, NET(done.images), rtol=0, atol=1e-12)
    right = NET(IMAGES).argmax(1) == LABELS
    goal = done.logits.argmax(1) == done.target if "targeted" in text else done.logits.argmax(1) != LABELS
    assert torch.equal(done.success, right & goal)
    # samples that were wrong already keep their image
    for row in (3, 7):
        assert not done.success[row] and done.distance[row] == 0 and done.steps[row] == 0
        assert torch.equal(done.images[row], IMAGES[row])


def test_attacks_break_some_samples_and_not_all() -> None:
    shares = {text: WHOLE[text].success.double().mean().item() for text in ATTACKS}
    assert 0 < shares["pgd:eps=0.02,steps=5"] < 0.9, shares


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.integers(0, 23), min_size=1, max_size=24, unique=True))
@pytest.mark.parametrize("text", ATTACKS)
def test_neighbours_and_refill_order_do_not_change_a_bit(text: str, rows: list[int]) -> None:
    done = attacked(text, NET, IMAGES[rows], LABELS[rows], index=[50 + row for row in rows])
    same(done, WHOLE[text], rows)


@pytest.mark.parametrize("text", ATTACKS)
def test_model_flags_gradients_and_random_state_are_untouched(text: str) -> None:
    net = small_net(seed=1)
    net.train()
    net.network[1].eval()
    net.requires_grad_()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()]
    torch.manual_seed(11)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    images, labels = IMAGES.clone(), LABELS.clone()
    done = attacked(text, net, images, labels, index=range(50, 74))
    same(done, WHOLE[text], list(range(24)))  # in eval mode whatever the flags say
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == flags
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), state) and np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(images, IMAGES) and torch.equal(labels, LABELS)
    assert not images.requires_grad and not done.images.requires_grad


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}:norm={norm}" for name in ("fgsm", "pgd", "uniform-noise") for norm in ("linf", "l2", "l1")),
        *(f"{name}:norm={norm},steps=7" for name in ("apgd", "apgd-t", "fab-t") for norm in ("linf", "l2", "l1")),
        *(f"square:norm={norm},queries=9" for norm in ("linf", "l2", "l1")),
        "autoattack:steps=5,queries=5",
    ],
)
def test_eps_zero_is_clean_accuracy(text: str) -> None:
    done = attacked(f"{text},eps=0", NET, IMAGES, LABELS)
    assert torch.equal(done.images, IMAGES)
    assert torch.equal(done.logits, done.clean_logits)
    assert not done.success.any()


def robust(text: str) -> torch.Tensor:
    return attacked(text, NET, IMAGES, LABELS).logits.argmax(1) == LABELS


def test_more_steps_restarts_and_draws_never_help_the_defence() -> None:
    chains = [
        [f"pgd:eps=0.04,step=0.01,steps={n}" for n in (1, 2, 4, 8)],
        [f"pgd:norm=l2,eps=0.15,step=0.05,steps={n}" for n in (1, 2, 4, 8)],
        [f"pgd:eps=0.03,steps=1,step=0.001,restarts={n}" for n in (1, 2, 5)],
        [f"uniform-noise:eps=0.1,draws={n}" for n in (1, 3, 9)],
        # a square is one of a sequence that more queries only make longer
        [f"square:eps=0.06,queries={n}" for n in (1, 9, 60)],
        [f"apgd:eps=0.03,steps=1,restarts={n}" for n in (1, 2, 5)],
        [f"fab-t:eps=0.03,steps={n}" for n in (1, 3, 9)],
        [f"fab-t:eps=0.03,steps=3,targets={n}" for n in (1, 2)],
        [f"apgd-t:eps=0.03,steps=5,targets={n}" for n in (1, 2)],
        # what a smaller radius breaks, the larger ones of a list begin with
        [f"pgd:norm=l1,eps={eps},steps=5" for eps in ("0.3", "0.3,0.6", "0.3,0.6,0.9")],
        [f"apgd:eps={eps},steps=5" for eps in ("0.01", "0.01,0.02", "0.01,0.02,0.04")],
        ["autoattack:eps=0.01,steps=5,queries=9", "autoattack:eps=0.01,0.02,steps=5,queries=9"],
        # the control is where PGD starts, so PGD breaks what it breaks
        ["uniform-noise:eps=0.1", "pgd:eps=0.1,steps=2"],
    ]
    for chain in chains:
        alive = [robust(text) for text in chain]
        for weaker, stronger in pairwise(alive):
            assert not (stronger & ~weaker).any(), chain
    assert robust(chains[0][0]).sum() > robust(chains[0][-1]).sum()


def test_the_best_iterate_is_kept_and_the_last_one_counts() -> None:
    # logit 0 less logit 1 is 1 + 4 (x - 0.6)^2 with a wall: stepping over the minimum makes the loss fall again
    net = classify(Function(lambda x: torch.cat([1 + 4 * (x[:, 0, 0] - 0.6) ** 2, x[:, 0, 0] * 0], 1)), (1, 1, 1), 2)
    image, label = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)

    def end(steps: int) -> float:
        return attacked(f"pgd:eps=0.4,step=0.09,steps={steps},random-start=false", net, image, label).images.item()

    assert end(1) == pytest.approx(0.59)  # the last point, which no gradient call has seen
    assert end(2) == pytest.approx(0.59)  # 0.68 is worse
    assert end(3) == pytest.approx(0.59)


def test_steps_count_until_the_first_broken_iterate() -> None:
    net = classify(Function(lambda x: torch.cat([0.5 - x[:, 0, 0], x[:, 0, 0] * 0], 1)), (1, 1, 1), 2)
    image, label = torch.tensor([0.05, 0.25, 0.45]).double().view(3, 1, 1, 1), torch.zeros(3, dtype=torch.int64)
    done = attacked("pgd:eps=0.4,step=0.1,steps=4,random-start=false", net, image, label)
    assert done.steps.tolist() == [4, 3, 1]
    assert done.success.tolist() == [False, True, True]
    assert done.images.flatten().tolist() == pytest.approx([0.45, 0.55, 0.55])


def test_a_dead_gradient_takes_a_random_direction_of_full_size() -> None:
    # no gradient within 0.02 of the image, broken beyond: only a step of full size finds the way out
    net = classify(
        Function(
            lambda x: torch.stack([(x[:, 0, 0, 0] * 0 + 0.1), ((x - 0.5).abs() - 0.02).relu().sum((1, 2, 3)) * 99], 1)
        ),
        (1, 4, 4),
        2,
    )
    image, label = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    for norm in ("linf", "l2"):
        walk = f"pgd:norm={norm},eps=0.1,step=0.1,steps=1,random-start=false"
        first, again, other = (attacked(walk, net, image, label, seed=seed) for seed in (0, 0, 1))
        assert first.success.item() and other.success.item()
        assert first.distance.item() == pytest.approx(0.1, abs=1e-12)
        assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=generator)
    gradient = torch.zeros_like(noise)
    gradient[1] = 1e-200
    assert torch.equal(direction(gradient, "linf", lambda: noise)[0], noise[0].sign())
    l2 = direction(gradient, "l2", lambda: noise)
    torch.testing.assert_close(l2[0], noise[0] / noise[0].norm(), rtol=0, atol=1e-15)
    torch.testing.assert_close(l2[1], torch.full((1, 4, 4), 0.25, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 3), (1, 4, 7), (1, 9, 2)])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_images_of_any_size_can_be_attacked(norm: str, shape: tuple[int, int, int]) -> None:
    weights = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = linear(weights, torch.tensor([9.0, 0.0], dtype=torch.float64))
    images = torch.rand(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(3, dtype=torch.int64)
    done = attacked(f"autoattack:norm={norm},eps=0.2,steps=6,queries=40", net, images, labels)
    margins = [(logits[:, 0] - logits[:, 1]) for logits in (done.logits, net(images))]
    assert (margins[0] < margins[1]).all() and done.images.isfinite().all()
    assert (done.distance <= 0.2 + 1e-12).all()
    squares = attacked(f"square:norm={norm},eps=0.2,queries=40", net, images, labels)
    assert squares.images.isfinite().all() and (squares.distance <= 0.2 + 1e-12).all()


def test_gradients_of_a_random_network_are_averaged() -> None:
    class Flip(nn.Module):
        """The slope of the second logit at each of its calls: clean image, two gradients, last point."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))
            self.slopes = iter((1.0, 1.0, -3.0, -3.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            away = next(self.slopes) * (x - 0.5).sum((1, 2, 3))
            return torch.stack([away * 0 + 5, away], 1)

    image, label = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    walk = "pgd:eps=0.1,step=0.1,steps=1,random-start=false"
    done = attacked(f"{walk},eot=2", classify(Flip(), (1, 2, 2), 2), image, label, batch_size=1)
    assert done.images.flatten().tolist() == pytest.approx([0.4] * 4)  # the mean slope is -1
    alone = attacked(walk, classify(Flip(), (1, 2, 2), 2), image, label, batch_size=1)
    assert torch.equal(alone.images, image)  # goes up, where the next call sees a lower loss


def test_logits_that_are_not_finite_lose_the_sample_and_no_other() -> None:
    class Trap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.mean((1, 2, 3)) * self.weight
            bad = torch.where(mean > 0.5, torch.nan, 0.0)
            return torch.stack([bad, 2 * mean - 2], 1)

    net = classify(Trap(), (1, 2, 2), 2)
    images = torch.tensor([0.48, 0.1, 0.9], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 1, 2, 2).contiguous()
    done = attacked("pgd:eps=0.05,step=0.05,steps=3,random-start=false", net, images, torch.zeros(3, dtype=torch.int64))
    assert done.logits.isfinite().all(1).tolist() == [False, True, False]
    assert done.success.tolist() == [False, False, False]
    assert done.images[1].flatten().tolist() == pytest.approx([0.15] * 4)


def test_noise_has_the_size_it_says() -> None:
    torch.manual_seed(0)
    net = classify(Function(lambda x: torch.stack([x[:, 0, 0, 0] * 0 + 1, x[:, 0, 0, 0] * 0], 1)), (1, 30, 30), 2)
    image, label = torch.full((4, 1, 30, 30), 0.5, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    gaussian = (attacked("gaussian-noise:sigma=0.1", net, image, label).images - image).flatten()
    assert gaussian.std().item() == pytest.approx(0.1, rel=0.05) and abs(gaussian.mean().item()) < 0.01
    uniform = (attacked("uniform-noise:eps=0.2", net, image, label).images - image).flatten()
    assert uniform.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.05)
    l2 = attacked("uniform-noise:norm=l2,eps=0.5", net, image, label)
    # radius^900 is uniform: nearly all mass at the rim
    assert ((l2.distance > 0.49) & (l2.distance <= 0.5)).all()
