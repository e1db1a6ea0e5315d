"""Files made to harm: nothing outside of them is read, and nothing that they do not hold is allocated."""

from __future__ import annotations

import os
import resource

import h5py
import numpy as np
import pytest

from xaicli.errors import InputError, RefusedError
from xaicli.files.store import open_store
from xaicli.files.writer import StoreWriter


@pytest.fixture
def path(example, tmp_path):
    example.store(tmp_path / "a.h5").close()
    return tmp_path / "a.h5"


@pytest.fixture
def secret(tmp_path):
    """A readable file whose access time tells whether anybody read it."""
    target = tmp_path / "secret.h5"
    with h5py.File(target, "w") as file:
        file["attribution"] = np.zeros((13, 1, 4, 4), "f4")
    os.utime(target, (1, 1))
    return target


def replaced(path, build, name="attribution"):
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        build(file)


def external(file, secret):
    file.create_dataset("attribution", (13, 1, 4, 4), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((13, 1, 4, 4), "f4")
    layout[:] = h5py.VirtualSource(secret, "attribution", (13, 1, 4, 4))
    file.create_virtual_dataset("attribution", layout)


def external_link(file, secret):
    file["attribution"] = h5py.ExternalLink(str(secret), "/attribution")


def soft_link(file, secret):
    file["attribution"] = h5py.SoftLink("/prediction")


def linked_group(file, secret):
    file["sources/0/deletion"] = h5py.ExternalLink(str(secret), "/attribution")


@pytest.mark.parametrize("build", [external, virtual, external_link, soft_link, linked_group])
def test_what_leads_outside_is_refused_unread(path, secret, build):
    """The access time is that of before; and with the other file gone nothing changes."""
    replaced(path, lambda file: build(file, secret))
    os.utime(secret, (1, 1))
    with pytest.raises(RefusedError, match=r"of '.*a\.h5'.*do not trust the file\.$") as first:
        open_store(path)
    assert secret.stat().st_atime == 1
    secret.unlink()
    with pytest.raises(RefusedError) as second:
        open_store(path)
    assert str(first.value) == str(second.value)


def test_segment_that_leads_outside_is_refused_too(example, tmp_path, secret):
    with StoreWriter(tmp_path / "s.h5", example.layout) as writer:
        example.write(writer, range(4))
    replaced(next((tmp_path / "s.h5.parts").iterdir()), lambda file: external(file, secret))
    with pytest.raises(RefusedError, match="external storage"):
        StoreWriter(tmp_path / "s.h5", example.layout)


def huge_chunked(file):
    file.create_dataset("attribution", (10**9, 3, 224, 224), "f4", chunks=(1, 3, 224, 224))


def huge_contiguous(file):
    file.create_dataset("attribution", (10**12, 3, 224, 224), "f4")


def one_chunk_missing(file):
    dataset = file.create_dataset("attribution", (13, 1, 4, 4), "f4", chunks=(4, 1, 4, 4))
    dataset[:12] = 1


def huge_summary(file):
    file.create_dataset("curves/more", (10**12,), "f8")


def huge_chunk(file):
    dataset = file.create_dataset("attribution", (13, 1, 1000, 400), "f4", chunks=(13, 1, 1000, 400))
    dataset[:] = 1


def odd_filter(file):
    file.create_dataset("attribution", data=np.zeros((13, 1, 4, 4), "f4"), chunks=(13, 1, 4, 4), compression="lzf")


def strings(file):
    file.create_dataset("attribution", data=["a"] * 13, dtype=h5py.string_dtype())


def references(file):
    file.create_dataset("attribution", data=[file.ref] * 13, dtype=h5py.ref_dtype)


def compound(file):
    file.create_dataset("attribution", data=np.zeros(13, [("a", "f4")]))


def empty(file):
    file.create_dataset("attribution", data=h5py.Empty("f4"))


def named_type(file):
    file["attribution"] = np.dtype("f4")


def cycle(file):
    group = file.create_group("sources")
    group["0"] = group


def twice(file):
    file["attribution"] = file["completeness"]


def deep(file):
    file["/".join("abcdefghijklmnopqrstuvwxyz")] = 1


def odd_attribute(file):
    file.attrs["more"] = file.ref


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (huge_chunked, "declares more than the file holds"),
        (huge_contiguous, "declares more than the file holds"),
        (huge_summary, "declares more than the file holds"),
        (one_chunk_missing, "declares more than the file holds"),
        (empty, "declares more than the file holds"),
        (huge_chunk, r"chunks of more than 16,777,216 bytes"),
        (odd_filter, "filter other than gzip and shuffle"),
        (strings, "a type that no store has"),
        (references, "a type that no store has"),
        (compound, "a type that no store has"),
        (named_type, "neither a group nor a dataset"),
        (cycle, "linked twice"),
        (twice, "linked twice"),
        (deep, "groups deep"),
        (odd_attribute, "like none that a store has"),
    ],
)
def test_what_no_store_is_like_is_an_input_error(path, build, reason):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    replaced(path, build)
    with pytest.raises(InputError, match=reason):
        open_store(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def test_compressed_summary_is_not_unpacked(path):
    def build(file):
        file.create_dataset("curves/more", data=np.zeros(10**7), compression="gzip", chunks=(10**6,))

    replaced(path, build)
    with pytest.raises(InputError, match="too large for a summary, or compressed"):
        open_store(path)


def test_unreadable_names_are_damage(path):
    with h5py.File(path, "r+") as file:
        file.create_group(b"\xff\xfe")
    with pytest.raises(InputError, match="damaged"):
        open_store(path)


def test_self_made_header_does_not_hide_a_wrong_schema(example, path):
    """Somebody who recomputes the digests can still not hand over columns of other types or lengths."""
    from xaicli.files.header import header_digest
    from xaicli.files.hostile import inspect

    def sealed(name, values):
        with h5py.File(path, "r+") as file:
            del file[name]
            if values is not None:
                file[name] = values
            file.attrs["header"] = header_digest(inspect(file, path))

    sealed("label", np.zeros(13, "f4"))
    with pytest.raises(InputError, match="lacks the column 'label'"):
        open_store(path)
    sealed("label", np.zeros(12, "u2"))
    with pytest.raises(InputError, match="does not have the store's 13 rows"):
        open_store(path)
    sealed("label", np.zeros(13, "u2"))
    open_store(path).close()
    sealed("attribution", None)
    with pytest.raises(InputError, match="its signal"):
        open_store(path)
