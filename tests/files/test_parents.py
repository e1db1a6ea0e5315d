"""Parents are found by id: among the sources, where records point, in --parent, beside the child, in this folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from xaicli.errors import MissingError
from xaicli.files.artifact import Artifact, identify
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources


@pytest.fixture
def child(files: Any, tmp_path: Path) -> Artifact:
    """An images store alone in a folder."""
    folder = tmp_path / "child"
    folder.mkdir()
    shutil.copy(files.images, folder / "images.h5")
    return identify(folder / "images.h5")


@pytest.fixture
def places(files: Any, child: Artifact, here: Path) -> dict[str, Path]:
    """The parent checkpoint, once in every place that is searched, in the order of the search."""
    found = {
        "source": here / "given" / "a.safetensors",
        "hint": here / "records" / "a.safetensors",
        "file": here / "anywhere" / "renamed.bin",
        "folder": here / "parents" / "a.safetensors",
        "beside": child.path.parent / "a.safetensors",
        "current": here / "a.safetensors",
    }
    for path in found.values():
        path.parent.mkdir(exist_ok=True)
        shutil.copy(files.checkpoint, path)
    return found


ORDER = ["source", "hint", "file", "folder", "beside", "current"]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_order_of_the_search(first: int, files: Any, child: Artifact, places: dict[str, Path]) -> None:
    """With the first places empty, the next one is where the parent is found."""
    id = str(files.records["checkpoint"]["id"])
    sources = Sources([identify(places["source"])] if first == 0 else [], {id: places["hint"]})
    for name in ORDER[:first]:
        places[name].unlink()
    extra = [path for path in (places["file"], places["folder"].parent) if path.exists()]
    found = Parents(sources, extra).find("checkpoint", id, child)
    assert found.path.resolve() == places[ORDER[first]]
    assert found.id == id


def test_not_found_is_66_and_names_the_id(files: Any, child: Artifact, here: Path) -> None:
    id = str(files.records["checkpoint"]["id"])
    shutil.copy(files.maps, here / "other.h5")
    with pytest.raises(MissingError) as caught:
        Parents(Sources(), []).find("checkpoint", id, child)
    assert str(caught.value) == (
        f"the checkpoint {id[:12]} that 'images.h5' was made from was not found; name it with --parent PATH."
    )


def test_another_file_under_the_recorded_path_is_not_taken(files: Any, child: Artifact, here: Path) -> None:
    id = str(files.records["checkpoint"]["id"])
    hints = {id: files.images}
    shutil.copy(files.checkpoint, here / "right.safetensors")
    assert Parents(Sources([], hints), []).find("checkpoint", id, child).path.name == "right.safetensors"


def test_a_damaged_neighbour_is_passed_over(files: Any, child: Artifact, here: Path) -> None:
    (here / "a.safetensors").write_bytes(files.checkpoint.read_bytes()[:-1])
    (here / "b.safetensors").write_bytes(b"")
    (here / "c.safetensors").mkdir()
    (here / "d.safetensors").symlink_to("nowhere")
    shutil.copy(files.checkpoint, here / "z.safetensors")
    found = Parents(Sources(), []).find("checkpoint", files.records["checkpoint"]["id"], child)
    assert found.path.name == "z.safetensors"


def test_a_parent_that_does_not_exist_is_66(here: Path) -> None:
    with pytest.raises(MissingError, match=r"^--parent 'nowhere' does not exist; check the path.$"):
        Parents(Sources(), [Path("nowhere")])


def test_where_a_record_said_that_data_lies() -> None:
    parents = Parents(Sources([], {"ab": Path("/x")}), [])
    assert (parents.data_path("ab"), parents.data_path("cd")) == (Path("/x"), None)
