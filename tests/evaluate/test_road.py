"""ROAD: the imputation against grad-cam's, Quantus' and its own equations, the metric against a loop over both."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.questions import answers_of, ask
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.imputation import impute

NET = small_net(side=11, channels=3)
IMAGES = some_images(3, NET)
MAPS = torch.rand(3, 11, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
TARGET = NET(IMAGES).argmax(1)


@pytest.fixture(scope="module")
def library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pytorch_grad_cam.metrics.road")


def filled(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    whole = image.copy()
    whole[:, removed] = impute(image, removed)
    return whole


@given(st.integers(2, 7), st.integers(2, 7), st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_every_removed_pixel_is_the_weighted_mean_of_its_neighbours(h: int, w: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image, removed = rng.random((2, h, w)), rng.random((h, w)) < share
    removed[rng.integers(h), rng.integers(w)] = False
    whole = filled(image, removed)
    assert np.array_equal(whole[:, ~removed], image[:, ~removed])
    for y, x in np.argwhere(removed):
        total, weights = np.zeros(2), 0.0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if (dy or dx) and 0 <= y + dy < h and 0 <= x + dx < w:
                    weight = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
                    total, weights = total + weight * whole[:, y + dy, x + dx], weights + weight
        assert whole[:, y, x] == pytest.approx(total / weights, abs=1e-10)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_imputation_is_that_of_grad_cam_and_of_quantus(library, share: float) -> None:
    """Without noise: grad-cam in its float32, Quantus in double precision (on the image flattened to its pixels)."""
    rng = np.random.default_rng(3)
    image, removed = rng.random((3, 9, 12)), rng.random((9, 12)) < share
    ours = filled(image, removed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = library.NoisyLinearImputer(noise=0)(torch.as_tensor(image).float(), torch.as_tensor(~removed))
        assert ours == pytest.approx(theirs.numpy(), abs=1e-6)
        functions = pytest.importorskip("quantus.functions.perturb_func")
        other = functions.noisy_linear_imputation(image, np.flatnonzero(removed), noise=0)
    assert ours == pytest.approx(other, abs=1e-12)


def curves(f) -> tuple[np.ndarray, np.ndarray]:
    """f of every row's image without its most, and without its least relevant p %, by our imputation and noise."""
    left = answers_of(NET, IMAGES, MAPS).ask("imputed_nothing", {})
    noise = left - IMAGES.mean((2, 3), keepdim=True)
    assert 0.008 < noise.std() < 0.012
    found = []
    for sign in (-1, 1):
        rows = []
        for row in range(3):
            order = np.argsort(sign * MAPS[row].numpy().ravel(), kind="stable")
            shown = []
            for percent in range(10, 100, 10):
                kept = round((100 - percent) * 121 / 100)
                removed = np.zeros(121, dtype=bool)
                removed[order[: round(percent * 121 / 100) if sign < 0 else 121 - kept]] = True
                removed = removed.reshape(11, 11)
                image = torch.as_tensor(filled(IMAGES[row].numpy(), removed))
                shown.append(image + noise[row] * torch.as_tensor(removed))
            rows.append(f(torch.stack(shown), TARGET[row]).numpy())
        found.append(np.array(rows))
    return found[0], found[1]


def probability(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return NET(images).softmax(1)[:, target]


def hit(images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (NET(images).argmax(1) == target).double()


@pytest.mark.parametrize(("score", "f"), [("probability", probability), ("accuracy", hit)])
def test_road_is_half_the_mean_difference(score: str, f) -> None:
    most, least = curves(f)
    found = ask(f"road:score={score}", answers_of(NET, IMAGES, MAPS))
    assert found["curve"] == pytest.approx((least - most) / 2, abs=1e-12)
    assert found["road"] == pytest.approx((least - most).mean(1) / 2, abs=1e-12)
    assert found["road-morf"] == pytest.approx(most.mean(1), abs=1e-12)
    assert found["road-lerf"] == pytest.approx(least.mean(1), abs=1e-12)


def test_road_is_that_of_grad_cam_up_to_its_noise_and_a_pixel_in_the_middle(library) -> None:
    """Its thresholds remove one pixel more at 50 % (121 are odd), and its noise is its own; both do little here."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    w = torch.randn(3, 3, 11, 11, generator=torch.Generator().manual_seed(2)) / 20
    net = linear(w)
    target = net(IMAGES.float()).argmax(1)
    maps = (w[target] * (IMAGES.float() - 0.5)).sum(1)
    ours = ask("road", answers_of(net, IMAGES.float(), maps))["road"]
    targets = [ClassifierOutputSoftmaxTarget(int(each)) for each in target]
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        theirs = library.ROADCombined()(IMAGES.float(), maps.numpy(), targets, net)
    assert ours == pytest.approx(theirs, abs=3e-3)
    assert (ours > 0.05).all()


def test_road_fills_curves_as_a_baseline_from_the_image_to_noise_around_its_mean_colour() -> None:
    found = answers_of(NET, IMAGES, MAPS).ask("removal", {"baseline": "road", "steps": 10})
    left = answers_of(NET, IMAGES, MAPS).ask("baseline_image", {"baseline": "road"})
    assert torch.equal(found.logits[:, 0], NET(torch.cat([IMAGES, IMAGES[:1]]))[:3])
    assert torch.equal(found.logits[:, -1], NET(torch.cat([left, left[:1]]))[:3])
    assert (left - IMAGES.mean((2, 3), keepdim=True)).abs().max() < 0.05
    kept = ask("insertion:baseline=road,steps=10", answers_of(NET, IMAGES, MAPS))["curve"]
    against = ask("deletion:baseline=road,steps=10", answers_of(NET, IMAGES, -MAPS))["curve"]
    assert kept[:, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]] == pytest.approx(
        against[:, ::-1][:, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]], abs=1e-12
    )
