"""Compressed stores hold the same numbers, and nothing inflates beyond its declared size."""

from __future__ import annotations

import zlib

import h5py
import numpy as np
import pytest

from xaicli.errors import InputError
from xaicli.files.compression import check_inflation, pack
from xaicli.files.store import open_store
from xaicli.files.writer import StoreWriter


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<f4", "<f8"])
def test_packed_as_hdf5_packs(tmp_path, dtype):
    """Chunks that h5py's own filters write are ours, byte by byte."""
    values = np.random.default_rng(0).integers(0, 200, (4, 6)).astype(dtype)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        shuffle = np.dtype(dtype).itemsize > 1
        file.create_dataset("a", data=values, chunks=(4, 6), compression="gzip", compression_opts=4, shuffle=shuffle)
        _, data = file["a"].id.read_direct_chunk((0, 0))
    # libraries of deflate may differ in their bytes, but never in what they inflate to
    assert zlib.decompress(data) == zlib.decompress(pack(values))


def test_compressed_store_has_the_same_rows(example, tmp_path):
    plain = example.store(tmp_path / "plain.h5")
    packed = example.with_layout(compress=True)
    with StoreWriter(tmp_path / "packed.h5", packed.layout, segment_bytes=1) as writer:
        packed.write(writer, range(4))
        store = writer.finish()
    store.verify()
    assert (store.job_id, store.columns) == (plain.job_id, plain.columns)
    for name in store.columns:
        assert np.array_equal(store[name], plain[name], equal_nan=plain[name].dtype.kind == "f")
    with h5py.File(tmp_path / "packed.h5") as file:
        assert file["attribution"].compression == "gzip"


def test_chunk_that_inflates_too_far_is_refused(tmp_path):
    for name, data in {"bomb": b"\0" * (50 << 20), "short": b"\0" * 10}.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            dataset = file.create_dataset("a", (8,), "u1", chunks=(8,), compression="gzip")
            dataset.id.write_direct_chunk((0,), zlib.compress(data))
        with h5py.File(tmp_path / f"{name}.h5") as file, pytest.raises(InputError, match="does not have its size"):
            check_inflation(file["a"], tmp_path / f"{name}.h5")


def test_bomb_in_a_store_is_found_before_it_is_read(example, tmp_path):
    path = tmp_path / "packed.h5"
    packed = example.with_layout(compress=True)
    packed.store(path).close()
    with h5py.File(path, "r+") as file:
        file["attribution"].id.write_direct_chunk((0, 0, 0, 0), zlib.compress(b"\0" * (64 << 20)))
    with open_store(path) as store:
        for read in (store.verify, lambda: store["attribution"], lambda: store.column("attribution")):
            with pytest.raises(InputError, match=r"does not have its size|damaged"):
                read()
