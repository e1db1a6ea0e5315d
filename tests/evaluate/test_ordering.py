"""N-Ord, S-Ord, TPN and TPS against closed forms, brute force and integrals by many small steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.ordering import area_between

MAPS = torch.randn(4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
MAPS[1] = -MAPS[1].abs()  # nothing positive: undefined
MAPS[2, 1:] = -1  # few positive pixels
NET = small_net()
IMAGES = some_images(4, NET)
TARGET = NET(IMAGES).argmax(1)


def logit(images: torch.Tensor, target: torch.Tensor = TARGET) -> torch.Tensor:
    return NET(images).gather(1, target[:, None]).squeeze(1)


def positives(phi: torch.Tensor, *, rising: bool = False) -> list[int]:
    flat = phi.numpy().ravel()
    order = [place for place in np.argsort(-flat, kind="stable") if flat[place] > 0]
    return order[::-1] if rising else order


def responses(row: int, *, inserts: bool, rising: bool = False) -> list[float]:
    """f while positive pixels are replaced one by one, from none to all."""
    image, black = IMAGES[row], torch.zeros_like(IMAGES[row])
    shown, other = (black.clone(), image) if inserts else (image.clone(), black)
    found = [logit(shown[None], TARGET[row : row + 1]).item()]
    for place in positives(MAPS[row], rising=rising):
        shown.flatten(1)[:, place] = other.flatten(1)[:, place]
        found.append(logit(shown[None], TARGET[row : row + 1]).item())
    return found


F_X, F_B = logit(IMAGES).numpy(), logit(torch.zeros_like(IMAGES)).numpy()
SPAN = np.where(F_X - F_B > 1e-6, F_X - F_B, np.nan)


@pytest.mark.parametrize("inserts", [False, True])
def test_all_steps_against_brute_force(inserts: bool) -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    name = "s-ord" if inserts else "n-ord"
    found = ask(f"{name}:steps=all", answers)
    expected = np.empty(4)
    for row in range(4):
        f = np.array(responses(row, inserts=inserts))
        f = np.minimum(f, F_X[row]) if inserts else f
        expected[row] = np.maximum(f - F_B[row], 0).mean()
    expected[1] = np.nan
    assert found[name] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert found[f"{name}-share"] == pytest.approx(expected / SPAN, abs=1e-12, nan_ok=True)
    pixels = (MAPS > 0).sum((1, 2)).clamp_min(1)
    calls = answers.ask("subject", {}).calls
    assert calls.forwards == 2 * 4 + int(pixels.sum())  # each row its own number of pixels


def test_equal_shares_of_the_mass() -> None:
    # three steps: the counts are where the running mass first reaches 1/3, 2/3 and all of it
    phi = torch.tensor([[[5.0, 4.0, 1.0], [3.0, -2.0, 0.0], [0.0, 1.0, 1.0]]], dtype=torch.float64)
    net = linear(torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)]).double())
    image = torch.tensor([[[[0.9, 0.8, 0.1], [0.5, 0.3, 0.6], [0.7, 0.2, 0.4]]]], dtype=torch.float64)
    answers = answers_of(net, image, phi)
    walk = answers.ask("positive_removal", {"steps": 3})
    assert walk.counts.tolist() == [[0, 1, 3, 6]]
    assert walk.shares[0].numpy() == pytest.approx([0, 5 / 15, 12 / 15, 1], abs=1e-15)
    left = [4.5, 4.5 - 0.9, 4.5 - 0.9 - 0.8 - 0.5, 4.5 - 0.9 - 0.8 - 0.5 - 0.1 - 0.2 - 0.4]
    assert walk.scores("logit")[0].numpy() == pytest.approx(left, abs=1e-14)
    # trapezoid in m, and half of both ends, over M + 1 = 7
    area = (left[0] + left[1]) / 2 + (left[1] + left[2]) + 3 * (left[2] + left[3]) / 2 + (left[0] + left[3]) / 2
    assert value("n-ord:steps=3", answers) == pytest.approx([area / 7], abs=1e-14)
    # the least relevant first: one third needs the three ones and the three, two thirds the four, too
    rising = answers.ask("rising_insertion", {"steps": 3})
    assert rising.counts.tolist() == [[0, 4, 5, 6]]
    assert rising.scores("logit")[0].numpy() == pytest.approx([0, 1.2, 2.0, 2.9], abs=1e-14)


def test_fifty_steps_are_exact_for_a_straight_curve() -> None:
    net = linear(torch.stack([torch.ones(1, 9, 9), -torch.ones(1, 9, 9)]).double() / 81)
    images = torch.full((1, 1, 9, 9), 0.7, dtype=torch.float64)
    phi = torch.rand(1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.2
    answers = answers_of(net, images, phi)
    m = int((phi > 0).sum())
    for steps in (50, "all"):  # the means of f(R_m) and f(R'_m) over m = 0..M
        assert value(f"n-ord:steps={steps}", answers) == pytest.approx([0.7 - 0.7 / 81 * m / 2], abs=1e-13)
        assert value(f"s-ord:steps={steps}", answers) == pytest.approx([0.7 / 81 * m / 2], abs=1e-13)


@pytest.mark.parametrize("inserts", [False, True])
def test_disproportion_against_a_fine_riemann_sum(inserts: bool) -> None:
    found = value("tps:steps=all" if inserts else "tpn:steps=all", answers_of(NET, IMAGES, MAPS))
    middles = (np.arange(200_000) + 0.5) / 200_000
    for row in range(4):
        if not (MAPS[row] > 0).any() or np.isnan(SPAN[row]):
            assert np.isnan(found[row])
            continue
        curves = []
        for rising in (False, True):
            mass = np.cumsum([0, *MAPS[row].numpy().ravel()[positives(MAPS[row], rising=rising)]])
            f = np.maximum(np.array(responses(row, inserts=inserts, rising=rising)) - F_B[row], 0) / SPAN[row]
            curves.append(np.interp(middles, mass / mass[-1], f))
        assert found[row] == pytest.approx(np.abs(curves[0] - curves[1]).mean(), abs=1e-6)
    assert np.isfinite(found).sum() >= 2


@pytest.mark.parametrize("steps", [1, 7, 50, "all"])
def test_a_linear_model_is_proportional_to_non_negative_attribution(steps: int | str) -> None:
    w = torch.rand(1, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    net = linear(torch.cat([w, -w]))
    images = some_images(3, net)
    exact, random = (w[0] * images).sum(1), torch.rand(3, 5, 5, dtype=torch.float64)
    for metric in ("tpn", "tps"):
        assert value(f"{metric}:steps={steps}", answers_of(net, images, exact)) == pytest.approx([0] * 3, abs=1e-14)
        if steps != 1:
            assert (value(f"{metric}:steps={steps}", answers_of(net, images, random)) > 0.01).all()


def test_the_four_share_their_walks() -> None:
    answers = answers_of(NET, IMAGES[:1], MAPS[:1])
    for metric in ("n-ord", "s-ord", "tpn", "tps"):
        value(f"{metric}:steps=5", answers)
    assert answers.ask("subject", {}).calls.forwards == 2 + 4 * 5


@given(
    st.lists(st.floats(-2, 2), min_size=2, max_size=6),
    st.lists(st.floats(-2, 2), min_size=2, max_size=6),
)
def test_the_area_between_two_polygons(first: list[float], second: list[float]) -> None:
    curves = [(np.linspace(0, 1, len(values)), np.array(values)) for values in (first, second)]
    middles = (np.arange(20_000) + 0.5) / 20_000
    expected = np.abs(np.interp(middles, *curves[0]) - np.interp(middles, *curves[1])).mean()
    assert area_between(*curves) == pytest.approx(expected, abs=1e-4)
