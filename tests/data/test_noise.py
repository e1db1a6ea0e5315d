"""`noise`: golden bytes, every row for itself, and numbers that no test of uniformity tells from chance."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.stats import chisquare

from xaicli.data.dataset import UNKNOWN
from xaicli.data.noise import open_noise
from xaicli.data.open import open_data
from xaicli.errors import InputError

TEST_PIXELS = "8d12ba5cfec8682967c0bd41902cfe929e69724f8aef360650b1954fca901f1b"


def test_bytes_are_golden() -> None:
    pixels = open_noise("test").read(range(1000)).pixels
    assert pixels.shape == (1000, 3, 32, 32) and pixels.dtype == np.uint8
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == TEST_PIXELS


def test_rows_have_no_class_and_splits_share_none() -> None:
    train, fit, val, test = (open_data(f"noise:{split}", shape=(1, 5, 7)) for split in ("train", "fit", "val", "test"))
    assert [len(one) for one in (train, fit, val, test)] == [1000, 900, 100, 1000]
    assert {*train.labels, *test.labels} == {UNKNOWN} and test.classes == ()
    assert sorted([*fit.index, *val.index]) == list(range(1000)) and train.digest == val.digest != test.digest
    images = np.concatenate([one.read(range(1000)).pixels for one in (train, test)])
    assert len(np.unique(images.reshape(2000, -1), axis=0)) == 2000
    np.testing.assert_array_equal(val.read([3]).pixels, train.read([val.index[3]]).pixels)


def test_a_row_does_not_depend_on_its_company() -> None:
    test = open_noise("test", (1, 5, 7))
    together = test.read([8, 3, 999]).pixels
    for place, row in enumerate((8, 3, 999)):
        np.testing.assert_array_equal(together[place], test.read([row]).pixels[0])


def test_every_byte_is_as_likely_and_neighbours_know_nothing_of_each_other() -> None:
    pixels = open_noise("test").read(range(200)).pixels.reshape(200, -1)
    assert chisquare(np.bincount(pixels.ravel(), minlength=256)).pvalue > 0.001
    for one, other in ((pixels[:, :-1], pixels[:, 1:]), (pixels[:-1], pixels[1:])):
        r = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(r) < 4 / np.sqrt(one.size)


def test_a_size_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="no noise of 1x0x4 pixels"):
        open_noise("test", (1, 0, 4))
