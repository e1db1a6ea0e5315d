"""Diversity within classes and nearness to training images, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist, squareform

from tests.evaluate.questions import company_of
from tests.nets import small_net, some_images
from xaicli.evaluate.diversity import diversity, figures, spread
from xaicli.evaluate.memorisation import nearest_distance, nearest_training_image
from xaicli.run.calls import Calls

NET = small_net(3)
CALLS = Calls(NET)
SIZES = {"made": 8, "given": 8, "real": 8, "copies": 8, "test": 20, "training": 30}
SETS = {name: some_images(count, NET, seed=n) for n, (name, count) in enumerate(SIZES.items(), 5)}
CLASSES = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2])
ROWS = torch.tensor([1, 4, 7])


def features(name: str) -> np.ndarray:
    return CALLS.features(SETS[name])[1].numpy()


def within(rows: np.ndarray) -> np.ndarray:
    """Mean distance to the others of the class, row by row."""
    apart = squareform(pdist(rows))
    found = np.full(len(rows), np.nan)
    for i, label in enumerate(CLASSES):
        others = [j for j, other in enumerate(CLASSES) if other == label and j != i]
        found[i] = apart[i, others].mean() if others else np.nan
    return found


def test_diversity_against_all_pairs_of_a_class() -> None:
    found = diversity(company_of(CALLS, SETS, CLASSES, ROWS))
    for values, name in ((found.values, "made"), (found.parts["ceiling"], "real"), (found.parts["floor"], "given")):
        assert values.numpy() == pytest.approx(within(features(name))[ROWS], rel=1e-12, nan_ok=True)
    assert found.values[2].isnan()  # the only image of its class


def test_its_mean_is_that_over_all_pairs_and_has_no_interval() -> None:
    rows = np.random.default_rng(0).standard_normal((40, 3))
    values = spread(torch.as_tensor(rows), torch.zeros(40, dtype=torch.int64)).numpy()
    ((own, ceiling, floor),) = figures([{"": values, "ceiling": values, "floor": values[:0]}], [{}], {}, 0)
    assert own.estimate.value == pytest.approx(pdist(rows).mean(), rel=1e-12)
    assert (own.estimate.low, own.estimate.n, own.better) == (None, 40, "neither")
    assert (ceiling.part, ceiling.better) == ("ceiling", "neither")
    assert (floor.part, floor.estimate.value) == ("floor", None)


def test_the_same_image_again_is_no_diversity_and_missing_ones_do_not_count() -> None:
    rows = torch.ones(4, 5, dtype=torch.float64) * 1e3
    rows[2] = torch.nan
    found = spread(rows, torch.zeros(4, dtype=torch.int64))
    assert found.tolist()[:2] == [0, 0] and torch.isnan(found[2]) and found[3] == 0
    large = torch.randn(3000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(3000) % 2  # compared in several parts
    expected = squareform(pdist(large[::2].numpy())).sum(1) / 1499
    assert spread(large, classes)[::2].numpy() == pytest.approx(expected, rel=1e-12)


def test_nearest_training_images_in_both_spaces() -> None:
    found = nearest_training_image(company_of(CALLS, SETS, CLASSES, ROWS))
    training = SETS["training"].flatten(1).numpy()
    for part, name in (("", "made"), ("ceiling", "real"), ("floor", "given")):
        values = found.parts[part] if part else found.values
        assert values.numpy() == pytest.approx(cdist(features(name), features("training")).min(1)[ROWS], rel=1e-10)
        pixels = found.parts["-".join(filter(None, ("input", part)))].numpy()
        assert pixels == pytest.approx(cdist(SETS[name].flatten(1), training).min(1)[ROWS], rel=1e-10)


def test_a_copy_is_at_distance_zero_whatever_the_pieces() -> None:
    training = 100 + torch.rand(50, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([training[17], training[17] + 1e-4, torch.full((2, 3), torch.nan)])
    for size in (1, 7, 50):
        found = nearest_distance(rows, training.split(size))
        assert found[0] == 0 and found[1].item() == pytest.approx(1e-4 * np.sqrt(6), rel=1e-6) and found[2].isnan()
    assert nearest_distance(rows[:1], []).isnan().all()
