from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xaicli.files.digest import content_hex, content_sum, row_digests


def test_digest_of_a_row_is_blake2b_of_names_types_shapes_and_bytes():
    """The bytes of SPEC 5, written out by hand for a row with a small and a large column."""
    large = np.arange(2 * 2000, dtype="<f4").reshape(2, 2, 1000)
    rows = {
        "label": np.array([7, 258], "<u2"),
        "attribution": large,
        "key": np.array([b"ab", b"c"], "|S3"),
        "digest": np.zeros((2, 16), "u1"),
    }
    expected = hashlib.blake2b(digest_size=16)
    expected.update(b'["attribution","<f4",[2,1000]]' + large[1].tobytes())
    expected.update(b'["key","|S3",[]]' + b"c\0\0")
    expected.update(b'["label","<u2",[]]' + b"\x02\x01")
    assert row_digests(rows)[1].tobytes() == expected.digest()


def test_digest_of_a_row_does_not_depend_on_its_neighbours_or_on_the_order_of_columns():
    rows = {"b": np.arange(6.0).reshape(3, 2), "a": np.array([1, 2, 3], "<i8")}
    alone = {"a": rows["a"][2:], "b": rows["b"][2:]}
    assert row_digests(alone)[0].tolist() == row_digests(rows)[2].tolist()


def test_rows_that_a_concatenation_would_confuse_differ():
    first = {"a": np.array([[1, 2]], "u1"), "b": np.array([[3]], "u1")}
    second = {"a": np.array([[1]], "u1"), "b": np.array([[2, 3]], "u1")}
    assert row_digests(first).tolist() != row_digests(second).tolist()
    assert row_digests({"a": np.array([0.0])}).tolist() != row_digests({"a": np.array([-0.0])}).tolist()


def test_content_is_the_sum_modulo_2_to_the_128():
    digests = np.array([[255] * 16, [0] * 15 + [3]], "u1")
    assert content_sum(digests) == 2
    assert content_hex(content_sum(digests)) == "0" * 31 + "2"


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=8), st.randoms())
def test_content_depends_on_no_order_and_adds_up(digests, random):
    array = np.array([list(digest) for digest in digests], "u1")
    shuffled = array[random.sample(range(len(digests)), len(digests))]
    cut = random.randrange(len(digests) + 1)
    assert content_sum(array) == content_sum(shuffled)
    assert content_hex(content_sum(array[:cut]) + content_sum(array[cut:])) == content_hex(content_sum(array))
