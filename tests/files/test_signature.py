from __future__ import annotations

import errno
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from xaicli.errors import MissingError
from xaicli.files.signature import signature


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    return buffer.getvalue()


def safetensors():
    header = json.dumps({"__metadata__": {"a": "b"}}).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "store"),
        (b"\x89HDF\r\n\x1a\r" + bytes(90), None),
        (safetensors(), "checkpoint"),
        (safetensors()[:-1], None),
        ((1 << 40).to_bytes(8, "little") + b"{" + bytes(90), None),
        (zipped(), "pickle"),
        *((pickle.dumps([1, 2], protocol=protocol), "pickle") for protocol in range(2, 6)),
        (b"\x80", None),
        (b"", None),
        (b'{"xaicli":1}\n', None),
    ],
)
def test_first_bytes_tell(tmp_path, data, kind):
    (tmp_path / "file.h5").write_bytes(data)
    assert signature(tmp_path / "file.h5") == kind


def test_missing_file_and_folder_are_missing(tmp_path):
    with pytest.raises(MissingError, match=r"a\.h5' does not exist"):
        signature(tmp_path / "a.h5")
    with pytest.raises(MissingError, match="is a folder"):
        signature(tmp_path)


def test_unreadable_file_is_missing(tmp_path, monkeypatch):
    def deny(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "a.h5").write_bytes(b"")
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(MissingError, match=r"cannot be read \(Permission denied\)"):
        signature(tmp_path / "a.h5")
