"""One image for each row: what is missing stays missing, and what is drawn beside has the row's class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.nets import small_net, some_images
from xaicli.data.dataset import Dataset, Images
from xaicli.evaluate.gallery import Gallery, drawn_alike
from xaicli.run.calls import Calls

NET = small_net(3, dtype=torch.float32)
PIXELS = some_images(7, NET).numpy()
LABELS = np.array([0, 1, 1, 0, 2, 1, 0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Seven(Dataset):
    readable: np.ndarray

    def read(self, positions) -> Images:
        return Images(PIXELS[positions], self.readable[positions])


def seven(readable: np.ndarray | None = None) -> Seven:
    about = {"channels": 2, "height": 6, "width": 6, "classes": ("a", "b", "c"), "digest": "1" * 64}
    readable = np.ones(7, dtype=bool) if readable is None else readable
    return Seven(name="s", split="test", labels=LABELS, index=np.arange(7) * 10, readable=readable, **about)


def test_features_and_images_of_rows_in_any_order_some_of_them_missing() -> None:
    readable = np.arange(7) != 4
    gallery = Gallery(seven(readable), np.array([5, -1, 2, 5, 4]))
    calls = Calls(NET, batch_size=4)
    found = gallery.features(calls)
    expected = Calls(NET, batch_size=4).features(torch.as_tensor(PIXELS))[1].double()
    assert found.dtype == torch.float64 and torch.equal(found[[0, 2, 3]], expected[[5, 2, 5]])
    assert found[[1, 4]].isnan().all() and calls.forwards == 0  # belongs to no row
    images = gallery.images(torch.tensor([3, 1, 2, 4]))
    assert torch.equal(images[[0, 2]], torch.as_tensor(PIXELS[[5, 2]])) and images[[1, 3]].isnan().all()


@pytest.mark.parametrize("positions", [[-1, -1], [4, 4]])
def test_nothing_at_all(positions: list[int]) -> None:
    gallery = Gallery(seven(np.arange(7) != 4), np.array(positions))
    assert gallery.features(Calls(NET)).isnan().all() and gallery.images(torch.tensor([1, 0])).isnan().all()


def test_images_are_drawn_of_the_rows_classes_without_replacement() -> None:
    classes = np.array([1, 0, 1, 2, 1, 2, 1, 9])
    drawn = drawn_alike(seven(), classes, seed=3).positions
    there = drawn >= 0
    assert there.tolist() == [True, True, True, True, True, False, False, False]  # no more of 1 and 2, and no 9
    assert (LABELS[drawn[there]] == classes[there]).all() and len({*drawn[there]}) == there.sum()
    assert np.array_equal(drawn, drawn_alike(seven(), classes, seed=3).positions)
    some = [drawn_alike(seven(), np.array([1]), seed=seed).positions[0] for seed in range(30)]
    assert {*some} == {1, 2, 5}
