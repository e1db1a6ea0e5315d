"""What all data sets share: digests of samples, floats, guarded arrays."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from xaicli.data.dataset import sample_digest, to_float
from xaicli.data.digits import open_digits


def test_sample_digest_is_sha256_of_dtype_shape_and_bytes() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert sample_digest(pixels) == hashlib.sha256(b"|u1[3,2,2]" + bytes(range(12))).digest()[:16]


def test_sample_digest_ignores_memory_layout_but_not_dtype_or_shape() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert sample_digest(np.asfortranarray(pixels)) == sample_digest(pixels)
    assert sample_digest(pixels.reshape(2, 3, 2)) != sample_digest(pixels)
    floats = np.linspace(0, 1, 4, dtype=np.float32).reshape(1, 2, 2)
    assert sample_digest(floats.astype(">f4")) == sample_digest(floats)
    assert sample_digest(floats) == hashlib.sha256(b"<f4[1,2,2]" + floats.tobytes()).digest()[:16]


def test_to_float_maps_bytes_to_unit_range_and_leaves_floats_alone() -> None:
    np.testing.assert_array_equal(to_float(np.array([0, 51, 255], dtype=np.uint8)), np.array([0, 0.2, 1], np.float32))
    floats = np.array([0.25, 0.5], dtype=np.float32)
    assert to_float(floats) is floats


def test_nobody_can_write_into_a_data_set() -> None:
    dataset = open_digits("test")
    for array in (dataset.labels, dataset.index):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
