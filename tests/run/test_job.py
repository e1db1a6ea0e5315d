"""What a job is made of, and what must not be in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xaicli import __version__
from xaicli.run.job import Job, make_job, versions
from xaicli.run.settings import Settings
from xaicli.specs import parse_spec

DATA = {"name": "digits", "split": "test", "digest": "ab"}


def pgd(settings: Settings, text: str = "pgd", **extra: object) -> Job:
    return make_job(
        "attack",
        parse_spec("attack", text),
        {"checkpoint": "12", "data": DATA},
        settings,
        block=64,
        extra={"target": "predicted", **extra},
        defaults={"target": "predicted"},
    )


def test_what_the_numbers_depend_on() -> None:
    document = pgd(Settings()).document
    assert document["verb"] == "attack"
    assert document["method"] == "pgd"
    assert document["options"] == parse_spec("attack", "pgd").record
    assert document["parents"] == {"checkpoint": "12", "data": DATA}
    assert document["selection"] == {"limit": None, "per_class": None}
    assert (document["seed"], document["batch_size"], document["block"], document["dtype"]) == (0, 32, 64, "float32")
    assert document["target"] == "predicted"
    assert document["versions"]["xaicli"] == __version__


@pytest.mark.parametrize(
    "settings",
    [
        Settings(device="cuda:1"),
        Settings(threads=3),
        Settings(output="elsewhere.h5"),
        Settings(force=True),
        Settings(dry_run=True),
        Settings(parents=(Path("/somewhere"),)),
        Settings(data_root=Path("/data")),
        Settings(arch="/home/me/net.py:make"),
        Settings(batch_size=32),
    ],
)
def test_where_and_how_it_runs_is_not_part_of_it(settings: Settings) -> None:
    assert pgd(settings).id == pgd(Settings()).id
    assert pgd(settings).suffix is False


@pytest.mark.parametrize(
    ("settings", "text", "extra"),
    [
        (Settings(limit=1), "pgd", {}),
        (Settings(per_class=1), "pgd", {}),
        (Settings(seed=1), "pgd", {}),
        (Settings(batch_size=16), "pgd", {}),
        (Settings(block=2), "pgd", {}),
        (Settings(), "pgd:steps=3", {}),
        (Settings(), "pgd", {"target": "label"}),
    ],
)
def test_whatever_is_not_the_default_shows_in_the_name(settings: Settings, text: str, extra: dict[str, str]) -> None:
    job = pgd(settings, text, **extra)
    assert job.suffix is True
    if settings.block is None:  # --block is resolved before the job is made
        assert job.id != pgd(Settings()).id


def test_an_option_at_its_default_is_the_same_job() -> None:
    assert pgd(Settings(), "pgd:norm=linf").id == pgd(Settings()).id
    assert pgd(Settings(), "pgd:norm=linf").suffix is False


def test_versions_have_no_local_suffix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xaicli.run.job.version", lambda name: {"torch": "2.13.0+cpu"}.get(name, "1.0"))
    assert versions("captum") == {"xaicli": __version__, "torch": "2.13.0", "torchvision": "1.0", "captum": "1.0"}


def test_a_library_that_is_not_installed_is_left_out() -> None:
    assert versions("no-such-library-here").keys() == {"xaicli", "torch", "torchvision"}


def test_no_path_of_this_machine_is_in_the_document(tmp_path: Path) -> None:
    settings = Settings(output=str(tmp_path / "x"), parents=(tmp_path,), data_root=tmp_path)
    assert str(tmp_path) not in json.dumps(pgd(settings).document)
