"""`flowers102`: photographs, and the .mat files that say what they are and whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from xaicli.data.access import Access
from xaicli.data.flowers102 import CLASSES, open_flowers102
from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError

LABELS = [77, 77, 1, 1, 102, 102, 1, 1, 77, 102, 1, 1, 1, 1, 1, 1]
"""Of images 1 to 16, counted from 1 as the authors do."""

SETS = {"trnid": [9, 2, 5, 3, 12, 14], "valid": [4, 7, 11, 13, 15, 16], "tstid": [10, 1, 8, 6]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sixteen photographs whose grey is ten times their number, wider than high."""
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 17):
        image = Image.new("RGB", (30, 20), (number * 10,) * 3)
        image.save(folder / "jpg" / f"image_{number:05d}.jpg", quality=95)
    write(folder)
    return tmp_path


def write(folder: Path, labels: Any = LABELS, **sets: Any) -> None:
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)}, do_compression=True)
    both = {name: np.array([numbers], dtype=np.uint16) for name, numbers in {**SETS, **sets}.items()}
    savemat(folder / "setid.mat", both, do_compression=True)


def test_the_sets_are_the_splits_in_the_authors_order(root: Path) -> None:
    train, test = (open_data(f"flowers102:{split}", access=Access(root)) for split in ("train", "test"))
    assert [test.key(i) for i in range(4)] == [f"jpg/image_{number:05d}.jpg" for number in SETS["tstid"]]
    assert [train.key(i)[-6:-4] for i in range(12)] == [f"{n:02d}" for n in SETS["trnid"] + SETS["valid"]]
    assert test.labels.tolist() == [101, 76, 0, 101]
    assert [test.classes[label] for label in test.labels[:3]] == ["blackberry lily", "passion flower", "pink primrose"]
    assert test.read([2, 0]).pixels[:, :, 100, 100].tolist() == [[80] * 3, [100] * 3]
    assert (test.shape, test.name, test.path) == ((3, 224, 224), "flowers102", root / "flowers-102")
    assert len(CLASSES) == len(set(CLASSES)) == 102


def test_val_is_a_tenth_of_train_as_everywhere(root: Path) -> None:
    train, fit, val = (open_flowers102(split, (3, 16, 16), Access(root)) for split in ("train", "fit", "val"))
    assert sorted([*fit.index, *val.index]) == list(range(12))
    assert len(val) == 2
    assert val.key(0) == train.key(int(val.index[0]))
    assert fit.digest == val.digest == train.digest != open_flowers102("test", None, Access(root)).digest


def test_a_damaged_photograph_is_a_marked_row_and_a_missing_one_an_error(root: Path) -> None:
    path = root / "flowers-102" / "jpg" / "image_00001.jpg"
    before = open_flowers102("test", (1, 16, 16), Access(root))
    path.write_bytes(path.read_bytes()[:200])
    after = open_flowers102("test", (1, 16, 16), Access(root))
    assert after.read(range(4)).readable.tolist() == [True, False, True, True]
    assert after.digest != before.digest
    path.unlink()
    with pytest.raises(MissingError, match=r"image_00001.jpg' is missing; unpack 102flowers.tgz"):
        open_flowers102("test", None, Access(root))


def test_numbers_that_do_not_fit(root: Path) -> None:
    folder = root / "flowers-102"
    for labels, sets in ((LABELS, {"tstid": [17]}), (LABELS, {"tstid": [0]}), ([*LABELS[:-1], 103], {}), ([0], {})):
        write(folder, labels, **sets)
        with pytest.raises(InputError, match="do not fit together"):
            open_flowers102("test", None, Access(root))


def test_damaged_and_hostile_mat_files(root: Path) -> None:
    path = root / "flowers-102" / "setid.mat"
    whole = path.read_bytes()
    cases = [b"", b"no mat file", whole[:150], whole[:-20], bytes(1 << 19)]
    for content in (
        {"other": np.ones((1, 3))},
        {"tstid": np.array([[1.5, 2.5]])},
        {"tstid": np.array([[1.0, np.nan]])},
        {"tstid": np.zeros((1, 1 << 17), dtype=np.uint8)},
        {"tstid": np.array([["a", "b"]], dtype=object)},
        {"tstid": {"field": 1}},
        {"tstid": np.zeros((1, 0))},
    ):
        savemat(path, content, do_compression=True)
        cases.append(path.read_bytes())
    for data in cases:
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"setid.mat' (is damaged or holds no 'tstid'|has more than)"):
            open_flowers102("test", None, Access(root))


def test_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        MissingError, match=r"the data 'flowers102' is not there; looked for .*/flowers-102'.*--download"
    ):
        open_flowers102("test", None, Access(tmp_path))
