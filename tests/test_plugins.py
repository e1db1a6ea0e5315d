"""Third parties' methods: found without being imported, run like ours, and held to the same contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xaicli
from xaicli.plugins import installed

ROOT = Path(__file__).parents[1]
GOOD = '''
"""A module of somebody else's."""
raise_if_imported = False

def my_map(gradient, image, *, gain: float = 1.0, mode: Literal["plain", "odd"] = "plain"):
    """The gradient, louder (Nobody, 2026).

    Returns [n, C, H, W].
    """
    return gain * gradient * image
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text("from typing import Literal\n" + GOOD)
    return path


def test_function_of_a_file_is_a_method(files: Any, call: Any, mine: Path, tmp_path: Path) -> None:
    few = ("-n", "6")
    said = call("explain", files.checkpoint, "-m", f"{mine}:my_map:gain=2", "-m", "ixg", *few, "-o", f"{tmp_path}/out/")
    assert said.code == 0, said.err
    first, second = said.records
    assert (first["method"], first["options"]) == ("my-map", {"gain": 2.0, "mode": "plain"})
    with xaicli.open_store(first["path"]) as ours, xaicli.open_store(second["path"]) as plain:
        assert np.array_equal(ours["attribution"], 2 * plain["attribution"])
        assert ours.job["plugin"]["file"] == "mine.py" and len(ours.job["plugin"]["sha256"]) == 64
        assert str(tmp_path) not in str(dict(ours.job))
        before = ours.job_id
    mine.write_text(mine.read_text() + "\n# other code\n")
    again = call("explain", files.checkpoint, "-m", f"{mine}:my_map:gain=2", *few, "-o", f"{tmp_path}/out/").record
    with xaicli.open_store(again["path"]) as other:
        assert other.job_id != before and again["path"] != first["path"]


BROKEN = {
    "shape": ("def bad(gradient):\n    return gradient.sum(1)", "has to return maps"),
    "type": ("def bad(gradient):\n    return 3", "has to return maps"),
    "nan": ("def bad(gradient):\n    return gradient * float('nan')", "not finite"),
    "exception": ("def bad(gradient):\n    raise ValueError('no')", "raised ValueError: no"),
    "model": (
        "def bad(block, gradient):\n    next(block.calls.classifier.parameters()).data.add_(1)\n    return gradient",
        "changed the model",
    ),
    "mode": ("def bad(block, gradient):\n    block.calls.classifier.train()\n    return gradient", "training mode"),
    "images": ("def bad(image, gradient):\n    image.mul_(2)\n    return gradient", "changed the images"),
    "query": ("def bad(gradiant):\n    return gradiant", "asks for 'gradiant'"),
    "option": ("def bad(gradient, *, n):\n    return gradient", "is no method"),
    "syntax": ("def bad(gradient:\n", "is no method"),
    "import": ("import nothing_of_that_name\ndef bad(gradient):\n    return gradient", "cannot be imported"),
    "absent": ("def good(gradient):\n    return gradient", "does not define bad"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_contract_is_named(fault: str, files: Any, call: Any, tmp_path: Path) -> None:
    source, sentence = BROKEN[fault]
    (tmp_path / "p.py").write_text(source + "\n")
    said = call("explain", files.checkpoint, "-m", f"{tmp_path}/p.py:bad", "-n", "4", "-o", tmp_path / "x.h5")
    assert said.code == 70, said.err
    assert "'bad'" in said.err and sentence in said.err and "Traceback" not in said.err
    assert not (tmp_path / "x.h5").exists()


def test_file_that_is_not_there(files: Any, call: Any, tmp_path: Path) -> None:
    assert call("explain", files.checkpoint, "-m", f"{tmp_path}/none.py:f").code == 66
    assert call("evaluate", files.maps, "-k", f"{tmp_path}/none.py:f").code == 2


@pytest.fixture
def package(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution as pip installs it, whose module must not be imported for a listing."""
    folder = tmp_path / "site"
    info = folder / "their_maps-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "their_maps.py").write_text("from typing import Literal\n" + GOOD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-maps\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[xaicli.explainers]\ntheir-map = their_maps:my_map\n")
    (info / "RECORD").write_text("")
    monkeypatch.syspath_prepend(str(folder))
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.mark.usefixtures("package")
def test_package_offers_a_method(files: Any, call: Any, tmp_path: Path) -> None:
    listed = {record["name"]: record for record in call("methods", "explain").records}
    assert listed["their-map"]["options"] == {"gain": "1", "mode": "plain"}
    assert "their_maps" not in sys.modules
    page = call("methods", "explain", "their-map", "--format", "table").out
    assert "The gradient, louder (Nobody, 2026)." in page and "plain|odd" in page
    assert "Did you mean 'their-map'?" in call("explain", files.checkpoint, "-m", "theirmap").err
    made = call("explain", files.checkpoint, "-m", "their-map", "-n", "4", "-o", tmp_path / "x.h5").record
    with xaicli.open_store(made["path"]) as store:
        assert store.job["plugin"] == {"package": "their-maps", "version": "1.2"}


@pytest.mark.command
@pytest.mark.slow
def test_new_method_is_one_function_and_one_line(files: Any, tmp_path: Path) -> None:
    """In a copy of the package: listing, completion, help and the contract tests know it by themselves."""
    shutil.copytree(ROOT / "xaicli", tmp_path / "xaicli", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    table, new = tmp_path / "xaicli" / "methods.py", tmp_path / "xaicli" / "explain" / "louder.py"
    line = '        "saliency": ('
    assert line in table.read_text()
    table.write_text(table.read_text().replace(line, f'        "louder": ("explain.louder:louder", ()),\n{line}'))
    new.write_text(
        "from xaicli.explain.explanation import ChannelMaps\nfrom torch import Tensor\n\n\n"
        "def louder(gradient: Tensor, *, gain: float = 2.0) -> ChannelMaps:\n"
        '    """The gradient, louder (Nobody, 2026).\n\n    Returns [n, C, H, W].\n    """\n'
        "    return gain * gradient\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def python(*arguments: str, **more: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env={**environment, **more}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert '"name":"louder"' in python("-m", "xaicli", "methods", "explain")
    assert "gain" in python("-m", "xaicli", "methods", "explain", "louder")
    words = {"_XAICLI_COMPLETE": "complete_bash", "COMP_WORDS": "xaicli explain -m lou", "COMP_CWORD": "3"}
    assert "louder" in python("-m", "xaicli", **words)
    tested = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_contract.py", "-k", "louder")
    assert "3 passed" in tested
    made = python("-m", "xaicli", "explain", str(files.checkpoint), "-m", "louder:gain=3", "-n", "2", "-o", "x.h5")
    assert '"method":"louder"' in made
