"""Deletion, insertion and N-Ord against closed forms and a loop that knows nothing of batches or plans."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.explain.baselines import make_baseline
from xaicli.run.random import Stream

MAPS = torch.randn(4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
NET = small_net()
IMAGES = some_images(4, NET)


def probability(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return NET(images).softmax(1).gather(1, target[:, None]).squeeze(1)


def logit(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return NET(images).gather(1, target[:, None]).squeeze(1)


def replaced(start: torch.Tensor, end: torch.Tensor, phi: torch.Tensor, count: int) -> torch.Tensor:
    """One image whose `count` most relevant pixels are those of `end`."""
    out = start.clone()
    for place in np.argsort(-phi.numpy().ravel(), kind="stable")[:count]:
        row, column = divmod(int(place), phi.shape[1])
        out[:, row, column] = end[:, row, column]
    return out


def naive_area(start, end, steps: int, f) -> tuple[list[float], list[list[float]]]:
    areas, curves = [], []
    for x, b, phi in zip(start, end, MAPS, strict=True):
        target = NET(IMAGES[len(areas)][None]).argmax(1)
        pixels = phi.numel()
        k = min(steps, pixels)
        counts = [round(i * pixels / k) for i in range(k + 1)]
        curve = [f(replaced(x, b, phi, count)[None], target).item() for count in counts]
        steps_of = zip(counts, counts[1:], curve, curve[1:], strict=False)
        areas.append(sum((c1 - c0) / pixels * (y0 + y1) / 2 for c0, c1, y0, y1 in steps_of))
        curves.append(curve)
    return areas, curves


@pytest.mark.parametrize("steps", [1, 7, 36, 100])
def test_deletion_and_insertion_against_a_naive_loop(steps: int) -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    black = torch.zeros_like(IMAGES)
    blur = make_baseline("blur", IMAGES, Stream(0, "", (0,)))
    for text, start, end in (("deletion", IMAGES, black), ("insertion", blur, IMAGES)):
        areas, curves = naive_area(start, end, steps, probability)
        found = ask(f"{text}:steps={steps}", answers)
        assert found[text] == pytest.approx(areas, abs=1e-12)
        assert found["curve"] == pytest.approx(np.array(curves), abs=1e-12)


def test_other_quantities_are_rescaled_to_the_span() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    black = torch.zeros_like(IMAGES)
    target = NET(IMAGES).argmax(1)
    areas, _ = naive_area(IMAGES, black, 12, logit)
    low, high = logit(black, target), logit(IMAGES, target)
    expected = (torch.tensor(areas, dtype=torch.float64) - low) / (high - low)
    expected[high - low <= 1e-6] = np.nan
    assert expected.isfinite().any()
    assert value("deletion:steps=12,quantity=logit", answers) == pytest.approx(expected.numpy(), abs=1e-12, nan_ok=True)


def test_a_span_of_nothing_is_undefined() -> None:
    net = linear(torch.ones(2, 1, 3, 3, dtype=torch.float64))
    answers = answers_of(net, torch.zeros(1, 1, 3, 3, dtype=torch.float64), MAPS[:1, :3, :3])
    assert np.isnan(value("deletion:quantity=logit", answers)).all()
    assert value("deletion", answers) == pytest.approx([0.5])  # the probability needs no span


def linear_case():
    w = torch.rand(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.3
    net = linear(torch.cat([w, w - 5]))  # class 0 always wins
    images = some_images(3, net)
    return net, images, (w[0] * images).sum(1)


def test_linear_deletion_is_f_minus_the_cumulative_sum() -> None:
    net, images, phi = linear_case()
    curve = ask("deletion:steps=16,quantity=logit", answers_of(net, images, phi))["curve"]
    f = net(images)[:, :1]
    expected = torch.cat([f, f - phi.flatten(1).sort(1, descending=True).values.cumsum(1)], 1) / f
    defined = f[:, 0] > 1e-6
    assert defined.any()
    assert curve[defined] == pytest.approx(expected[defined].numpy(), abs=1e-12)


def test_insertion_in_morf_order_is_the_reversed_lerf_deletion() -> None:
    answers, against = answers_of(NET, IMAGES, MAPS), answers_of(NET, IMAGES, -MAPS)
    for steps in (9, 36):
        insertion = ask(f"insertion:baseline=black,steps={steps}", answers)
        deletion = ask(f"deletion:baseline=black,steps={steps}", against)
        assert np.array_equal(insertion["curve"], deletion["curve"][:, ::-1])
        assert insertion["insertion@black"] == pytest.approx(deletion["deletion"], abs=1e-15)


def brute_n_ord(image: torch.Tensor, phi: torch.Tensor) -> tuple[float, int]:
    target = NET(image[None]).argmax(1)
    f_b = logit(torch.zeros_like(image)[None], target).item()
    order = [p for p in np.argsort(-phi.numpy().ravel(), kind="stable") if phi.numpy().ravel()[p] > 0]
    left, total = image.clone(), 0.0
    for m in range(len(order) + 1):
        if m:
            row, column = divmod(int(order[m - 1]), phi.shape[1])
            left[:, row, column] = 0
        total += max(logit(left[None], target).item() - f_b, 0)
    return total / (len(order) + 1), len(order)


def test_n_ord_of_all_steps_against_brute_force() -> None:
    maps = MAPS.clone()
    maps[1] = -maps[1].abs()  # nothing positive: undefined
    maps[2, 1:] = -1  # few positive pixels
    answers = answers_of(NET, IMAGES, maps)
    calls = answers.ask("subject", {}).calls
    found = ask("n-ord:steps=all", answers)
    expected = [brute_n_ord(x, phi)[0] for x, phi in zip(IMAGES, maps, strict=True)]
    expected[1] = np.nan
    assert found["n-ord"] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    target = NET(IMAGES).argmax(1)
    span = (logit(IMAGES, target) - logit(torch.zeros_like(IMAGES), target)).numpy()
    share = np.where(span > 1e-6, np.array(expected) / np.where(span > 1e-6, span, 1), np.nan)
    assert found["n-ord-share"] == pytest.approx(share, abs=1e-12, nan_ok=True)
    positives = (maps > 0).sum((1, 2))
    assert calls.forwards == 2 * 4 + int(positives.clamp_min(1).sum())  # each row its own number of pixels


def test_n_ord_in_equal_shares_of_the_mass() -> None:
    # three steps: the counts are where the running mass first reaches 1/3, 2/3 and all of it
    phi = torch.tensor([[[5.0, 4.0, 1.0], [3.0, -2.0, 0.0], [0.0, 1.0, 1.0]]], dtype=torch.float64)
    net = linear(torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)]).double())
    image = torch.tensor([[[[0.9, 0.8, 0.1], [0.5, 0.3, 0.6], [0.7, 0.2, 0.4]]]], dtype=torch.float64)
    walk = answers_of(net, image, phi).ask("positive_removal", {"steps": 3})
    assert walk.counts.tolist() == [[0, 1, 3, 6]]
    left = [4.5, 4.5 - 0.9, 4.5 - 0.9 - 0.8 - 0.5, 4.5 - 0.9 - 0.8 - 0.5 - 0.1 - 0.2 - 0.4]
    assert walk.scores[0].numpy() == pytest.approx(left, abs=1e-14)
    # trapezoid in m, and half of both ends, over M + 1 = 7
    area = (left[0] + left[1]) / 2 + (left[1] + left[2]) + 3 * (left[2] + left[3]) / 2 + (left[0] + left[3]) / 2
    assert value("n-ord:steps=3", answers_of(net, image, phi)) == pytest.approx([area / 7], abs=1e-14)


def test_fifty_steps_are_exact_for_a_straight_curve() -> None:
    net = linear(torch.stack([torch.ones(1, 9, 9), -torch.ones(1, 9, 9)]).double() / 81)
    images = torch.full((1, 1, 9, 9), 0.7, dtype=torch.float64)
    phi = torch.rand(1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.2
    few, all_steps = (value(f"n-ord:steps={steps}", answers_of(net, images, phi)) for steps in (50, "all"))
    m = int((phi > 0).sum())
    closed = 0.7 - 0.7 / 81 * m / 2  # the mean of f(R_m) over m = 0..M
    assert few == pytest.approx([closed], abs=1e-13)
    assert all_steps == pytest.approx([closed], abs=1e-13)


def test_ties_are_broken_by_a_permutation_that_all_explainers_share() -> None:
    flat = torch.zeros_like(MAPS)
    first = answers_of(NET, IMAGES, flat, index=[3, 1, 4, 5]).ask("order", {})
    other = answers_of(NET, IMAGES, flat + 2, index=[3, 1, 4, 5]).ask("order", {})
    assert torch.equal(first, other)
    assert first.sort(1).values.tolist() == [list(range(36))] * 4
    assert len({tuple(row) for row in first.tolist()}) == 4
    assert not torch.equal(first, answers_of(NET, IMAGES, flat, index=[3, 1, 4, 5], seed=1).ask("order", {}))
    half = flat.clone()
    half[:, :3] = 1
    order = answers_of(NET, IMAGES, half, index=[3, 1, 4, 5]).ask("order", {})
    for shuffled, ranked in zip(first.tolist(), order.tolist(), strict=True):
        assert ranked == [p for p in shuffled if p < 18] + [p for p in shuffled if p >= 18]
