"""The same curves from Quantus 0.6, where it is right, with what differs written down.

Its `black` is the smallest value of the array at hand, so it is told 0 here.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask
from tests.nets import linear, small_net, some_images

NET = small_net(5, channels=1, side=10, dtype=torch.float32)
IMAGES = some_images(5, NET)
TARGET = NET(IMAGES).argmax(1)
MAPS = torch.randn(5, 10, 10, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def quantus() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def asked(
    metric, *, softmax: bool = True, net=NET, images=IMAGES, target=TARGET, maps=MAPS, batch: int = 64
) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=net,
            x_batch=images.numpy(),
            y_batch=target.numpy(),
            a_batch=maps.unsqueeze(1).numpy(),
            softmax=softmax,
            batch_size=batch,
        )


@pytest.mark.parametrize("softmax", [False, True])
def test_pixel_flipping(quantus, softmax: bool) -> None:
    """On one channel their curve is ours to black from the first pixel on: they leave out the image itself."""
    theirs = asked(quantus.PixelFlipping(perturb_baseline=0.0, normalise=False, disable_warnings=True), softmax=softmax)
    quantity = "probability" if softmax else "logit"
    found = ask(f"pixel-flipping:baseline=black,quantity={quantity}", answers_of(NET, IMAGES, MAPS))
    assert found["curve"][:, 1:] == pytest.approx(np.array(theirs), abs=1e-5)


def test_selectivity(quantus) -> None:
    """Theirs is the curve over patches of five pixels, without the image itself; ours its area."""
    theirs = asked(quantus.Selectivity(patch_size=5, perturb_baseline=0.0, normalise=False, disable_warnings=True))
    found = ask("selectivity:grid=2,quantity=probability", answers_of(NET, IMAGES, MAPS))
    assert found["curve"][:, 1:] == pytest.approx(np.array(theirs), abs=1e-5)
    assert found["selectivity"] == pytest.approx(np.trapezoid(found["curve"], dx=1 / 4), abs=1e-12)


def test_irof_on_the_same_superpixels_and_black(quantus, monkeypatch) -> None:
    """Theirs is S minus the trapezoid over the points 1..S, with the first stretch, (1 + f_1/f_0)/2, counted as lost.

    Ours is the area over the whole curve as a share: theirs = S * ours + (1 + f_1/f_0)/2. Their superpixels are another
    SLIC, so they are given ours; their `mean` is that of the half-removed image, so both use black; and their area
    needs the trapezoid that numpy 2.4 has taken away. One row a batch: next to a row of more superpixels another one
    gets half its last value less.
    """
    answers = answers_of(NET, IMAGES, MAPS)
    cells = iter(answers.ask("pieces", {"segments": 12}).view(5, 10, 10).numpy())
    monkeypatch.setattr("quantus.helpers.utils.get_superpixel_segments", lambda **_: next(cells))
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    metric = quantus.IROF(perturb_baseline=0.0, return_aggregate=False, normalise=False, disable_warnings=True)
    theirs = asked(metric, batch=1)
    found = ask("irof:segments=12,baseline=black", answers)
    count = (answers.ask("pieces", {"segments": 12}).amax(1) + 1).numpy()
    walk = answers.ask("removal", {"segments": 12, "pool": "mean"})
    first = [row[counts.tolist().index(1)] for row, counts in zip(found["curve"], walk.counts, strict=True)]
    (label,) = (name for name in found if name != "curve")
    assert theirs == pytest.approx(count * found[label] + (1 + np.array(first)) / 2, abs=1e-4)


def test_road_on_one_batch_of_one_channel(quantus) -> None:
    """Accuracy without the top p %: equal where the noise cannot turn the prediction of a linear model."""
    w = torch.randn(2, 1, 10, 10, generator=torch.Generator().manual_seed(3))
    net, images = linear(w), 20 * IMAGES  # next to which noise of .01 is nothing
    target = net(images).argmax(1)
    maps = (w[target] * images).sum(1)
    theirs = asked(
        quantus.ROAD(percentages=list(range(10, 100, 10)), normalise=False, disable_warnings=True),
        net=net, images=images, target=target, maps=maps,
    )  # fmt: skip
    walk = answers_of(net, images, maps).ask("imputed_removal", {})
    margins = (walk.logits[..., 0] - walk.logits[..., 1]).abs()
    assert (margins > 0.6).all()  # noise adds at most N(0, .01^2 * |w_0 - w_1|^2), about .14
    assert walk.right(target).mean(0).numpy() == pytest.approx(np.array(list(theirs.values())), abs=1e-12)
