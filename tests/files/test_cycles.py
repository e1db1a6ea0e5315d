"""Lists and trees that lead back to themselves are told before HDF5 follows them: for ever, or until it crashes."""

from __future__ import annotations

import struct

import h5py
import pytest

from xaicli.errors import InputError
from xaicli.files.cycles import check_object, check_root
from xaicli.files.store import open_store


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("inner/most").attrs["a"] = "b"
    return tmp_path / "a.h5"


def heaps(data):
    """Address of each heap of names, of its list of free space, and the place in it that the list begins with."""
    found, place = [], data.find(b"HEAP")
    while place >= 0:
        first, start = struct.unpack_from("<QQ", data, place + 16)
        found.append((place, start, first))
        place = data.find(b"HEAP", place + 1)
    return found


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("following", ["itself", 1 << 40, 8])
def test_heap_of_names_that_does_not_add_up_is_refused(path, number, following):
    check_root(path)
    data = path.read_bytes()
    _, start, first = heaps(data)[number]
    place = start + first
    changed = struct.pack("<Q", first if following == "itself" else following)
    path.write_bytes(data[:place] + changed + data[place + 8 :])
    with pytest.raises(InputError, match="damaged"):
        open_store(path)


@pytest.mark.parametrize("address", [0, 1 << 40, (1 << 64) - 1])
def test_address_without_a_header_is_told(path, address):
    with pytest.raises(InputError, match="damaged, or of an HDF5 format"):
        check_object(path, address)


def test_other_formats_of_hdf5_are_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_group("a")
    with pytest.raises(InputError, match="an HDF5 format that xaicli does not write"):
        open_store(tmp_path / "a.h5")


@pytest.mark.parametrize("siblings", [False, True])
@pytest.mark.parametrize("level", [0, 1, 2, 255])
def test_tree_that_contains_itself_is_refused(example, tmp_path, level, siblings):
    """Measured with HDF5 2.0: such a tree of names ends the process by a full stack, or never."""
    path = tmp_path / "b.h5"
    example.store(path).close()
    data, trees = path.read_bytes(), 0
    place = data.find(b"TREE")
    while place >= 0:
        kind, _, children = struct.unpack_from("<BBH", data, place + 4)
        key = 8 if kind == 0 else 8 + 8 * data[data.index(struct.pack("<Q", place)) - 1]  # of the layout message
        damaged = bytearray(data)
        damaged[place + 5] = level
        for child in range(children):
            struct.pack_into("<Q", damaged, place + 24 + key + child * (key + 8), place)
        if siblings:
            struct.pack_into("<QQ", damaged, place + 8, place, place)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"), open_store(path) as store:
            store.verify()
        trees, place = trees + 1, data.find(b"TREE", place + 1)
    assert trees > 10
