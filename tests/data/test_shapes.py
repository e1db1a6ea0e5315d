"""`shapes`: golden digests, independence of company, size and order, exact masks, and no class but in the outline."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaicli.data.outlines import OUTLINES
from xaicli.data.scene import GAP, Thing, compose
from xaicli.data.shapes import Pencil, open_shapes
from xaicli.errors import InputError

TRAIN = "22b3dbe6c1ec177ffb871d5046582d6281e0963231ccecbca6a5e09418dba94d"
TEST = "40a10cee0b02c592aabd22414a502b81959ac3ea8a8e4726b3e4eedb74dcd749"
TEST_PIXELS = "847f5eb98cd884ff2b20d73422456839a71a326e722d8e597007697aea114cee"
TEST_MASKS = "b3a289e943abd92afd436b793de1f5b336b9a0f5e6facb68254144695f59fce9"


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_digests_are_golden() -> None:
    train, test = open_shapes("train"), open_shapes("test")
    assert (train.digest, test.digest) == (TRAIN, TEST)
    assert (train.name, train.shape, len(train), len(test)) == ("shapes", (3, 32, 32), 10_000, 2_000)


def test_every_test_picture_and_mask_is_golden() -> None:
    test = open_shapes("test")
    assert sha256(test.read(range(2_000)).pixels) == TEST_PIXELS
    assert sha256(test.masks(range(2_000))) == TEST_MASKS


def test_labels_are_balanced_in_every_ten_rows_but_not_in_a_fixed_order() -> None:
    labels = open_shapes("test").labels
    assert (np.sort(labels.reshape(-1, 10), axis=1) == np.arange(10)).all()
    assert labels[:20].tolist() == [1, 8, 3, 7, 9, 0, 4, 5, 6, 2, *labels[10:20]]
    assert labels[:10].tolist() != labels[10:20].tolist()
    assert tuple(OUTLINES) == open_shapes("test").classes


def test_fit_and_val_are_rows_of_train() -> None:
    train, fit, val = (open_shapes(split) for split in ("train", "fit", "val"))
    assert np.bincount(val.labels).tolist() == [100] * 10
    assert sorted([*fit.index, *val.index]) == list(range(10_000))
    assert fit.digest == val.digest == TRAIN
    row = int(val.index[7])
    assert val.key(7) == train.key(row) == f"{row:05d}"
    np.testing.assert_array_equal(val.read([7]).pixels, train.read([row]).pixels)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 1_999), min_size=1, max_size=8), st.sampled_from([(3, 32, 32), (1, 17, 40), (5, 16, 16)])
)
def test_a_picture_does_not_depend_on_its_company(rows: list[int], shape: tuple[int, int, int]) -> None:
    test = open_shapes("test", shape)
    together, masks = test.read(rows).pixels, test.masks(rows)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(together[place], test.read([row]).pixels[0])
        np.testing.assert_array_equal(masks[place], test.masks([row])[0])


def test_a_scene_is_the_same_at_every_size() -> None:
    small, large = open_shapes("test"), open_shapes("test", (3, 96, 96))
    thirds = large.masks(range(200)).reshape(200, 32, 3, 32, 3).mean((2, 4))
    sure = (thirds == 0) | (thirds == 1)
    np.testing.assert_array_equal(small.masks(range(200))[sure], thirds[sure] == 1)
    assert small.digest != large.digest


def test_masks_are_exactly_where_the_object_changes_the_picture() -> None:
    test = open_shapes("test", (3, 64, 64))
    rows = range(100)
    changed = (test.read(rows).pixels != test.without_object(rows)).any(1)
    masks = test.masks(rows)
    around = masks.copy()
    for axis in (1, 2):
        around |= np.roll(around, 1, axis) | np.roll(around, -1, axis)
    # Beyond the mask there is but the soft edge of a pixel (and, seldom, the last pixels of a pointed tip); within, a
    # pixel stays only if the colours meet by chance.
    assert (changed & ~around).sum() < 0.001 * masks.sum()
    assert changed[masks].mean() > 0.99


def test_mask_area_is_the_area_of_the_outline() -> None:
    pencil = Pencil("test", 1, 128, 128)
    rows = np.arange(300)
    scenes = compose("test", rows, np.zeros(300, dtype=np.int64))
    covered = pencil.masks(rows, np.zeros(300, dtype=np.int64)).sum((1, 2))
    expected = np.pi * (0.9 * scenes.object.radius[:, 0, 0] * 64) ** 2
    np.testing.assert_allclose(covered, expected, rtol=0.02)


def test_things_stay_in_the_picture_and_apart() -> None:
    for reach in ((1.0, 1.0), (1.5, 1.0)):
        scenes = compose("train", np.arange(2_000), np.zeros(2_000, dtype=np.int64), reach=reach)
        one, other = scenes.object, scenes.distractor
        for thing in (one, other):
            assert (np.abs(thing.x) + thing.radius <= reach[0] + 1e-6).all()
            assert (np.abs(thing.y) + thing.radius <= reach[1] + 1e-6).all()
            np.testing.assert_allclose(thing.cosine**2 + thing.sine**2, 1, rtol=1e-6)
        distance = np.hypot(one.x - other.x, one.y - other.y)
        assert (distance - one.radius - other.radius >= GAP - 1e-5).all()


def test_the_class_decides_the_outline_and_nothing_else() -> None:
    rows = np.arange(50)
    first, second = (compose("test", rows, np.full(50, label)) for label in (0, 7))

    def same(a: object, b: object) -> bool:
        if hasattr(a, "__dataclass_fields__"):
            names = [f.name for f in fields(a) if not (isinstance(a, Thing) and f.name == "number")]  # type: ignore[arg-type]
            return all(same(getattr(a, name), getattr(b, name)) for name in names)
        if isinstance(a, tuple):
            return all(same(x, y) for x, y in zip(a, b, strict=True))  # type: ignore[call-overload]
        return bool(np.array_equal(a, b))  # type: ignore[arg-type]

    assert same(first, second)
    assert same(first.distractor.number, second.distractor.number)
    assert first.object.number.tolist() == [0] * 50


def ridge_accuracy(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    """Of a linear classifier: ridge regression onto one-hot labels."""
    x, x_test = (np.column_stack([v.reshape(len(v), -1) / 255, np.ones(len(v))]) for v in (x, x_test))
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ np.eye(10)[y])
    return float(((x_test @ weights).argmax(1) == y_test).mean())


def test_pictures_without_their_object_do_not_tell_the_class() -> None:
    train, test = open_shapes("train", (3, 16, 16)), open_shapes("test", (3, 16, 16))
    fit, judge = range(2_500), range(1_000)
    y, y_test = train.labels[:2_500], test.labels[:1_000]
    # Chance is 0.1, and the standard error on 1,000 pictures is 0.0095.
    assert ridge_accuracy(train.without_object(fit), y, test.without_object(judge), y_test) < 0.1 + 3 * 0.0095
    # The same classifier does find a class that shows: masks tell it.
    assert ridge_accuracy(255 * train.masks(fit), y, 255 * test.masks(judge), y_test) > 0.1 + 10 * 0.0095


def test_neither_colour_nor_texture_of_the_object_tells_the_class() -> None:
    labels = open_shapes("train").labels[:2_000]
    thing = compose("train", np.arange(2_000), labels).object
    fill = thing.fill
    numbers = [*fill.light, *fill.hue, fill.colourfulness, fill.frequency, thing.radius, thing.x, thing.y, thing.sine]
    table = np.column_stack([np.eye(5)[fill.pattern], *(number[:, 0] for number in numbers)])
    half = 1_000
    assert ridge_accuracy(table[:half], labels[:half], table[half:], labels[half:]) < 0.1 + 4 * 0.0095


@pytest.mark.parametrize("shape", [(0, 32, 32), (3, 15, 32), (3, 32, 8)])
def test_sizes_that_cannot_be_drawn(shape: tuple[int, int, int]) -> None:
    with pytest.raises(
        InputError, match=f"cannot be {shape[0]}x{shape[1]}x{shape[2]}; ask for at least 1 channel and 16"
    ):
        open_shapes("test", shape)


def test_one_channel_has_the_same_contrast_as_three() -> None:
    grey, colour = (open_shapes("test", (channels, 32, 32)) for channels in (1, 3))
    masks = grey.masks(range(500))

    def contrast(pixels: np.ndarray) -> float:
        light = pixels.mean(1)
        inside = np.array([image[mask].mean() - image[~mask].mean() for image, mask in zip(light, masks, strict=True)])
        return float(np.abs(inside).mean())

    assert contrast(grey.read(range(500)).pixels) == pytest.approx(contrast(colour.read(range(500)).pixels), rel=0.1)
    assert contrast(grey.read(range(500)).pixels) > 40
