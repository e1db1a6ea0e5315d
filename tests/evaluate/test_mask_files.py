"""Masks that the user brings along, in every form they may come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from xaicli.errors import InputError, MissingError, RefusedError
from xaicli.evaluate.mask_files import open_masks

MASKS = np.random.default_rng(0).random((300, 4, 5)) < 0.3


def _hdf5(path: Path, **arrays: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


FORMS: dict[str, Callable[[Path], None]] = {
    "bool.npy": lambda path: np.save(path, MASKS),
    "bytes.npy": lambda path: np.save(path, MASKS * np.uint8(255)),
    "only.npz": lambda path: np.savez(path, whatever=MASKS.astype(np.int64)),
    "named.npz": lambda path: np.savez_compressed(path, masks=MASKS, index=np.arange(300)),
    "only.h5": lambda path: _hdf5(path, m=MASKS.astype(np.uint8)),
    "named.h5": lambda path: _hdf5(path, masks=MASKS.astype(np.uint8), other=np.arange(3)),
}


@pytest.mark.parametrize("name", FORMS)
def test_rows_are_found_by_their_number_and_the_digest_is_the_masks_own(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", MASKS)
    FORMS[name](tmp_path / name)
    found = open_masks(tmp_path / name, 4, 5)
    index = np.array([299, 3, 3, 0])
    assert found.read(index).dtype == np.bool_ and np.array_equal(found.read(index), MASKS[index])
    assert found.digest == open_masks(tmp_path / "plain.npy", 4, 5).digest
    with pytest.raises(InputError, match="row 300 is judged"):
        found.read(np.array([2, 300]))


def test_other_masks_have_another_digest(tmp_path: Path) -> None:
    other = MASKS.copy()
    other[-1, 2, 2] ^= True
    np.save(tmp_path / "a.npy", MASKS)
    np.save(tmp_path / "b.npy", other)
    assert open_masks(tmp_path / "a.npy", 4, 5).digest != open_masks(tmp_path / "b.npy", 4, 5).digest


def test_what_is_no_mask_is_refused_in_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", MASKS.repeat(2, 1))
    np.save(tmp_path / "floats.npy", MASKS.astype(np.float32))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=MASKS, b=MASKS)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and nothing else")
    (tmp_path / "broken.h5").write_bytes(b"nothing")
    (tmp_path / "masks.png").write_bytes(b"")
    for name in ("large.npy", "floats.npy", "objects.npy", "two.npz", "broken.npz", "broken.h5", "masks.png"):
        with pytest.raises(InputError, match=name):
            open_masks(tmp_path / name, 4, 5)
    with pytest.raises(MissingError, match=r"none\.npy"):
        open_masks(tmp_path / "none.npy", 4, 5)
    np.savez_compressed(tmp_path / "bomb.npz", masks=np.zeros((100_000, 40, 50), np.uint8))
    with pytest.raises(RefusedError, match=r"bomb\.npz"):
        open_masks(tmp_path / "bomb.npz", 40, 50)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["masks"] = h5py.ExternalLink("elsewhere.h5", "masks")
    with pytest.raises(RefusedError, match=r"linked\.h5"):
        open_masks(tmp_path / "linked.h5", 4, 5)
