"""Data by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from xaicli.data.access import Access
from xaicli.data.open import open_data
from xaicli.data.sources import list_sources
from xaicli.errors import InputError, MissingError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(10):
        path = tmp_path / "roots" / "pets" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), (number, 0, 0)).save(path)
    return tmp_path / "roots" / "pets"


def test_the_split_is_the_argument_else_the_suffix_else_test() -> None:
    assert [open_data(spec).split for spec in ("digits", "digits:val", "shapes:train")] == ["test", "val", "train"]
    assert open_data("digits:train", split="val").split == "val"


def test_folders_are_found_from_here_and_below_the_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_data(f"folder:{folder}:train").name == "folder:pets"
    assert len(open_data(f"folder:{folder}:train")) == 8
    assert open_data("folder:pets", access=Access(folder.parent)).path == folder
    monkeypatch.chdir(folder)
    assert open_data("folder:.").name == "folder:pets"
    with pytest.raises(MissingError, match="the folder 'nowhere' does not exist"):
        open_data("folder:nowhere:val", access=Access(folder.parent))


def test_the_shape_asked_for_is_the_shape_given(folder: Path) -> None:
    for spec in (f"folder:{folder}", "shapes"):
        dataset = open_data(spec, shape=(3, 24, 16))
        assert dataset.shape == (3, 24, 16) == dataset.read([0]).pixels.shape[1:]
    with pytest.raises(InputError, match="channel"):
        open_data("digits", shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", r"there is no data 'digit'\. Did you mean 'digits'\?"),
        ("digits:tset", r"there is no split 'tset'; .* Did you mean 'test'\?"),
        ("folder:", r"there is no data 'folder:'"),
        ("", r"there is no data ''"),
    ],
)
def test_names_that_do_not_exist(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_data(spec)


def test_the_readme_lists_the_sources() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    table = readme.split("| `--data` | what |\n|---|---|\n")[1].split("| `FILE.h5` |")[0]
    assert table == "".join(f"| `{name}` | {line} |\n" for name, line in list_sources())


def test_sources_are_listed_with_one_line_each() -> None:
    names = [name for name, _ in list_sources()]
    assert names == [
        *("digits", "shapes", "noise", "mnist", "fashion-mnist", "cifar10", "cifar100", "flowers102", "imagenet"),
        "folder:PATH",
    ]
    assert all(line and "\n" not in line for _, line in list_sources())
