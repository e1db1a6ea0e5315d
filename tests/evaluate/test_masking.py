"""Average drop and increase in confidence: their definition, and the rows for which they mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, value
from tests.nets import linear, small_net, some_images

NET = small_net(3)
IMAGES = some_images(6, NET)
MAPS = torch.randn(6, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
MAPS[1] = -MAPS[1].abs()  # no positive pixel
MAPS[2] = 0.4  # a constant: no range for a soft mask, everything for a binary one
TARGET = NET(IMAGES).argmax(1)


def p(images: torch.Tensor) -> np.ndarray:
    return NET(images).softmax(1).gather(1, TARGET[:, None]).squeeze(1).numpy()


def expected(mask: str) -> tuple[np.ndarray, np.ndarray]:
    masks = []
    for phi in MAPS.numpy():
        positive = np.maximum(phi, 0)
        with np.errstate(invalid="ignore"):
            soft = (positive - positive.min()) / (positive.max() - positive.min())
        masks.append(soft if mask == "soft" else (phi > 0).astype(float))
    masked = IMAGES * torch.as_tensor(np.array(masks))[:, None]
    whole, seen = p(IMAGES), p(masked)
    undefined = [1, 2] if mask == "soft" else [1]
    drop, more = np.maximum(0, whole - seen) / whole, (whole < seen).astype(float)
    drop[undefined], more[undefined] = np.nan, np.nan
    return drop, more


@pytest.mark.parametrize("mask", ["soft", "binary"])
def test_against_the_definition(mask: str) -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    drop, more = expected(mask)
    assert 0 < np.nansum(more) < 4  # both cases occur
    assert value(f"average-drop:mask={mask}", answers) == pytest.approx(drop, abs=1e-12, nan_ok=True)
    assert value(f"increase-in-confidence:mask={mask}", answers) == pytest.approx(more, abs=0, nan_ok=True)


def test_the_two_share_their_masked_images() -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    value("average-drop", answers), value("increase-in-confidence", answers)
    assert answers.ask("subject", {}).calls.forwards == 12  # the images and the masked images


@pytest.mark.parametrize("mask", ["soft", "binary"])
def test_average_gain_is_the_share_of_the_room_above(mask: str) -> None:
    answers = answers_of(NET, IMAGES, MAPS)
    drop, _ = expected(mask)
    whole, seen = p(IMAGES), answers.ask("masked_score", {"mask": mask}).numpy()
    gain = np.maximum(0, seen - whole) / (1 - whole)
    assert (np.nan_to_num(gain) > 0).any() and ((drop > 0) <= (gain == 0)).all()
    assert value(f"average-gain:mask={mask}", answers) == pytest.approx(gain, abs=1e-12, nan_ok=True)


def test_average_gain_near_certainty_keeps_its_digits_and_certainty_leaves_no_room() -> None:
    """f = (k s, 0) for the sum s of the pixels: 1 - p = 1/(1 + exp(k s)), in float32 too."""
    images = torch.tensor([0.5, 0.5, 0.5]).view(3, 1, 1, 1).repeat(1, 1, 1, 2)
    maps = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]], [[1.0, 1.0]]])
    net = linear(torch.tensor([[26.0, -2.0], [0.0, 0.0]]).view(2, 1, 1, 2))  # the second pixel takes a little away
    room, left = 1 / (1 + np.exp(12)), 1 / (1 + np.exp(13))
    assert value("average-gain:mask=binary", answers_of(net, images, maps)) == pytest.approx(
        [0, (room - left) / room, 0], rel=1e-5
    )
    sure = linear(torch.tensor([[30.0, 0.0], [0.0, 0.0]]).view(2, 1, 1, 2))
    assert np.isnan(value("average-gain:mask=binary", answers_of(sure, images, maps))).all()  # 1 - Y = 3e-7
