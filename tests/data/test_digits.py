"""`digits` against scikit-learn itself and fixed numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from xaicli.data.digits import Digits, enlarge, open_digits
from xaicli.errors import InputError

TRAIN = "e5ed7cf8847780d574e2a96f8c36a3c5d0e7d5ad63de2937512e4391a56e335d"
TEST = "8ca329373d008f8adfb2e300a33f50b27f89612fd6e2b5e25a586c649fd56c2e"


def all_of(dataset: Digits) -> np.ndarray:
    return dataset.read(range(len(dataset))).pixels


def test_splits_are_stratified_and_golden() -> None:
    train, test = open_digits("train"), open_digits("test")
    assert (train.digest, test.digest) == (TRAIN, TEST)
    assert np.bincount(train.labels).tolist() == [142, 145, 142, 146, 145, 146, 145, 143, 139, 144]
    assert np.bincount(test.labels).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    assert sorted([*train.numbers, *test.numbers]) == list(range(1797))
    assert (train.name, train.classes, train.shape) == ("digits", tuple("0123456789"), (1, 32, 32))


def test_fit_and_val_keep_the_row_numbers_and_the_digest_of_train() -> None:
    train, fit, val = (open_digits(split) for split in ("train", "fit", "val"))
    assert (len(fit), len(val)) == (1293, 144)
    assert np.bincount(val.labels).tolist() == [14, 15, 14, 15, 15, 15, 14, 14, 14, 14]
    assert sorted([*fit.index, *val.index]) == train.index.tolist() == list(range(1437))
    assert fit.digest == val.digest == TRAIN
    for position in (0, 77, 143):
        row = int(val.index[position])
        assert val.key(position) == train.key(row)
        assert val.labels[position] == train.labels[row]
        np.testing.assert_array_equal(val.read([position]).pixels, train.read([row]).pixels)


def test_every_digit_is_the_one_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    original = load_digits()
    for split in ("train", "test"):
        dataset = open_digits(split)
        np.testing.assert_array_equal(dataset.labels, original.target[dataset.numbers])
        eights = original.images[dataset.numbers].astype(np.uint8)[:, None]
        np.testing.assert_array_equal(all_of(dataset), enlarge(eights))
    assert open_digits("test").key(0) == f"{open_digits('test').numbers[0]:04d}"


def test_enlarging_is_bilinear_between_pixel_centres() -> None:
    constant = np.full((1, 1, 8, 8), 16, dtype=np.uint8)
    assert enlarge(constant).min() == 255
    step = np.zeros((1, 1, 8, 8), dtype=np.uint8)
    step[..., 4:] = 16
    # Centres of the last dark and the first bright pixel lie at 13.5 and 17.5: eighths 1, 3, 5, 7 of 255 between them.
    assert enlarge(step)[0, 0, 0, 12:20].tolist() == [0, 0, 32, 96, 159, 223, 255, 255]


def test_enlarging_agrees_with_pillow_to_one_grey_level() -> None:
    eights = np.random.default_rng(0).integers(0, 17, (20, 1, 8, 8), dtype=np.uint8)
    for small, large in zip(eights[:, 0], enlarge(eights)[:, 0], strict=True):
        floats = Image.fromarray(small.astype(np.float32) * (255 / 16))
        pillow = np.asarray(floats.resize((32, 32), Image.Resampling.BILINEAR))
        assert np.abs(pillow - large).max() <= 0.51


def test_another_size_and_other_channels() -> None:
    dataset = open_digits("test", (1, 16, 20))
    assert all_of(dataset).shape == (360, 1, 16, 20)
    assert dataset.digest == TEST
    with pytest.raises(InputError, match="have 1 channel, not the 3 asked for"):
        open_digits("test", (3, 32, 32))


def test_reading_follows_the_order_asked_for() -> None:
    dataset = open_digits("test")
    read = dataset.read([5, 0, 5])
    assert read.readable.tolist() == [True] * 3
    np.testing.assert_array_equal(read.pixels, all_of(dataset)[[5, 0, 5]])
    assert dataset.masks([0]) is None
