"""Data sets one after the other: every row is that of its part, under a number of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xaicli.data.cut import cut
from xaicli.data.dataset import UNKNOWN, Dataset, Images, Positions, sample_digest
from xaicli.data.digits import open_digits
from xaicli.data.joined import joined
from xaicli.data.noise import open_noise
from xaicli.errors import InputError

SHAPE = (1, 32, 32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Damaged(Dataset):
    """Rows of halves, of which the second cannot be read."""

    def read(self, positions: Positions) -> Images:
        pixels = np.full((len(positions), *self.shape), 0.5, dtype=np.float32)
        return Images(pixels, np.asarray(positions) != 1)


def damaged() -> Damaged:
    same = {"name": "damaged", "split": "test", "classes": (), "channels": 1, "height": 32, "width": 32, "digest": "d"}
    return Damaged(**same, labels=np.array([0, 1, 2]), index=np.array([2, 5, 9]))


def test_rows_are_those_of_their_parts_in_any_order() -> None:
    digits, noise = open_digits("test"), open_noise("val", SHAPE)
    some = cut(digits, np.array([4, 7, 100]), digits.labels)
    both = joined([some, noise])
    assert len(both) == 103 and (both.name, both.digest, both.classes) == ("digits", digits.digest, digits.classes)
    assert both.labels.tolist() == [*digits.labels[[4, 7, 100]], *[UNKNOWN] * 100]
    start = int(digits.index[100]) + 1
    assert both.index.tolist() == [*digits.index[[4, 7, 100]], *(noise.index + start)]
    images = both.read([50, 1, 3, 0])
    assert images.pixels.dtype == np.uint8 and images.readable.all()
    np.testing.assert_array_equal(images.pixels[[1, 3]], digits.read([7, 4]).pixels)
    np.testing.assert_array_equal(images.pixels[[0, 2]], noise.read([47, 0]).pixels)
    assert [both.key(1), both.key(3)] == [digits.key(7), f"noise/{noise.key(0)}"]


def test_a_sample_has_one_digest_whichever_rows_are_read_with_it() -> None:
    both = joined([open_digits("test"), damaged()])
    alone, among = both.read([5]).pixels[0], both.read([5, 361, 360]).pixels[0]
    assert alone.dtype == np.float32 and sample_digest(alone) == sample_digest(among)
    np.testing.assert_allclose(alone, open_digits("test").read([5]).pixels[0] / 255, atol=1e-7)
    assert both.read([361, 5, 360]).readable.tolist() == [False, True, True]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="images of 1x32x32 and of 3x32x32 cannot be joined"):
        joined([open_digits("test"), open_noise("test")])
