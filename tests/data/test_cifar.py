"""`cifar10` and `cifar100`: the binary and the Python version are the same data."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data import python2
from xaicli.data.access import Access
from xaicli.data.cifar import open_cifar
from xaicli.data.dataset import Dataset
from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError, RefusedError

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
HUNDRED = [f"kind_{number}" for number in range(100)]
ROWS = 20
"""In each file; CIFAR has 10,000 (and 50,000 in the training file of the hundred)."""

FILES = {
    "cifar10": [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"],
    "cifar100": ["train", "test"],
}


def content(number: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [n, 3072] and labels of the file of this number."""
    random = np.random.default_rng(number)
    return random.integers(0, 256, (ROWS, 3072), dtype=np.uint8), (np.arange(ROWS) * 7 % 10 * (classes // 10)).astype(
        np.uint8
    )


def write_binary(root: Path, name: str) -> Path:
    """`<label><3072 pixels>` records, behind a coarse label in CIFAR-100; names one a line."""
    ten = name == "cifar10"
    folder = root / ("cifar-10-batches-bin" if ten else "cifar-100-binary")
    folder.mkdir(parents=True)
    for number, file in enumerate(FILES[name]):
        images, labels = content(number, 10 if ten else 100)
        columns = [labels[:, None], images] if ten else [labels[:, None] // 5, labels[:, None], images]
        (folder / f"{file}.bin").write_bytes(np.concatenate(columns, axis=1).tobytes())
    table = folder / ("batches.meta.txt" if ten else "fine_label_names.txt")
    table.write_text("\n".join(TEN if ten else HUNDRED) + "\n\n")
    return folder


def write_python(root: Path, name: str, dumps: Any = python2.dumps) -> Path:
    """Dicts with the keys of the real files, pickled in protocol 2."""
    ten = name == "cifar10"
    folder = root / ("cifar-10-batches-py" if ten else "cifar-100-python")
    folder.mkdir(parents=True)
    for number, file in enumerate(FILES[name]):
        images, labels = content(number, 10 if ten else 100)
        batch: dict[bytes, Any] = {
            b"batch_label": f"training batch {number + 1} of 5".encode(),
            b"labels" if ten else b"fine_labels": labels.tolist(),
            b"data": images,
            b"filenames": [f"image_s_{row:06d}.png".encode() for row in range(ROWS)],
        }
        if not ten:
            batch[b"coarse_labels"] = (labels // 5).tolist()
        (folder / file).write_bytes(dumps(batch))
    names = [word.encode() for word in (TEN if ten else HUNDRED)]
    meta = {b"num_cases_per_batch": 10000, b"label_names" if ten else b"fine_label_names": names, b"num_vis": 3072}
    (folder / ("batches.meta" if ten else "meta")).write_bytes(dumps(meta))
    return folder


def dumps(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


WRITERS = {
    "binary": write_binary,
    "python 2": write_python,
    "python 3": lambda root, name: write_python(root, name, dumps),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("version", WRITERS)
def test_files_are_read_to_their_pixels_labels_and_names(tmp_path: Path, name: str, version: str) -> None:
    folder = WRITERS[version](tmp_path, name)
    classes = 10 if name == "cifar10" else 100
    last = len(FILES[name]) - 1
    train, test = (open_data(f"{name}:{split}", access=Access(tmp_path)) for split in ("train", "test"))
    assert train.classes == tuple(TEN if name == "cifar10" else HUNDRED)
    assert (len(train), len(test), train.shape) == (ROWS * last, ROWS, (3, 32, 32))
    for dataset, numbers in ((train, range(last)), (test, [last])):
        images, labels = (
            np.concatenate(arrays) for arrays in zip(*(content(n, classes) for n in numbers), strict=True)
        )
        np.testing.assert_array_equal(dataset.read(range(len(dataset))).pixels.reshape(-1, 3072), images)
        np.testing.assert_array_equal(dataset.labels, labels)
    assert (train.name, train.path, train.key(12)) == (name, folder, "00012")


def test_colours_are_planes_of_rows(tmp_path: Path) -> None:
    """The first 1,024 bytes are red, row by row: as the data set's page has it."""
    write_binary(tmp_path, "cifar10")
    image = open_cifar("cifar10", "test", None, Access(tmp_path)).read([4]).pixels[0]
    record = content(5, 10)[0][4]
    assert (image[0, 0, 1], image[0, 1, 0], image[1, 0, 0], image[2, 31, 31]) == tuple(record[[1, 32, 1024, 3071]])


@pytest.mark.parametrize("name", FILES)
def test_both_versions_have_the_same_digest_and_splits(tmp_path: Path, name: str) -> None:
    opened: dict[str, list[Dataset]] = {}
    for version, write in WRITERS.items():
        write(tmp_path / version, name)
        opened[version] = [
            open_cifar(name, split, None, Access(tmp_path / version)) for split in ("val", "fit", "test")
        ]
    for val, fit, test in opened.values():
        assert (val.digest, fit.digest, test.digest) == tuple(dataset.digest for dataset in opened["binary"])
        np.testing.assert_array_equal(val.index, opened["binary"][0].index)
        assert val.digest == fit.digest != test.digest


def test_other_places_sizes_and_channels(tmp_path: Path) -> None:
    write_binary(tmp_path / "cifar10", "cifar10")
    dataset = open_cifar("cifar10", "test", (3, 16, 16), Access(tmp_path))
    assert dataset.read([1, 2]).pixels.shape == (2, 3, 16, 16)
    with pytest.raises(InputError, match="the images of cifar10 have 3 channels, not the 1 asked for"):
        open_cifar("cifar10", "test", (1, 32, 32), Access(tmp_path))
    with pytest.raises(
        MissingError, match=r"the data 'cifar100' is not there; looked for .*/cifar-100-binary'.*--download"
    ):
        open_cifar("cifar100", "test", None, Access(tmp_path))


def test_a_batch_with_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'victim'}",)

    folder = write_python(tmp_path, "cifar10")
    whole = (folder / "test_batch").read_bytes()
    for file in ("test_batch", "batches.meta"):
        (folder / file).write_bytes(pickle.dumps({b"data": Runs(), b"label_names": Runs()}, protocol=2))
        with pytest.raises(RefusedError, match=rf"{file}' is a pickle that asks for '(posix|nt)\.system'") as refused:
            open_cifar("cifar10", "test", None, Access(tmp_path))
        assert refused.value.exit_code == 77
        (folder / "test_batch").write_bytes(whole)
    assert not (tmp_path / "victim").exists()


def edit(path: Path, **changes: Any) -> bytes:
    batch = pickle.loads(path.read_bytes(), encoding="bytes")
    return dumps({**batch, **{key.encode(): value for key, value in changes.items()}})


def test_damaged_batches(tmp_path: Path) -> None:
    path = write_python(tmp_path, "cifar10") / "test_batch"
    images, _ = content(5, 10)
    cases = {
        "is damaged, or is no pickle": path.read_bytes()[:1000],
        "holds no images of 3072 bytes": edit(path, data=images[:, :100]),
        "holds no images": edit(path, data=images.astype(np.float32)),
        "holds 19 images and 20 labels": edit(path, data=images[:19]),
        "holds the label 10, but there are 10 classes": edit(path, labels=[10] * ROWS),
        "holds no labels under 'labels'": edit(path, labels=[1.5] * ROWS),
        "holds no labels": edit(path, labels=[-1] * ROWS),
        "has .* bytes|holds no labels": edit(path, labels="nine"),
    }
    for message, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            open_cifar("cifar10", "test", None, Access(tmp_path))
    path.unlink()
    with pytest.raises(MissingError, match="the data 'cifar10' is not there"):
        open_cifar("cifar10", "test", None, Access(tmp_path))


def test_damaged_records_and_names(tmp_path: Path) -> None:
    folder = write_binary(tmp_path, "cifar10")
    names, path = folder / "batches.meta.txt", folder / "data_batch_3.bin"
    for text in ("cat\n" * 10, "cat\n", "\n".join([*TEN[:9], "a\x1b[31m"])):
        names.write_text(text)
        with pytest.raises(InputError, match=r"batches.meta.txt' does not hold the names of 10 classes"):
            open_cifar("cifar10", "train", None, Access(tmp_path))
    names.unlink()
    with pytest.raises(MissingError, match=r"the class names '.*batches.meta.txt' are missing"):
        open_cifar("cifar10", "train", None, Access(tmp_path))
    names.write_text("\n".join(TEN))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"has 61459 bytes, not a whole number of records of 3073"):
        open_cifar("cifar10", "train", None, Access(tmp_path))
    path.unlink()
    with pytest.raises(MissingError, match=r"data_batch_3.bin' cannot be read \(No such file or directory\)"):
        open_cifar("cifar10", "train", None, Access(tmp_path))
    assert len(open_cifar("cifar10", "test", None, Access(tmp_path))) == ROWS
