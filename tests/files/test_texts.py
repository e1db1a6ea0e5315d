"""A text's claimed length is checked before HDF5 allocates it."""

from __future__ import annotations

import resource
import struct

import h5py
import numpy as np
import pytest

from xaicli.errors import InputError
from xaicli.files.store import open_store
from xaicli.files.texts import check_texts


def addresses(path):
    with h5py.File(path) as file:
        found = [h5py.h5o.get_info(file.id).addr]
        file.visititems(lambda _, item: found.append(h5py.h5o.get_info(item.id).addr))
    return found


@pytest.mark.parametrize("claimed", [1 << 31, (64 << 20) + 1])
def test_claim_of_gigabytes_is_refused_before_they_are_allocated(example, tmp_path, claimed):
    path = tmp_path / "a.h5"
    example.store(path).close()
    data = path.read_bytes()
    history = len('[{"options":{"epochs":3},"verb":"train"}]')
    place = data.index(b"history\0")
    place = data.index(struct.pack("<I", history), place)
    path.write_bytes(data[:place] + struct.pack("<I", claimed) + data[place + 4 :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"claims texts of [0-9,]+ bytes"):
        open_store(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_long_and_many_texts_of_our_own_are_fine(example, tmp_path):
    """More than the 64 kB that HDF5 keeps in an object's header, and more attributes than fit into its first block."""
    attributes = {f"more{number}": ["é" * 100] * 1000 for number in range(40)}
    example = example.with_layout(job={"options": "x" * 200_000}, attributes=attributes)
    with example.store(tmp_path / "a.h5") as store:
        assert store.job == {"options": "x" * 200_000}
        assert store.attributes == attributes


def test_lists_of_texts_are_added_up(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["list"] = ["x" * (1 << 20)] * 65
        file.attrs["numbers"] = np.arange(5)
        file.attrs["fixed"] = np.bytes_("abc")
    with pytest.raises(InputError, match="claims texts of 68,157,440 bytes"):
        check_texts(tmp_path / "a.h5", addresses(tmp_path / "a.h5"))


def test_each_object_is_looked_at(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("a/b").create_dataset("c", data=1).attrs["list"] = ["x" * (1 << 20)] * 65
    with pytest.raises(InputError, match="claims texts"):
        check_texts(tmp_path / "a.h5", addresses(tmp_path / "a.h5"))


@pytest.mark.parametrize("options", [{"libver": "latest"}, {"userblock_size": 512}])
def test_other_formats_of_hdf5_are_told(tmp_path, options):
    with h5py.File(tmp_path / "a.h5", "w", **options) as file:
        file.attrs["a"] = "b"
    with pytest.raises(InputError, match="an HDF5 format that xaicli does not write"):
        check_texts(tmp_path / "a.h5", addresses(tmp_path / "a.h5"))


@pytest.mark.parametrize("address", [0, 1 << 40])
def test_address_without_a_header_is_told(tmp_path, address):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["a"] = "b"
    with pytest.raises(InputError, match="damaged, or of an HDF5 format"):
        check_texts(tmp_path / "a.h5", [address])


def test_heap_that_does_not_add_up_is_refused(tmp_path):
    """HDF5 2.0 reads an object of index 0 and size 0 for ever: a hang that no exception ends."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["first"], file.attrs["second"] = "x" * 20, "y" * 20
    check_texts(path, addresses(path))
    found, data = addresses(path), path.read_bytes()
    place = data.index(b"x" * 20) - 16
    for index, length in ((0, 0), (0, 8), (1, 19 + 8), (1, 1 << 40), (1, (1 << 64) - 8)):
        changed = struct.pack("<HHIQ", index, 1, 0, length)
        path.write_bytes(data[:place] + changed + data[place + len(changed) :])
        with pytest.raises(InputError, match="damaged, or of an HDF5 format"):
            check_texts(path, found)
    path.write_bytes(data.replace(b"GCOL", b"GCOX"))
    with pytest.raises(InputError, match="damaged, or of an HDF5 format"):
        check_texts(path, found)
