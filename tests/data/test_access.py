"""Where data sets are looked for, downloads through torchvision, and threads that change nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from tests.data.test_cifar import write_python
from tests.data.test_mnist import write
from xaicli.data import access
from xaicli.data.access import Access, read_whole
from xaicli.data.open import open_data
from xaicli.errors import InputError, MissingError, UnavailableError, UsageError
from xaicli.run.settings import Settings


def test_the_users_root_comes_first_then_here_then_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [tmp_path / name for name in ("root", "here", "system")]
    for place in places:
        write(place / "mnist")
    monkeypatch.chdir(places[1])
    monkeypatch.setattr(access, "SYSTEM", places[2])
    for place in places:
        assert open_data("mnist", access=Access(places[0])).path == place / "mnist"
        for path in (place / "mnist").iterdir():
            path.unlink()
    with pytest.raises(MissingError) as error:
        open_data("mnist", access=Access(places[0]))
    said = str(error.value)
    assert [said.index(f"'{place}/mnist'") for place in (places[0], places[2])] and "'mnist'" in said
    assert said.endswith("; say with --data-root where data sets lie, and with --download that it may be fetched.")


def test_settings_say_how_data_is_reached(tmp_path: Path) -> None:
    settings = Settings(data_root=tmp_path, download=True, num_workers=7)
    assert settings.access == Access(tmp_path, True, 7)
    assert (Access(workers=7).threads, Access(workers=1).threads) == (7, 1)
    assert 1 <= Access().threads <= 4


class Fetches:
    """A class of torchvision that writes what it would fetch; its constructor may not go on to read it."""

    def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
        assert download
        self.root = root
        self.download()

    def download(self) -> None:
        write(Path(self.root) / "FashionMNIST" / "raw")


class FetchesPickles(Fetches):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise AssertionError("the constructor reads pickles")

    def download(self) -> None:
        write_python(Path(self.root), "cifar10")


def test_download_fetches_what_is_missing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Fetches)
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FetchesPickles)
    monkeypatch.setattr(access, "SYSTEM", tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "root"
    with pytest.raises(
        UsageError, match="--download needs to know where data sets lie; name a folder with --data-root"
    ):
        open_data("fashion-mnist", access=Access(download=True))
    for _ in range(2):  # the second time nothing is fetched, or the folder would be made again
        assert len(open_data("fashion-mnist", access=Access(root, download=True))) == 10
        assert len(open_data("cifar10", access=Access(root, download=True))) == 20
    assert open_data("fashion-mnist", access=Access(root)).path == root / "FashionMNIST" / "raw"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError("no route to host"), r"\(<urlopen error no route to host>\)"),
        (RuntimeError("Error downloading train-images:\nTried http://a\n"), r"\(Error downloading train-images\)"),
        (OSError(), r"\(OSError\)"),
    ],
)
def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    class Fails(Fetches):
        def download(self) -> None:
            raise error

    monkeypatch.setattr("torchvision.datasets.MNIST", Fails)
    with pytest.raises(UnavailableError, match=f"'mnist' could not be downloaded {reason}; fetch it where") as raised:
        open_data("mnist", access=Access(tmp_path, download=True))
    assert raised.value.exit_code == 69 and "\n" not in str(raised.value)


def test_torchvision_is_imported_for_a_download_only() -> None:
    code = (
        "import sys; from xaicli.data import access, cifar, download, flowers102, folder, imagenet, mnist;"
        "from xaicli.data.open import open_data; len(open_data('digits'));"
        "assert not {'torch', 'torchvision', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_threads_change_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / "pets" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30, 20 + number, 3), dtype=np.uint8)).save(path)
    (tmp_path / "pets" / "a" / "6.png").write_bytes(b"damaged")
    order = [5, 3, 3, *range(31, -1, -1)]
    alone = open_data("folder:pets:train", shape=(3, 16, 16), access=Access(tmp_path, workers=1)).read(order)
    assert not alone.readable.all()
    for workers in (2, 5, None):
        read = open_data("folder:pets:train", shape=(3, 16, 16), access=Access(tmp_path, workers=workers)).read(order)
        np.testing.assert_array_equal(read.pixels, alone.pixels)
        np.testing.assert_array_equal(read.readable, alone.readable)


def test_whole_files_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_whole(tmp_path / "x", 5) == b"12345"
    with pytest.raises(InputError, match="has more than 4 bytes"):
        read_whole(tmp_path / "x", 4)
    with pytest.raises(MissingError, match=r"y' cannot be read \(No such file or directory\); restore it"):
        read_whole(tmp_path / "y", 4)
