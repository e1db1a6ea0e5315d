"""XRAI: regions by hand, the greedy ranking written another way, and a bright square that matters."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.ndimage import binary_dilation

from tests.nets import explain_answers, linear, small_net, some_images
from xaicli.explain.regions import rank_regions, ranked_map, segment_masks
from xaicli.explain.run import Explainer
from xaicli.specs import parse_spec


def slow_ranking(relevance: np.ndarray, masks: list[np.ndarray], least: int) -> tuple[np.ndarray, np.ndarray]:
    """The published loop: of all masks that still add enough pixels, the one whose new pixels are densest."""
    covered, values = np.zeros(len(relevance), dtype=bool), np.full(len(relevance), np.nan)
    regions, left, taken = np.zeros(len(relevance), dtype=int), dict(enumerate(masks)), 0
    while True:
        left = {key: mask for key, mask in left.items() if (mask & ~covered).sum() >= least}
        if not left:
            break
        best = max(left, key=lambda key: relevance[left[key] & ~covered].mean())
        new = left.pop(best) & ~covered
        taken += 1
        values[new], regions[new], covered = relevance[new].mean(), taken, covered | new
    if not covered.all():
        values[~covered], regions[~covered] = relevance[~covered].mean(), taken + 1
    return values, regions


def test_the_ranking_by_hand() -> None:
    relevance = np.array([1.0, 5.0, 3.0, -1.0, 0.0, 2.0])
    masks = sparse.csr_matrix(np.array([[1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]], dtype=bool))
    values, regions = rank_regions(relevance, masks, 1)
    # means 3, 7/3, -1/2; then of the new pixels 2 and 3 (1), of 3 and 4 (-1/2); then pixel 4 alone; pixel 5 is left
    assert values.tolist() == [3, 3, 1, 1, 0, 2] and regions.tolist() == [1, 1, 2, 2, 3, 4]
    values, regions = rank_regions(relevance, masks, 2)
    assert values.tolist() == [3, 3, 1, 1, 1, 1] and regions.tolist() == [1, 1, 2, 2, 3, 3]


def test_the_ranking_against_the_published_loop() -> None:
    rng = np.random.default_rng(3)
    for least in (1, 4, 30):
        relevance = rng.standard_normal(200)
        masks = rng.random((40, 200)) < rng.random((40, 1)) * 0.4
        values, regions = rank_regions(relevance, sparse.csr_matrix(masks), least)
        expected, order = slow_ranking(relevance, list(masks), least)
        assert np.array_equal(regions, order)
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
        assert abs(values.sum() - relevance.sum()) < 1e-9


def test_segments_are_felzenszwalbs_a_disk_wider() -> None:
    from skimage.morphology import disk
    from skimage.segmentation import felzenszwalb

    rng = np.random.default_rng(0)
    image = np.kron(rng.random((3, 7, 7)), np.ones((32, 32)))  # at 224 pixels nothing is rescaled
    masks = segment_masks(image)
    expected = []
    for scale in (50, 100, 150, 250, 500, 1200):
        # the authors segment pixels from -1 to 1
        labels = felzenszwalb(np.moveaxis(2 * image - 1, 0, -1), scale=scale, sigma=0.8, min_size=150, channel_axis=-1)
        expected += [binary_dilation(labels == number, disk(5)).ravel() for number in range(labels.max() + 1)]
    assert np.array_equal(masks.toarray(), np.stack(expected))
    assert len(expected) > 6 * 20


def test_an_informative_bright_square_comes_first() -> None:
    square = torch.zeros(2, 32, 32, dtype=torch.float64)
    square[:, 8:16, 16:24] = 1
    generator = torch.Generator().manual_seed(1)
    weights = torch.stack(
        [square + 0.01 * torch.randn(square.shape, generator=generator, dtype=torch.float64), -square]
    )
    net = linear(weights)
    images = torch.stack([0.2 + 0.7 * square, 0.2 + 0.6 * square])
    answers = explain_answers(net, images)
    explainer = Explainer(parse_spec("explain", "xrai:steps=2"))
    found = explainer.attribution(answers)
    ig = weights[0] * (images - 0.5)  # the mean over black and white
    assert torch.allclose(found.attribution.sum((1, 2, 3)), ig.sum((1, 2, 3)), rtol=0, atol=1e-9)
    assert found.completeness.abs().max() < 1e-9
    for row in range(2):
        regions, map = found.figures["regions"][row], found.attribution[row, 0]
        first = regions == 1
        assert map[first].min() == map.max() and first.sum() <= 100  # the square, at most a pixel wider
        assert (first & (square[0] == 1)).sum() >= 60
        for number in range(1, int(regions.max()) + 1):
            inside = regions == number
            assert inside.any() and map[inside].min() == map[inside].max()
            assert abs(map[inside][0] - ig[row].sum(0)[inside].mean()) < 1e-12


def test_the_map_is_the_ranking_of_the_mean_of_both_paths() -> None:
    net = small_net(side=16)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    black, white = (
        Explainer(parse_spec("explain", f"ig:steps=9,baseline={name}")).attribution(answers)
        for name in ("black", "white")
    )
    found = Explainer(parse_spec("explain", "xrai:steps=9")).attribution(answers)
    relevance = (black.attribution + white.attribution).sum(1) / 2
    for row in range(3):
        values, _ = ranked_map(relevance[row].numpy(), images[row].numpy())
        np.testing.assert_allclose(found.attribution[row, 0].numpy(), values, rtol=0, atol=1e-9)
    gap = (black.completeness + white.completeness) / 2
    torch.testing.assert_close(found.completeness, gap, rtol=0, atol=1e-9)
