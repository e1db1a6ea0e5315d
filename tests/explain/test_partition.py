"""Partition SHAP against Owen values by their recursion, and against shap on the same hierarchy."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from tests.nets import explain_answers, linear, maps_of, small_net, some_images
from xaicli.errors import UnavailableError
from xaicli.explain.partition import Box, area, halves, inpaint, rounds
from xaicli.explain.run import Explainer
from xaicli.specs import parse_spec


def owen(value, box: Box, context: np.ndarray, weight: float, map: np.ndarray) -> None:
    """Owen values down to single pixels, every node in every context."""
    with_box = context.copy()
    with_box[box[0] : box[1], box[2] : box[3]] = True
    if area(box) == 1:
        map[box[0], box[2]] += weight * (value(with_box) - value(context))
        return
    first, second = halves(box)
    for half, other in ((first, second), (second, first)):
        beside = context.copy()
        beside[other[0] : other[1], other[2] : other[3]] = True
        owen(value, half, context, weight / 2, map)
        owen(value, half, beside, weight / 2, map)


def test_owen_values_of_a_tiny_image() -> None:
    net = small_net(3, side=4)
    images = some_images(2, net) * 2
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", "partition-shap:baseline=white,evaluations=400")).attribution(answers)
    target = net(images).argmax(1)
    for row in range(2):
        known: dict[bytes, float] = {}

        def value(seen: np.ndarray, row: int = row, known: dict[bytes, float] = known) -> float:
            if seen.tobytes() not in known:
                picture = torch.where(torch.as_tensor(seen), images[row], 1.0)[None]
                known[seen.tobytes()] = net(picture)[0, target[row]].item()
            return known[seen.tobytes()]

        expected = np.zeros((4, 4))
        owen(value, (0, 4, 0, 4), np.zeros((4, 4), dtype=bool), 1.0, expected)
        assert np.ptp(expected) > 1e-3
        assert found.attribution[row, 0].numpy() == pytest.approx(expected, abs=1e-12)
    assert found.completeness.abs().max() < 1e-12


@pytest.mark.parametrize("evaluations", [1, 2, 3, 4, 10, 101])
@pytest.mark.parametrize("baseline", ["blur", "mean"])
def test_every_budget_sums_exactly_and_is_spent_exactly(evaluations: int, baseline: str) -> None:
    net = small_net(3, side=9)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    text = f"partition-shap:evaluations={evaluations},baseline={baseline}"
    found = Explainer(parse_spec("explain", text)).attribution(answers)
    assert found.completeness.abs().max() < 1e-12
    forwards = answers.ask("block", {}).calls.forwards
    assert forwards == 3 * Explainer(parse_spec("explain", text)).forwards(81)
    assert forwards == 3 * max(2, evaluations - evaluations % 2)
    behind = answers.ask("baseline_image", {"baseline": baseline})
    drop = (net(images) - net(behind)).gather(1, net(images).argmax(1)[:, None]).squeeze(1)
    assert found.attribution.sum((1, 2, 3)).numpy() == pytest.approx(drop.numpy(), abs=1e-12)
    if evaluations < 4:
        assert found.attribution[:, 0, 0, 0].numpy() == pytest.approx(drop.numpy() / 81, abs=1e-12)


def test_a_linear_network_split_to_the_end_is_its_weights() -> None:
    w = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w)
    images = some_images(3, net)
    maps = maps_of("partition-shap:baseline=black,evaluations=400", explain_answers(net, images))
    expected = (w[net(images).argmax(1)] * images).sum(1, keepdim=True)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-12)


def test_rounds_spend_the_splits() -> None:
    assert rounds(0) == [] and rounds(1) == [1] and rounds(4) == [1, 3] and rounds(40) == [1, 4, 16, 16, 3]
    assert halves((0, 5, 0, 4)) == ((0, 2, 0, 4), (2, 5, 0, 4)) and halves((0, 1, 2, 5)) == ((0, 1, 2, 3), (0, 1, 3, 5))


def test_inpainting_fills_holes_from_their_border() -> None:
    pixels = np.full((2, 8, 8), 0.2)
    pixels[1] = 0.6
    hole = np.zeros((8, 8), dtype=bool)
    hole[3:5, 2:6] = True
    pixels[:, hole] = 1.0
    filled = inpaint(pixels, hole)
    assert filled[0] == pytest.approx(np.full((8, 8), 0.2), abs=1.01 / 255)
    assert filled[1] == pytest.approx(np.full((8, 8), 0.6), abs=1.01 / 255)
    assert inpaint(pixels, np.ones((8, 8), dtype=bool)) == pytest.approx(
        np.broadcast_to(pixels.mean((1, 2), keepdims=True), pixels.shape)
    )


def test_without_opencv_inpainting_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UnavailableError, match="baseline=inpaint needs OpenCV"):
        inpaint(np.zeros((1, 2, 2)), np.eye(2, dtype=bool))


def test_inpainted_maps_sum_to_the_drop_from_the_mean_colour() -> None:
    net = small_net(3, side=9)
    images = some_images(2, net)
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", "partition-shap:baseline=inpaint,evaluations=60")).attribution(answers)
    mean = images.mean((2, 3), keepdim=True).expand_as(images)
    drop = (net(images) - net(mean)).gather(1, net(images).argmax(1)[:, None]).squeeze(1)
    assert found.attribution.sum((1, 2, 3)).numpy() == pytest.approx(drop.numpy(), abs=1e-12)
    assert not torch.equal(found.attribution, maps_of("partition-shap:baseline=mean,evaluations=60", answers))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the import of shap warns
def test_shap_on_the_same_hierarchy() -> None:
    import shap

    net = small_net(3, side=8, channels=1)
    images = some_images(2, net)
    maps = maps_of("partition-shap:baseline=mean,evaluations=200", explain_answers(net, images))
    for row in range(2):
        target = int(net(images[row : row + 1]).argmax())

        def ask(pictures: np.ndarray, target: int = target) -> np.ndarray:
            return net(torch.as_tensor(pictures).permute(0, 3, 1, 2))[:, target].numpy()

        image = images[row].permute(1, 2, 0).numpy()
        explainer = shap.PartitionExplainer(ask, shap.maskers.Image(np.full(image.shape, image.mean())))
        theirs = explainer(image[None], max_evals=200, batch_size=32, silent=True)
        assert maps[row, 0].numpy() == pytest.approx(theirs.values[0].reshape(8, 8), abs=1e-10)
