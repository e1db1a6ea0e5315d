"""Defects of Quantus 0.6 in metrics on curves: each is shown there where that is cheap, and not shared here.

One function per defect, by its number in the project's list. Those of metrics on masks and maps and of metrics that ask
the explainer again have their own files.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.methods import TABLE, describe

ROWS = 70
W = torch.randn(2, 1, 5, 5, generator=torch.Generator().manual_seed(1)) / 5
LINEAR = linear(W)
IMAGES = some_images(ROWS, LINEAR)
TARGET = LINEAR(IMAGES).argmax(1)
EXACT = (W[TARGET] * IMAGES).sum(1)
COLOUR = small_net(3, side=8, channels=3, dtype=torch.float32)
PHOTOS = some_images(4, COLOUR)
MAPS = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def quantus() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def asked(metric, net, images, target, maps) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=net, x_batch=images.numpy(), y_batch=target.numpy(), a_batch=maps.unsqueeze(1).numpy(), softmax=True
        )


def test_1_monotonicity_tells_exact_from_random_and_negated_maps(quantus) -> None:
    """Theirs fills an image of the baseline with the baseline, so that nothing ever changes."""
    random = torch.rand(ROWS, 5, 5, generator=torch.Generator().manual_seed(4))
    metric = quantus.Monotonicity(normalise=False, disable_warnings=True)
    means = {}
    for name, maps in (("exact", EXACT), ("random", random), ("negated", -EXACT)):
        assert np.mean(asked(metric, LINEAR, IMAGES, TARGET, maps)) == 1
        means[name] = value("monotonicity", answers_of(LINEAR, IMAGES, maps)).mean()
    assert means["exact"] > 0.99 and 0.4 < means["random"] < 0.6 and means["negated"] < 0.01


def test_2_road_scores_every_row_and_sees_wrong_labels_from_row_64_on(quantus) -> None:
    wrong = TARGET.clone()
    wrong[64:] = 1 - wrong[64:]
    metric = quantus.ROAD(noise=0.0, percentages=[10], normalise=False, disable_warnings=True)
    theirs = [asked(metric, LINEAR, IMAGES, labels, EXACT)[10] for labels in (TARGET, wrong)]
    assert theirs[0] == theirs[1]
    right, seen = (
        ask("road:score=accuracy", answers_of(LINEAR, IMAGES, EXACT, labels=labels)) for labels in (TARGET, wrong)
    )
    assert np.array_equal(right["road-lerf"][:64], seen["road-lerf"][:64])
    assert right["road-lerf"][64:] == pytest.approx(1 - seen["road-lerf"][64:], abs=1e-12)
    assert np.isfinite(seen["road"]).all() and len(seen["road"]) == ROWS


def test_3_road_and_irof_take_colour(quantus) -> None:
    target = COLOUR(PHOTOS).argmax(1)
    for metric in (
        quantus.ROAD(normalise=False, disable_warnings=True),
        quantus.IROF(normalise=False, disable_warnings=True),
    ):
        with pytest.raises((IndexError, ValueError, TypeError, AssertionError)):
            asked(metric, COLOUR, PHOTOS, target, MAPS)
    for text in ("road", "road:score=accuracy", "irof", "irof:segments=5"):
        assert np.isfinite(value(text, answers_of(COLOUR, PHOTOS, MAPS))).all()


def test_8_areas_are_computed_by_the_numpy_that_is_installed(quantus) -> None:
    metric = quantus.PixelFlipping(return_auc_per_sample=True, normalise=False, disable_warnings=True)
    if int(np.__version__.split(".")[1]) >= 4:
        with pytest.raises(AttributeError, match="trapz"):
            asked(metric, LINEAR, IMAGES, TARGET, EXACT)
    for text in ("pixel-flipping", "deletion", "selectivity", "irof", "sic", "tpn", "localisation-auc"):
        answers = answers_of(LINEAR, IMAGES, EXACT, mask=EXACT > 0.05)
        assert len(value(text, answers)) == ROWS


def test_9_pixel_flipping_on_colour_flips_pixels_and_not_the_values_of_their_channels(quantus) -> None:
    sizes: list[int] = []
    handle = COLOUR.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    with handle:
        metric = quantus.PixelFlipping(normalise=False, disable_warnings=True)
        theirs = asked(metric, COLOUR, PHOTOS, COLOUR(PHOTOS).argmax(1), MAPS)
        assert np.array(theirs).shape == (4, 3 * 64)
    answers = answers_of(COLOUR, PHOTOS, MAPS)
    found = ask("pixel-flipping:steps=1000", answers)
    assert found["curve"].shape == (4, 65) and answers.ask("subject", {}).calls.forwards == 4 * 65
    batch = torch.empty(64, 3, 8, 8)
    from xaicli.evaluate.paths import removed

    ranks = answers.ask("ranks", {})
    removed(PHOTOS, ranks.places, 1 - PHOTOS, "black")(0, torch.arange(1.0, 65).view(-1, 1, 1, 1), batch)
    changed = (batch != PHOTOS[0]).sum((2, 3))
    assert (changed == torch.arange(1, 65)[:, None]).all()  # one more pixel, in all three channels, at every step


CURVES = ["curves", "ordering", "tops", "road", "information", "masking"]
OURS = [name for name, (target, _) in TABLE["evaluate"].items() if target.split(".")[1].split(":")[0] in CURVES]


@pytest.mark.parametrize("name", OURS)
def test_11_the_callers_arrays_stay_as_they_are(name: str) -> None:
    given = [PHOTOS.clone(), MAPS.clone(), COLOUR(PHOTOS).argmax(1)]
    before = [tensor.clone() for tensor in given]
    assert describe("evaluate", name).name == name
    value(name, answers_of(COLOUR, given[0], given[1], labels=given[2]))
    assert all(torch.equal(now, then) for now, then in zip(given, before, strict=True))
