"""`folder:PATH`: layouts, splits, links and unreadable files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from xaicli.data.folder import open_folder
from xaicli.data.listing import natural, printable
from xaicli.errors import InputError, MissingError, RefusedError

TEST_KEYS = ["class2/image4.png", "class2/image9.png", "class10/image2.png"]
"""The fifth of the folder `flat` that is held out."""


def paint(path: Path, value: int, *, mode: str = "L", size: tuple[int, int] = (6, 4)) -> None:
    """A plain image, so that its pixels tell which file was read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, value, value)).save(path)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten images of class2 (values 0..9) and five of class10 (100..104)."""
    root = tmp_path / "flowers"
    for number in range(10):
        paint(root / "class2" / f"image{number}.png", number)
    for number in range(5):
        paint(root / "class10" / f"image{number}.png", 100 + number)
    return root


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """Two training images and a test image of a and b each."""
    root = tmp_path / "cut"
    for value, name in enumerate(["train/a/0", "train/a/1", "train/b/0", "train/b/1", "test/a/0", "test/b/0"]):
        paint(root / f"{name}.png", value)
    return root


def test_a_flat_folder_is_split_by_fifths_of_each_class(flat: Path) -> None:
    train, test = open_folder(flat, "train"), open_folder(flat, "test")
    assert train.classes == ("class2", "class10")
    assert train.labels.tolist() == [0] * 8 + [1] * 4
    assert test.labels.tolist() == [0, 0, 1]
    assert [test.key(i) for i in range(3)] == TEST_KEYS
    keys = [dataset.key(i) for dataset in (train, test) for i in range(len(dataset))]
    assert len(set(keys)) == 15
    assert (train.name, train.path, train.index.tolist()) == ("folder:flowers", flat, list(range(12)))
    assert train.digest != test.digest


def test_rows_hold_the_pixels_of_their_key(flat: Path) -> None:
    test = open_folder(flat, "test")
    assert test.shape == (1, 4, 6)
    read = test.read([2, 0])
    assert read.readable.tolist() == [True, True]
    assert read.pixels[:, 0, 0, 0].tolist() == [102, 4]
    assert test.masks([0]) is None


def test_fit_and_val_are_rows_of_train(flat: Path) -> None:
    train, fit, val = (open_folder(flat, split) for split in ("train", "fit", "val"))
    assert sorted([*fit.index, *val.index]) == list(range(12))
    assert len(val) == 2
    assert [val.key(i) for i in range(2)] == [train.key(int(row)) for row in val.index]
    assert fit.digest == val.digest == train.digest


def test_train_and_test_folders_are_the_splits(cut: Path) -> None:
    train, test = open_folder(cut, "train"), open_folder(cut, "test")
    assert [train.key(i) for i in range(4)] == ["train/a/0.png", "train/a/1.png", "train/b/0.png", "train/b/1.png"]
    assert test.read([0, 1]).pixels[:, 0, 0, 0].tolist() == [4, 5]
    assert (train.classes, test.labels.tolist()) == (("a", "b"), [0, 1])


def test_val_stands_in_for_test_unless_both_are_there(cut: Path) -> None:
    (cut / "test").rename(cut / "val")
    assert open_folder(cut, "test").key(0) == "val/a/0.png"
    paint(cut / "test" / "a" / "9.png", 9)
    assert open_folder(cut, "test").key(0) == "test/a/9.png"


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "tram"):
        paint(tmp_path / name / "0.png", 0)
        paint(tmp_path / name / "1.png", 0)
    assert open_folder(tmp_path, "train").classes == ("train", "tram")


def test_a_split_that_is_not_there(cut: Path) -> None:
    (cut / "test").rename(cut / "other")
    with pytest.raises(InputError, match="has no test images, only train; add a folder 'test'"):
        open_folder(cut, "test")
    (cut / "other").rename(cut / "test")
    (cut / "train").rename(cut / "other")
    assert open_folder(cut, "test").classes == ("a", "b")
    with pytest.raises(InputError, match="has no train images, only test"):
        open_folder(cut, "fit")


def test_a_test_class_that_train_lacks(cut: Path) -> None:
    paint(cut / "test" / "c" / "0.png", 0)
    with pytest.raises(InputError, match=r"'.*test/c' is a class that train lacks"):
        open_folder(cut, "train")


@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_folders(flat: Path, tmp_path: Path, split: str) -> None:
    (flat / "class3").mkdir()
    (flat / "class3" / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match=r"the class folder '.*class3' holds no images; fill it or remove it"):
        open_folder(flat, split)  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"'.*empty' has no folders in it"):
        open_folder(tmp_path / "empty", split)  # type: ignore[arg-type]
    with pytest.raises(MissingError, match=r"the folder '.*nowhere' does not exist"):
        open_folder(tmp_path / "nowhere", split)  # type: ignore[arg-type]


def test_one_image_a_class_cannot_be_split(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "0.png", 0)
    with pytest.raises(InputError, match="too few images to hold a fifth of them out"):
        open_folder(tmp_path, "test")


def test_nested_hidden_and_nameless_files(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a/10.png", "a/9.png", "a/deep/er/1.PNG", "a/.hidden.png", "a/.cache/2.png", ".git/x.png", "a/zz.png"):
        paint(root / name, 0)
    (root / "a" / "zz.png").rename(root / "a" / "zz")  # an image by content
    (root / "a" / "readme.txt").write_text("BM is not the start of a bitmap here")
    os.mkfifo(root / "a" / "pipe.png")
    dataset = open_folder(root, "train")
    other = open_folder(root, "test")
    assert [dataset.key(i) for i in range(3)] == ["a/10.png", "a/zz", "a/deep/er/1.PNG"]
    assert [other.key(i) for i in range(len(other))] == ["a/9.png"]
    assert dataset.classes == ("a",)


def test_unreadable_files_are_marked_rows(flat: Path) -> None:
    before = open_folder(flat, "test")
    whole = (flat / TEST_KEYS[1]).read_bytes()
    (flat / TEST_KEYS[1]).write_bytes(whole[:50])
    test = open_folder(flat, "test")
    read = test.read([0, 1, 2])
    assert read.readable.tolist() == [True, False, True]
    assert read.pixels[1].max() == 0 and read.pixels[2].max() >= 100
    assert test.digest != before.digest  # the size is another
    (flat / TEST_KEYS[0]).unlink()
    assert test.read([0]).readable.tolist() == [False]


def test_a_link_to_a_file_within_is_read_and_any_other_refused(flat: Path, tmp_path: Path) -> None:
    (flat / "class2" / "image99.png").symlink_to(flat / "class10" / "image0.png")
    keys = [
        open_folder(flat, split).key(i) for split in ("train", "test") for i in range(len(open_folder(flat, split)))
    ]
    assert "class2/image99.png" in keys
    paint(tmp_path / "secret.png", 7)
    for link, target in (
        (flat / "class2" / "out.png", tmp_path / "secret.png"),
        (flat / "class2" / "out", tmp_path),
        (flat / "class2" / "loop", flat),
        (flat / "class2" / "broken.png", flat / "gone.png"),
        (flat / "class4", tmp_path),
    ):
        link.symlink_to(target)
        with pytest.raises(RefusedError, match=f"'.*{link.name}' is a link that does not point to a file within"):
            open_folder(flat, "test")
        link.unlink()


def test_channels_and_size_without_a_request(flat: Path) -> None:
    assert open_folder(flat, "train").shape == open_folder(flat, "test").shape == (1, 4, 6)
    paint(flat / "class10" / "colour.png", 9, mode="RGB", size=(30, 20))
    assert open_folder(flat, "train").shape == open_folder(flat, "test").shape == (3, 4, 6)
    assert open_folder(flat, "test", (1, 8, 8)).read([0]).pixels.shape == (1, 1, 8, 8)
    with pytest.raises(InputError, match="are read with 1 or 3 channels, not 4"):
        open_folder(flat, "test", (4, 8, 8))


def test_no_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(5):
        (tmp_path / "a" / f"{number}.png").write_bytes(b"text")
    with pytest.raises(
        InputError, match=r"no image in '.*' can be read; the formats are PNG, JPEG, WEBP, BMP and TIFF"
    ):
        open_folder(tmp_path, "test")
    assert open_folder(tmp_path, "test", (3, 8, 8)).read([0]).readable.tolist() == [False]


def test_names_beyond_utf8_become_keys_that_every_file_can_store(tmp_path: Path) -> None:
    name = b"gr\xfcn.png"
    paint(tmp_path / "a" / "x.png", 3)
    paint(tmp_path / "a" / "y.png", 3)
    os.rename(tmp_path / "a" / "x.png", os.path.join(os.fsencode(tmp_path / "a"), name))
    keys = [open_folder(tmp_path, split).key(0) for split in ("train", "test")]
    assert sorted(keys) == ["a/gr\\xfcn.png", "a/y.png"]
    assert all(open_folder(tmp_path, split).read([0]).readable.all() for split in ("train", "test"))
    assert printable("grün") == "grün"


def test_natural_order() -> None:
    names = ["class10", "Class2", "class1", "class02", "b", "A", "10", "9", "a1b10", "a1b9", "a"]
    expected = ["9", "10", "A", "a", "a1b9", "a1b10", "b", "class1", "Class2", "class02", "class10"]
    assert sorted(names, key=natural) == expected
