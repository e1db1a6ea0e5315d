"""Pickles: plain data of every protocol is read, everything else is refused, and nothing runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import python2
from xaicli.data.inert import bytes_of, read_pickle
from xaicli.errors import InputError, RefusedError

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def batch() -> dict[bytes, Any]:
    return {b"data": PIXELS, b"labels": [3, 1, 300], b"filenames": [b"a.png", b"b" * 300], b"batch_label": b"1 of 5"}


def test_python_2s_own_writing_is_what_pickle_reads_too() -> None:
    read = pickle.loads(python2.dumps(batch()), encoding="bytes")
    np.testing.assert_array_equal(read.pop(b"data"), PIXELS)
    assert read == {name: value for name, value in batch().items() if name != b"data"}


@pytest.mark.parametrize("protocol", ["python 2", 2, 3, 4])
def test_plain_data_of_every_protocol(protocol: Any) -> None:
    data = python2.dumps(batch()) if protocol == "python 2" else pickle.dumps(batch(), protocol)
    read = read_pickle(data, "'x'")
    assert read["labels"] == [3, 1, 300]
    pixels = bytes_of(read["data"])
    assert pixels is not None and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, PIXELS)
    assert bytes_of(read["labels"]) is None


def test_text_of_protocol_0() -> None:
    read = read_pickle(b"(dp0\nS'names'\np1\n(lp2\nS'cat'\np3\naS'dog'\naI01\nag3\nasS'count'\nI7\ns.", "'x'")
    assert read == {"names": ["cat", "dog", True, "cat"], "count": 7}


def test_arrays_by_columns_and_of_other_kinds() -> None:
    turned = bytes_of(read_pickle(pickle.dumps({"a": np.asfortranarray(PIXELS)}, 2), "'x'")["a"])
    assert turned is not None
    np.testing.assert_array_equal(turned, PIXELS)
    assert bytes_of(read_pickle(pickle.dumps({"a": PIXELS.astype(np.int64)}, 2), "'x'")["a"]) is None


class Runs:
    """What an attacker pickles: a call of anything."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    data = pickle.dumps({"data": Runs(os.system, f"touch {victim}")}, protocol)
    with pytest.raises(RefusedError, match=r"'batch' is a pickle that asks for '(posix|nt)\.system'.* not executed"):
        read_pickle(data, "'batch'")
    assert not victim.exists()
    pickle.loads(data)
    assert victim.exists()  # so the pickle was a dangerous one


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"(S'touch x'\niposix\nsystem\n.", r"the instruction INST of 'posix\.system'"),
        (b"c__builtin__\neval\n(S'1'\ntR.", r"'__builtin__\.eval'"),
        (b"cnumpy\nload\n.", r"'numpy\.load'"),
        (b"cxaicli.data.inert\nread_pickle\n.", r"'xaicli\.data\.inert\.read_pickle'"),
        (pickle.dumps(OrderedDict(a=1), 2), r"'collections\.OrderedDict'"),
        (b"\x80\x02P1\n.", "the instruction PERSID"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "the instruction NEWOBJ"),
    ],
)
def test_other_names_and_instructions_are_refused(data: bytes, wanted: str) -> None:
    with pytest.raises(RefusedError, match=f"asks for {wanted}"):
        read_pickle(data, "'x'")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        b"\x80\x02].",  # a list
        b"\x80\x02}",  # no end
        b"\x80\x02}q\x00h\x05s.",  # what was never stored
        b"\x80\x02}t.",  # no mark
        b"\x80\x02}]K\x01s.",  # a list for a key
        b"\x80\x02}(K\x01u.",  # half a pair
        b"\x80\x02K\x01K\x02R.",  # a call of a number
        b"\x80\x02K\x01K\x02b.",
        b"\x80\x02T\xff\xff\xff\x7fabc.",  # two gigabytes that are not there
        python2.dumps({b"data": PIXELS})[:-10],
    ],
)
def test_damaged_pickles(data: bytes) -> None:
    with pytest.raises(InputError, match="'x' is damaged, or is no pickle of a dict"):
        read_pickle(data, "'x'")


def test_one_text_cannot_become_bytes_without_end() -> None:
    text = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000 + b"q\x00"
    again = b"c_codecs\nencode\nq\x01h\x00X\x06\x00\x00\x00latin1q\x02\x86R"
    often = b"h\x01h\x00h\x02\x86R"
    assert read_pickle(b"\x80\x02" + text + again + b"}.", "'x'") == {}
    with pytest.raises(InputError):
        read_pickle(b"\x80\x02" + text + again + often * 1000 + b"}.", "'x'")


@pytest.mark.parametrize("seed", range(4))
def test_bytes_at_random_end_in_an_error_or_a_dict(seed: int) -> None:
    random = np.random.default_rng(seed)
    whole = python2.dumps({b"data": PIXELS, b"labels": [1, 2, 3]})
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            data[place] = random.integers(0, 256)
        try:
            read = read_pickle(bytes(data), "'x'")
        except (InputError, RefusedError):
            continue
        bytes_of(read.get("data"))
