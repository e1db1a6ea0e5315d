"""Occlusion, feature ablation and what they share: closed forms, captum, and memory that does not grow."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.nets import classify, explain_answers, linear, maps_of, small_net, some_images
from xaicli.explain.occlusion import spans
from xaicli.explain.run import Explainer
from xaicli.specs import parse_spec


def close(actual: torch.Tensor, expected: torch.Tensor, within: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=within)


def weights(side: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(3, 2, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [1, 5, 7, 12, 14, 32, 224])
@pytest.mark.parametrize(("windows", "overlap"), [(7, 2), (4, 3), (1, 5), (50, 1)])
def test_windows_cover_every_side_from_end_to_end(side: int, windows: int, overlap: int) -> None:
    found = spans(side, windows, overlap)
    assert len(found) == (windows - 1) * overlap + 1
    assert found[0].start == 0 and found[-1].stop == side
    assert {pixel for span in found for pixel in range(side)[span]} == set(range(side))
    if side % (windows * overlap) == 0:
        assert [span.start for span in found] == [k * side // (windows * overlap) for k in range(len(found))]


def test_occlusion_of_a_linear_network() -> None:
    w = weights(14)
    net = linear(w)
    images = some_images(3, net)
    own = (w[net(images).argmax(1)] * (images - 1)).sum(1, keepdim=True)
    total, covered = torch.zeros_like(own), torch.zeros_like(own)
    for y in range(13):  # windows of 2, one pixel apart
        for x in range(13):
            drop = own[:, :, y : y + 2, x : x + 2].sum((2, 3), keepdim=True)
            total[:, :, y : y + 2, x : x + 2] += drop
            covered[:, :, y : y + 2, x : x + 2] += 1
    close(maps_of("occlusion:baseline=white", explain_answers(net, images)), total / covered)


def test_occlusion_by_single_pixels_is_weight_times_input() -> None:
    w = weights(6)
    net = linear(w)
    images = some_images(3, net)
    mine = (w[net(images).argmax(1)] * images).sum(1, keepdim=True)
    close(maps_of("occlusion:windows=6,overlap=1", explain_answers(net, images)), mine)


@pytest.mark.slow
def test_occlusion_is_captums() -> None:
    from captum.attr import Occlusion

    net = small_net(4, side=14)
    images = some_images(3, net)
    target = net(images).argmax(1)
    theirs = Occlusion(net).attribute(images, (2, 2, 2), (2, 1, 1), target=target, baselines=0.0)
    close(maps_of("occlusion", explain_answers(net, images)), theirs.double().mean(1, keepdim=True), 1e-6)


@pytest.mark.parametrize("algorithm", ["slic", "quickshift"])
def test_feature_ablation_of_a_linear_network(algorithm: str) -> None:
    w = weights(12)
    net = linear(w)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    explainer = Explainer(parse_spec("explain", f"feature-ablation:segments=9,algorithm={algorithm},baseline=mean"))
    found = explainer.attribution(answers)
    labels, coefficients = found.figures["segments"], found.figures["coefficients"]
    own = (w[net(images).argmax(1)] * (images - images.mean((2, 3), keepdim=True))).sum(1)
    assert coefficients.shape == (3, 9)
    for row in range(3):
        for number in range(9):
            inside = labels[row] == number
            if inside.any():
                close(coefficients[row, number], own[row][inside].sum())
                close(found.attribution[row, 0][inside], own[row][inside].sum().expand(int(inside.sum())))
            else:
                assert coefficients[row, number].isnan()


class Largest(TorchDispatchMode):
    """The elements of the largest tensor made within."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(part, torch.Tensor):
                self.elements = max(self.elements, part.numel())
        return out


@pytest.mark.parametrize(
    ("few", "many"),
    [
        ("rise:masks=40", "rise:masks=400"),
        ("lime:segments=4,samples=40", "lime:segments=4,samples=400"),
        ("kernel-shap:segments=9,samples=40", "kernel-shap:segments=9,samples=400"),
        ("shapley-sampling:segments=4,permutations=4", "shapley-sampling:segments=4,permutations=60"),
        ("partition-shap:evaluations=50", "partition-shap:evaluations=400"),
        ("occlusion:windows=4", "occlusion:windows=12"),
        ("feature-ablation:segments=4", "feature-ablation:segments=60"),
    ],
)
def test_no_tensor_grows_with_the_samples(few: str, many: str) -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    net = classify(network, (2, 48, 48), 3)
    peaks = []
    for text in (few, many):
        answers = explain_answers(net, some_images(2, net), batch_size=4)
        with Largest() as largest:
            maps_of(text, answers)
        peaks.append(largest.elements)
    # a batch of images, or the masks that RISE holds at once: 32 of them, enlarged to a cell more
    assert peaks[1] <= max(peaks[0], 4 * 2 * 48 * 48)
    assert peaks[1] <= 32 * 56 * 56
