"""Files made to harm: nothing outside of them is read, and nothing that they do not hold is allocated."""

from __future__ import annotations

import io
import os
import pickle
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest

from xaicli.errors import InputError, RefusedError
from xaicli.files.store import open_store
from xaicli.files.writer import StoreWriter


class Payload:
    """Unpickling it makes a file of this name."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return Path.touch, (Path(self.name),)


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


def opaque(file):
    file["attribution"] = np.full(13, np.void(pickle.dumps(Payload("unused"))))


def odd_number(file):
    file.attrs["rows"] = np.uint64(13)


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
        (opaque, "a type that no store has"),
        (odd_number, "holds uint64, which no store has"),
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


def torch_file(value, zipped):
    import torch

    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def numpy_file(value):
    out = io.BytesIO()
    np.save(out, np.array([value], dtype=object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("ending", [".h5", ".safetensors"])
@pytest.mark.parametrize("kind", ["torch", "old torch", "numpy", *range(6)])
def test_code_in_a_pickle_never_runs(tmp_path, call, kind, ending):
    """Protocols 0 and 1 have no signature, and neither has a pickle inside another format."""
    ran, path = tmp_path / "ran", tmp_path / f"x{ending}"
    payload = Payload(str(ran))
    if kind == "numpy":
        data = numpy_file(payload)
    else:
        data = pickle.dumps(payload, kind) if isinstance(kind, int) else torch_file(payload, kind == "torch")
    path.write_bytes(data)
    path.with_suffix(".resume").write_bytes(data)
    signed = kind in ("torch", "old torch", 2, 3, 4, 5)
    for command in (("store", "verify", path), ("store", "info", path), ("explain", path, "-m", "edges")):
        said = call(*command)
        assert (said.code, said.out) == (77 if signed else 65, ""), said.err
    said = call("train", "--data", "digits", "-o", tmp_path / "x")
    assert said.code == 65 and "remove it, or add --force" in said.err
    assert not ran.exists()
    pickle.loads(pickle.dumps(payload))  # it does where nobody looks first
    assert ran.exists()


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (external, 77),
        (virtual, 77),
        (external_link, 77),
        (soft_link, 77),
        (huge_chunked, 65),
        (huge_contiguous, 65),
        (one_chunk_missing, 65),
        (huge_chunk, 65),
        (opaque, 65),
        (cycle, 65),
    ],
)
def test_store_verify_ends_with_the_code(path, secret, call, build, code):
    replaced(path, lambda file: build(file, secret) if code == 77 else build(file))
    said = call("store", "verify", path)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("xaicli: ") and said.err.count("\n") == 1
