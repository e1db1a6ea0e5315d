"""`mnist` and `fashion-mnist`: IDX files, true, damaged and hostile."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from xaicli.data.access import SYSTEM, Access
from xaicli.data.idx import read_idx
from xaicli.data.mnist import open_mnist
from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError


def idx(array: NDArray[np.uint8], kind: int = 8) -> bytes:
    """An array of bytes as Y. LeCun's page describes the format."""
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def numbers(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) * 3 % 10).astype(np.uint8)


def write(folder: Path, *, packed: bool = False, dash: str = "-") -> Path:
    """Forty training and ten test images, as the files are called."""
    folder.mkdir(parents=True)
    for prefix, count in (("train", 40), ("t10k", 10)):
        for what, array in (("images", pictures(count, count)), ("labels", numbers(count))):
            name = f"{prefix}-{what}{dash}idx{array.ndim}-ubyte"
            data = idx(array)
            (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return folder


@pytest.mark.parametrize(
    ("name", "folder", "packed", "dash"),
    [
        ("mnist", "mnist", False, "-"),
        ("mnist", "MNIST/raw", True, "-"),
        ("mnist", "MNIST", False, "."),
        ("fashion-mnist", "fashion-mnist", True, "-"),
        ("fashion-mnist", "FashionMNIST/raw", False, "-"),
    ],
)
def test_files_are_read_to_their_pixels_and_labels(
    tmp_path: Path, name: str, folder: str, packed: bool, dash: str
) -> None:
    write(tmp_path / folder, packed=packed, dash=dash)
    train, test = (open_data(f"{name}:{split}", access=Access(tmp_path)) for split in ("train", "test"))
    assert (len(train), len(test), train.shape, train.name) == (40, 10, (1, 28, 28), name)
    np.testing.assert_array_equal(train.read(range(40)).pixels[:, 0], pictures(40, 40))
    np.testing.assert_array_equal(test.read([9, 0]).pixels[:, 0], pictures(10, 10)[[9, 0]])
    assert test.read([3]).readable.all()
    assert test.labels.tolist() == [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]
    assert train.key(7) == "00007"
    assert train.path == tmp_path / folder


def test_fit_and_val_are_rows_of_train(tmp_path: Path) -> None:
    write(tmp_path / "mnist")
    train, fit, val = (open_mnist("mnist", split, None, Access(tmp_path)) for split in ("train", "fit", "val"))
    assert sorted([*fit.index, *val.index]) == list(range(40))
    assert len(val) == 4
    np.testing.assert_array_equal(val.read(range(4)).pixels, train.read(val.index).pixels)
    np.testing.assert_array_equal(val.labels, train.labels[val.index])
    assert fit.digest == val.digest == train.digest != open_mnist("mnist", "test", None, Access(tmp_path)).digest


def test_the_digest_is_of_the_data_whatever_the_files(tmp_path: Path) -> None:
    write(tmp_path / "a" / "mnist")
    folder = write(tmp_path / "b" / "mnist", packed=True)
    digests = {open_mnist("mnist", "test", None, Access(tmp_path / place)).digest for place in "ab"}
    assert len(digests) == 1
    changed = pictures(10, 10)
    changed[5, 5, 5] ^= 1
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(changed)))
    again = open_mnist("mnist", "test", None, Access(tmp_path / "b"))
    assert again.digest not in digests  # nor is what was read before used again
    np.testing.assert_array_equal(again.read([5]).pixels[0, 0], changed[5])


def test_class_names_and_sizes(tmp_path: Path) -> None:
    write(tmp_path / "fashion-mnist")
    dataset = open_mnist("fashion-mnist", "test", (1, 32, 32), Access(tmp_path))
    assert dataset.classes[0] == "T-shirt/top" and dataset.classes[9] == "Ankle boot"
    assert dataset.read([0]).pixels.shape == (1, 1, 32, 32)
    with pytest.raises(InputError, match="the images of fashion-mnist have 1 channel, not the 3 asked for"):
        open_mnist("fashion-mnist", "test", (3, 28, 28), Access(tmp_path))


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        MissingError, match=r"the data 'mnist' is not there; looked for '.*/roots/mnist', .*--data-root"
    ):
        open_mnist("mnist", "test", None, Access(tmp_path / "roots"))
    folder = write(tmp_path / "mnist")
    assert len(open_mnist("mnist", "test")) == 10  # in the current folder
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(MissingError, match=r"t10k-labels-idx1-ubyte' is missing"):
        open_mnist("mnist", "test")


def bomb(count: int, megabytes: int) -> bytes:
    """A gzipped header that tells the truth of nothing, before zeros without end."""
    packer = zlib.compressobj(wbits=31)
    head = packer.compress(struct.pack(">HBB3I", 0, 8, 3, count, 28, 28))
    return head + b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no IDX file of bytes in 3 dimensions"),
        (b"<html>not found</html>", "is no IDX file"),
        (idx(numbers(10)), "is no IDX file"),
        (idx(pictures(10, 0), kind=0x0D), "is no IDX file"),
        (idx(pictures(10, 0))[:-1], "ends early: its header says 10x28x28"),
        (idx(pictures(10, 0)) + b"\0", "goes on after its end"),
        (struct.pack(">HBB3I", 0, 8, 3, 4294967295, 28, 28), "claims a size of 4294967295x28x28"),
        (struct.pack(">HBB3I", 0, 8, 3, 10, 27, 28) + bytes(7560), "claims a size of 10x27x28"),
        (gzip.compress(idx(pictures(10, 0)))[:-20], "is damaged, or ends early"),
        (gzip.compress(idx(pictures(10, 0)))[:-8] + bytes(8), "is damaged, or ends early"),
        (b"\x1f\x8bnothing", "is damaged, or ends early"),
        (bomb(10, 64), "goes on after its end"),
        (idx(pictures(9, 0)), "holds 9 images and 10 labels"),
    ],
)
def test_damaged_and_hostile_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "mnist") / "t10k-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        open_mnist("mnist", "test", None, Access(tmp_path))


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    path = write(tmp_path / "mnist") / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx(np.full(10, 10, dtype=np.uint8)))
    with pytest.raises(InputError, match="holds the label 10, but there are 10 classes"):
        open_mnist("mnist", "test", None, Access(tmp_path))
    path.unlink()
    with pytest.raises(MissingError, match=r"'.*ubyte' cannot be read \(No such file or directory\); restore it"):
        read_idx(path, None)


@pytest.mark.real_data
@pytest.mark.skipif(
    not (SYSTEM / "fashion-mnist").is_dir() and "CI" not in os.environ,
    reason="needs Debian's package dataset-fashion-mnist",
)
def test_fashion_mnist_of_the_system() -> None:
    train, test, val = (open_data(f"fashion-mnist:{split}") for split in ("train", "test", "val"))
    assert (len(train), len(test), len(val)) == (60_000, 10_000, 6_000)
    assert train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert test.labels[:6].tolist() == [9, 2, 1, 1, 6, 1]
    assert np.bincount(train.labels).tolist() == [6_000] * 10
    assert np.bincount(val.labels).tolist() == [600] * 10
    # The mean and deviation that everybody normalises these images with.
    pixels = train.read(range(60_000)).pixels / np.float64(255)
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.2860, 0.3530)
