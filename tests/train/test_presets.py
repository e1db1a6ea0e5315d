"""Presets: every one of them is a command that `train` takes, and its options give way to others."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from xaicli.cli.shape import parse_shape
from xaicli.errors import UsageError
from xaicli.models.arch import parse_arch
from xaicli.specs import parse_spec
from xaicli.train.preset import load_preset, preset_names
from xaicli.train.run import Request

L2 = {"norm": "l2", "eps": 0.5, "step": 0.1, "steps": 20}
LINF = {"norm": "linf", "eps": 4 / 255, "step": 0.01, "steps": 20}
ATTACKS: dict[str, dict[str, Any]] = {
    "cifar10-l2": L2,
    "cifar10-linf": LINF,
    "cifar10-standard": {},
    "rice2020-cifar10-l2": {"norm": "l2", "eps": 0.5, "step": 15 / 255, "steps": 10},
    "smallimagenet150-l2": L2,
    "smallimagenet150-linf": LINF,
    "smallimagenet150-standard": {},
}


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What reached the training, which does not begin here."""
    seen: list[Request] = []

    def note(request: Request, settings: Any) -> list[Any]:
        seen.append(request)
        return []

    monkeypatch.setattr("xaicli.train.run.train", note)
    return seen


def test_they_are_what_the_sources_state() -> None:
    assert list(preset_names()) == sorted(ATTACKS)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_command(name: str, call: Any, requests: list[Request]) -> None:
    preset = load_preset(name)
    given = () if "data" in preset.options else ("--data", "folder:x")
    assert call("train", "--preset", name, *given, "--dry-run").code == 0
    (request,) = requests
    spec = parse_spec("train", preset.options["recipe"])
    options: dict[str, Any] = spec.options
    assert request.recipe == spec
    assert {key: options[key] for key in ("norm", "eps", "step", "steps") if key in options} == ATTACKS[name]
    arch = "resnet18-cifar" if "cifar10" in name else "torchvision:resnet50"
    assert request.arch == preset.options["arch"] == arch and parse_arch(arch)
    assert request.shape == (parse_shape("3x128x128") if "smallimagenet" in name else None)
    assert request.data == ("cifar10" if "cifar10" in name else "folder:x")
    assert request.epochs == int(preset.options["epochs"])


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_where_it_comes_from_and_what_is_reported(name: str) -> None:
    text = (files("xaicli.train") / "presets" / f"{name}.toml").read_text()
    comments = " ".join(line[1:] for line in text.splitlines() if line.startswith("#"))
    figures = re.findall(r"\d+\.\d+|\b\d\d\b", load_preset(name).about.partition("reported")[2])
    assert len(figures) >= 2 and all(figure.removeprefix("0") in comments for figure in figures)
    assert "Rice" in comments or "study" in comments
    assert set(tomllib.loads(text)) <= {"about", "data", "arch", "input", "recipe", "epochs", "batch-size"}


def test_flags_environment_and_config_override_it(
    call: Any, here: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "c.toml").write_text('[train]\narch = "cnn"\nepochs = 7\nrecipe = "standard"\n')
    monkeypatch.setenv("XAICLI_RECIPE", "fast")
    for order in (("--preset", "cifar10-l2", "--config", "c.toml"), ("--config", "c.toml", "--preset", "cifar10-l2")):
        assert call("train", *order, "--epochs", "3").code == 0
        request = requests.pop()
        assert (request.epochs, request.recipe.name, request.arch, request.data) == (3, "fast", "cnn", "cifar10")
    monkeypatch.delenv("XAICLI_RECIPE")
    monkeypatch.setenv("XAICLI_PRESET", "cifar10-l2")
    assert call("train").code == 0
    assert requests.pop().recipe.options["eps"] == 0.5


def test_the_job_is_that_of_the_options_written_out(call: Any, here: Path) -> None:
    """The same job has the same default name."""
    small = ("--arch", "cnn:width=4,depth=3", "--data", "digits", "--dry-run")
    options = load_preset("cifar10-linf").options
    written = ("--recipe", options["recipe"], "--epochs", "200", "--batch-size", "128")
    assert call("train", "--preset", "cifar10-linf", *small).record == call("train", *written, *small).record


def test_an_unknown_one_names_the_nearest(call: Any) -> None:
    with pytest.raises(UsageError, match=r"there is no preset 'cifar10-linff'\. Did you mean 'cifar10-linf'\?"):
        load_preset("cifar10-linff")
    said = call("train", "--preset", "rice2020", "--data", "digits")
    assert said.code == 2 and "Did you mean 'rice2020-cifar10-l2'?" in said.err


def test_help_and_listing_mention_them(call: Any) -> None:
    records = [record for record in call("methods", "train").records if record["kind"] == "preset"]
    assert [record["name"] for record in records] == sorted(ATTACKS)
    assert records[3]["options"] == load_preset("rice2020-cifar10-l2").options
    assert "67.68" in records[3]["summary"]
    assert "rice2020-cifar10-l2" in call("train", "--help").out
