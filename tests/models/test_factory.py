from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from xaicli.errors import PluginError, RefusedError
from xaicli.models.arch import arch_from_record, build_network, parse_arch

NETWORK = """
from pathlib import Path
from torch import nn

Path(__file__).with_name("ran").touch()

def make(num_classes, channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 256, num_classes))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    path = folder / "net.py"
    path.write_text(NETWORK)
    path.chmod(0o644)
    return path


def record_of(file: Path) -> dict[str, Any]:
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"name": "net.py:make", "options": {}, "file": str(file), "sha256": sha256}


def refused(record: dict[str, Any], message: str, given: str | None = None) -> None:
    with pytest.raises(RefusedError, match=message):
        arch_from_record(record, "'m'", given)


def has_run(file: Path) -> bool:
    return file.with_name("ran").exists()


def test_an_unchanged_file_of_ones_own_is_imported(file: Path) -> None:
    arch = arch_from_record(record_of(file), "'m'")
    assert arch == parse_arch(f"{file}:make")
    assert [tuple(p.shape) for p in build_network(arch, 4, 3, (16, 16)).parameters()] == [(4, 768), (4,)]
    assert not list(file.parent.glob("**/*.pyc"))


def test_a_changed_file_does_not_run(file: Path) -> None:
    record = record_of(file)
    file.write_text(NETWORK + "\n# changed")
    refused(record, "has changed since.*--arch FILE.py:make")
    assert not has_run(file)


def test_a_file_that_is_gone_or_relative_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    refused({**record_of(file), "file": "net.py"}, "absolute path")
    refused({**record_of(file), "file": str(file.parent)}, "cannot be read here")
    record = record_of(file)
    file.unlink()
    refused(record, "cannot be read here")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o622])
def test_a_file_that_others_may_write_does_not_run(file: Path, mode: int) -> None:
    file.chmod(mode)
    refused(record_of(file), "others may write to the file")
    assert not has_run(file)


def test_a_file_of_another_user_does_not_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = file.stat().st_uid
    other = owner + 1
    if os.geteuid() == 0:
        os.chown(file, other, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: other)
    refused(record_of(file), "belongs to another user")
    assert not has_run(file)


def test_a_folder_in_which_anyone_may_replace_the_file(file: Path) -> None:
    file.parent.chmod(0o777)
    refused(record_of(file), "anyone may replace files in its folder")
    link = file.parent.parent / "link.py"
    link.symlink_to(file)
    refused({**record_of(file), "file": str(link)}, "anyone may replace files in its folder")
    assert not has_run(file)
    file.parent.chmod(0o1777)  # sticky: only the owner may
    arch_from_record(record_of(file), "'m'")
    assert has_run(file)


def test_a_given_copy_replaces_the_recorded_path(file: Path, tmp_path: Path) -> None:
    record = {**record_of(file), "file": "/nowhere/net.py"}
    copy = tmp_path / "copy.py"
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o666)  # named in this command, so trusted
    arch = arch_from_record(record, "'m'", f"{copy}:make")
    assert (arch.name, arch.factory and arch.factory.path) == ("net.py:make", copy)


def test_a_given_copy_with_another_sha256_or_name_does_not_run(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.py"
    copy.write_text(NETWORK + "\n# changed")
    refused(record_of(file), "name an unchanged copy", f"{copy}:make")
    assert not has_run(copy)
    refused(record_of(file), "net.py:other", f"{file}:other")
    assert not has_run(file)


def test_another_given_architecture_does_not_lift_the_checks(file: Path) -> None:
    file.chmod(0o666)
    refused(record_of(file), "others may write", "cnn")


BROKEN = {
    "raises": ("def make(num_classes, channels): raise KeyError('x')", "raised KeyError: 'x'"),
    "exits": ("import sys\ndef make(num_classes, channels): sys.exit(3)", "raised SystemExit"),
    "wrong signature": ("def make(classes): return 1", "must accept num_classes and channels by name"),
    "wrong call": ("def make(**options): return len(**options)", "raised TypeError"),
    "no module": ("def make(num_classes, channels): return 'x'", "returned str"),
    "no parameters": ("def make(num_classes, channels): return nn.Flatten()", "without parameters"),
    "wrong shape": (
        "def make(num_classes, channels): return nn.Sequential(nn.Flatten(), nn.Linear(768, num_classes + 1))",
        r"returns torch.float32 \[2, 5\], where logits of shape \[2, 4\]",
    ),
    "maps": (
        "def make(num_classes, channels): return nn.Conv2d(channels, num_classes, 3)",
        r"returns torch.float32 \[2, 4, 14, 14\]",
    ),
    "tuple": (
        "class make(nn.Module):\n    def __init__(self, num_classes, channels):\n        super().__init__()\n"
        "        self.fc = nn.Linear(2, 2)\n    def forward(self, x):\n        return x, x",
        "returns tuple",
    ),
    "wrong input": (
        "def make(num_classes, channels): return nn.Sequential(nn.Flatten(), nn.Linear(7, num_classes))",
        "cannot take 3x16x16 images",
    ),
}


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=list(BROKEN))
def test_a_factory_that_breaks_its_contract(file: Path, source: str, message: str) -> None:
    file.write_text(f"from torch import nn\n{source}\n")
    with pytest.raises(PluginError, match=message) as caught:
        build_network(parse_arch(f"{file}:make"), 4, 3, (16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["1/0", "def make(:", "import no_such_module", "raise SystemExit(0)"])
def test_a_file_that_cannot_be_imported(file: Path, source: str) -> None:
    file.write_text(source)
    with pytest.raises(PluginError, match="cannot be imported"):
        parse_arch(f"{file}:make")


def test_neighbours_are_not_on_the_import_path(file: Path) -> None:
    file.with_name("neighbour_of_net.py").write_text("raise AssertionError")
    file.write_text("import neighbour_of_net")
    with pytest.raises(PluginError, match="ModuleNotFoundError"):
        parse_arch(f"{file}:make")


def test_a_dataclass_module_is_possible(file: Path) -> None:
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "from torch import nn\n\n@dataclass\nclass Config:\n    kind: ClassVar[str] = 'x'\n    width: int = 3\n\n"
        "def make(num_classes, channels, width: int = Config().width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 256, num_classes))\n"
    )
    network = build_network(parse_arch(f"{file}:make"), 4, 3, (16, 16))
    assert network.training
