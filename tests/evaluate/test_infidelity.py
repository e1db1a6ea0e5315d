"""Infidelity: zero for exact maps, in both forms, and equal to captum's on the same perturbations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.patches import Patches
from xaicli.evaluate.signed import Signed

NET = small_net(3, side=9)
IMAGES = some_images(4, NET)
TARGET = NET(IMAGES).argmax(1)
MAPS = torch.randn(4, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
W = torch.randn(3, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LINEAR = linear(W)


@pytest.mark.parametrize("baseline", ["black", "mean", "noise"])
def test_exact_maps_of_a_linear_model_have_none(baseline: str) -> None:
    text = f"infidelity:baseline={baseline}"
    target = torch.tensor([0, 1, 2, 0])
    plain = answers_of(LINEAR, IMAGES, target=target)
    change = IMAGES - plain.ask("baseline_image", {"baseline": baseline})
    for signed in (Signed(W[target] * change), Signed(W[target], is_gradient=True)):
        error, beta = ask(text, answers_of(LINEAR, IMAGES, MAPS[:, 0], target=target, signed=signed)).values()
        assert error == pytest.approx(0, abs=1e-20)
        assert beta == pytest.approx(1, abs=1e-10)
    for signed in (Signed(-5 * W[target] * change), Signed(MAPS), Signed(MAPS, is_gradient=True)):
        error = value(text, answers_of(LINEAR, IMAGES, MAPS[:, 0], target=target, signed=signed))
        assert (error > 1e-2).all() == torch.equal(signed.values, MAPS)


def test_scale_is_taken_out_and_named() -> None:
    one, ten = (ask("infidelity", answers_of(NET, IMAGES, signed=Signed(k * MAPS))) for k in (1, 10))
    assert ten["infidelity"] == pytest.approx(one["infidelity"], rel=1e-12)
    assert ten["infidelity-beta"] == pytest.approx(one["infidelity-beta"] / 10, rel=1e-12)
    nothing = ask("infidelity", answers_of(NET, IMAGES, signed=Signed(0 * MAPS)))
    assert nothing["infidelity-beta"].tolist() == [1] * 4 and (nothing["infidelity"] > one["infidelity"]).all()


@pytest.mark.parametrize("is_gradient", [True, False])
@pytest.mark.parametrize("quantity", ["logit", "probability"])
def test_equal_to_captum(is_gradient: bool, quantity: str) -> None:
    """captum takes sum(I * phi); for a map with the factor x - b it is given I / (x - b), the mask."""
    answers = answers_of(NET, IMAGES, signed=Signed(MAPS, is_gradient=is_gradient))
    found = value(f"infidelity:draws=30,quantity={quantity},baseline=white", answers)
    patches: Patches = answers.ask("patch_removal", {"draws": 30, "baseline": "white"})

    def forward(images: torch.Tensor) -> torch.Tensor:
        return NET(images).softmax(1) if quantity == "probability" else NET(images)

    for row in range(4):

        def perturb(images: torch.Tensor, row: int = row) -> tuple[torch.Tensor, torch.Tensor]:
            mask = torch.zeros(len(images), 1, 9, 9, dtype=torch.float64)
            for draw, (y, x, s) in enumerate(zip(patches.top[row], patches.left[row], patches.side[row], strict=True)):
                mask[draw, :, y : y + s, x : x + s] = 1
            change = mask * (images - 1)
            return (change if is_gradient else mask.expand_as(images)), images - change

        image, map_, target = IMAGES[row : row + 1], MAPS[row : row + 1], int(TARGET[row])
        theirs = captum_infidelity(
            forward,
            perturb,
            image,
            map_,
            target=target,
            n_perturb_samples=30,
            max_examples_per_batch=30,
            normalize=True,
        )
        assert found[row] == pytest.approx(theirs.item(), rel=1e-9)


def test_a_map_of_one_channel_counts_for_all_of_the_image() -> None:
    gradient = W.mean(1, keepdim=True)[:1].expand(4, 1, 9, 9)
    target = torch.zeros(4, dtype=torch.int64)
    one, two = (Signed(gradient.expand(4, channels, 9, 9), is_gradient=True) for channels in (1, 2))
    found = [value("infidelity", answers_of(LINEAR, IMAGES, target=target, signed=signed)) for signed in (one, two)]
    assert np.array_equal(*found)
