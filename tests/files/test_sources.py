"""SOURCE: by path, by records on standard input, or whole through a pipe."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from xaicli.errors import InputError, MissingError, RefusedError, UsageError
from xaicli.files.sources import Sources, gather


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


class Folder(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise IsADirectoryError(21, "Is a directory")


def read(text: bytes | str) -> Sources:
    return gather(["-"], io.BytesIO(text.encode() if isinstance(text, str) else text))


def line(files: Any, kind: str = "checkpoint", **changes: Any) -> str:
    return json.dumps({**files.records[kind], **changes})


def test_paths_in_the_order_given_and_each_artifact_once(files: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    shutil.copy(files.checkpoint, copy)
    sources = gather([str(files.images), str(files.checkpoint), str(copy)])
    assert [artifact.path for artifact in sources.artifacts] == [files.images, files.checkpoint]
    assert [artifact.kind for artifact in sources.of_kind("checkpoint", "images")] == ["images", "checkpoint"]
    assert sources.of_kind("scores") == []
    assert sources.artifacts[0].id == files.records["images"]["id"]


def test_cases_are_pairs_of_checkpoints_and_images(files: Any) -> None:
    assert Sources().cases == 1
    (checkpoint,) = gather([str(files.checkpoint)]).artifacts
    (images,) = gather([str(files.images)]).artifacts
    assert Sources([checkpoint, checkpoint, images, images, images]).cases == 6


def test_records_name_artifacts_and_where_parents_lie(files: Any) -> None:
    sources = read(line(files, "images") + "\n\n" + line(files, "attributions") + "\n")
    assert [artifact.kind for artifact in sources.artifacts] == ["images", "attributions"]
    assert sources.hints == {
        files.records[kind]["id"]: path
        for kind, path in (
            ("checkpoint", files.checkpoint),
            ("images", files.images),
            ("attributions", files.maps),
        )
    }


def test_records_of_other_kinds_are_ignored_but_for_their_hints(files: Any) -> None:
    metric = {"xaicli": 1, "kind": "metric", "parents": {"data": {"name": "folder:x", "digest": "ab", "path": "/x"}}}
    future = {"xaicli": 2, "kind": ["new"], "path": 5, "parents": [1]}
    report = {"xaicli": 1, "kind": "report", "path": "gone.html", "id": "1"}
    text = "\n".join([*map(json.dumps, (metric, future, report)), line(files)])
    sources = read(text)
    assert [artifact.path for artifact in sources.artifacts] == [files.checkpoint]
    assert sources.hints["ab"] == Path("/x")


def test_several_parents_of_one_role_are_hints_too(files: Any) -> None:
    parents = {"images": [{"id": "1", "path": "a.h5"}, {"id": "2", "path": "b.h5"}, {"id": "3"}, "4"], "x": None}
    hints = read(line(files, parents=parents)).hints
    assert (hints["1"], hints["2"]) == (Path("a.h5"), Path("b.h5"))
    assert "3" not in hints


@pytest.mark.parametrize("kind", ["checkpoint", "images"])
def test_a_whole_artifact_through_the_pipe(files: Any, kind: str) -> None:
    path = {"checkpoint": files.checkpoint, "images": files.images}[kind]
    (artifact,) = read(path.read_bytes()).artifacts
    assert (artifact.kind, artifact.id) == (kind, files.records[kind]["id"])
    assert artifact.path.read_bytes() == path.read_bytes()
    assert artifact.stem == "stdin"


def test_a_checkpoint_whose_header_length_looks_like_text_is_still_one(files: Any) -> None:
    """The first byte of its header's length is a brace when that is 123 modulo 256."""
    content = files.checkpoint.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padding = (123 - length) % 256
    padded = (length + padding).to_bytes(8, "little") + content[8 : 8 + length] + b" " * padding + content[8 + length :]
    assert padded.startswith(b"{")
    assert read(padded).artifacts[0].kind == "checkpoint"


@pytest.mark.parametrize("text", [b"", b" \n\n", b"\n" * 30])
def test_empty_input_is_66(text: bytes) -> None:
    with pytest.raises(MissingError, match=r"^standard input is empty; did the command before this one fail\?$"):
        read(text)


def test_input_without_an_artifact_is_66() -> None:
    with pytest.raises(MissingError, match=r"^standard input holds no record of an artifact"):
        read('{"xaicli":1,"kind":"metric"}\n')


def test_a_terminal_and_two_dashes_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="standard input is a terminal; name a file instead"):
        gather(["-"], Terminal())
    with pytest.raises(UsageError, match="can be given once"):
        gather(["-", "-"], io.BytesIO())


def test_standard_input_that_cannot_be_read_is_66() -> None:
    with pytest.raises(MissingError, match=r"^standard input cannot be read: Is a directory"):
        gather(["-"], Folder())


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "hello\nworld",
        "[1]",
        '{"kind":"checkpoint"}',
        '{"xaicli":1}',
        "{" * 100_000,
        "[" * 100_000,
        "1" * 10_000,
        b"\xff\xff",
    ],
)
def test_text_that_is_no_record_is_65_and_its_line_is_named(text: str | bytes, files: Any) -> None:
    whole = line(files).encode() + b"\n" + (text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=r"^line 2 of standard input is not an xaicli record"):
        read(whole)


@pytest.mark.parametrize("changes", [{"path": None}, {"path": ""}, {"path": 5}, {"id": None}, {"id": 7}])
def test_an_artifact_record_without_path_or_id_is_65(changes: dict[str, Any], files: Any) -> None:
    with pytest.raises(InputError, match=r"^line 1 of standard input is a record without path and id"):
        read(line(files, **changes))


def test_a_file_that_changed_since_its_record_is_65(files: Any) -> None:
    with pytest.raises(InputError, match="changed since its record was written: the record says 0123"):
        read(line(files, id="0123"))


@pytest.mark.parametrize("path", ["gone.h5", "a\0b", "x" * 5000])
def test_a_record_whose_file_is_gone_is_66(path: str, files: Any) -> None:
    with pytest.raises(MissingError):
        read(line(files, path=path))


def test_pickles_are_refused_whole_or_named(tmp_path: Path) -> None:
    content = pickle.dumps({"a": 1})
    with pytest.raises(RefusedError, match="is a pickle"):
        read(content)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(RefusedError, match="is a pickle"):
        gather([str(tmp_path / "w.pt")])


def test_what_is_no_regular_file_is_65(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        gather([str(tmp_path / "pipe")])
    with pytest.raises(InputError, match="is a folder; name the file inside it"):
        gather([str(tmp_path)])
