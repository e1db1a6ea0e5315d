"""Which data a command works on: what artifacts name, and where the user's words place it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import xaicli
from tests.conftest import run_here
from tests.poison import poisoned
from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.data.digits import open_digits
from xaicli.data.open import open_data
from xaicli.errors import InputError
from xaicli.files.checkpoint import CheckpointMeta, read_meta
from xaicli.files.parents import Parents
from xaicli.files.sources import gather
from xaicli.run import cases
from xaicli.run.cases import describe_data, gather_cases, in_its_classes, known_classes, reopen_data, reopen_known
from xaicli.run.settings import Settings


def paint(root: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(40):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 128, (16, 16, 3), dtype=np.uint8) + 127 * (number % 2)).save(path)


def test_a_folder_named_once_is_found_for_everything_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets, here = tmp_path / "away" / "pets", tmp_path / "here"
    paint(pets)
    here.mkdir()
    monkeypatch.chdir(here)
    checkpoint, data = here / "net.safetensors", ("--data", f"folder:{pets}")
    small = ("--arch", "cnn:width=2,depth=3", "--epochs", "1", "--batch-size", "16")
    said = run_here("train", *data, *small, "-o", checkpoint)
    assert said.code == 0, said.err
    # the images are those of --data; expected gradients also want the training images, by the checkpoint's word
    explain = ("explain", checkpoint, "-m", "expected-gradients:samples=2,background=2", "-o", here / "maps.h5")
    assert "with --data-root" in run_here(*explain).err
    said = run_here(*explain, *data)
    assert said.code == 0, said.err
    evaluate = ("evaluate", here / "maps.h5", "-k", "deletion:steps=2", "-o", here / "scores.h5")
    assert "itself with --data folder:PATH" in run_here(*evaluate).err
    assert run_here(*evaluate, "--data-root", pets.parent).code == 0
    assert run_here(*evaluate, *data).code == 0
    said = run_here(*evaluate, "--data", "digits")
    assert said.code == 2 and "explains rows of 'folder:pets', not of 'digits'" in said.err


KNOWN = (0, 2, 4, 6)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows four of the ten digits."""
    path = tmp_path_factory.mktemp("some") / "some.safetensors"
    small = ("--arch", "cnn:width=2,depth=3", "--epochs", "1", "--batch-size", "256")
    said = run_here("train", "--data", "digits", "--known", "0,2,4,6", *small, "-o", path)
    assert said.code == 0, said.err
    return path


def expected(split: Any) -> list[int]:
    return [KNOWN.index(label) if label in KNOWN else UNKNOWN for label in open_digits(split).labels]


def test_data_has_the_labels_of_the_checkpoint_and_the_rows_of_other_classes_none(some: Path) -> None:
    sources, settings = gather([str(some)]), Settings()
    for data, split in ((None, "test"), ("digits:val", "val")):
        (case,) = gather_cases(sources, Parents(sources, ()), data, settings)
        assert case.inputs.dataset.labels.tolist() == expected(split)
        assert case.inputs.dataset.classes == case.meta.classes == ("0", "2", "4", "6")
        assert case.job_parents["data"]["known"] == list(KNOWN)
        (case,) = gather_cases(sources, Parents(sources, ()), data, settings, known_only=True)
        assert case.inputs.dataset.labels.tolist() == [label for label in expected(split) if label != UNKNOWN]


def test_known_rows_are_chosen_among_known_rows(some: Path) -> None:
    sources = gather([str(some)])
    (case,) = gather_cases(sources, Parents(sources, ()), None, Settings(limit=40), known_only=True)
    assert len(case.inputs) == 40 and (case.inputs.dataset.labels[case.inputs.positions] != UNKNOWN).all()


@pytest.mark.parametrize("split", ["fit", "val", "train"])
def test_what_was_trained_on_has_no_row_of_an_unknown_class(some: Path, split: str) -> None:
    """As fits, held-out rows, backgrounds and neighbours open it."""
    meta, _ = read_meta(some)
    recorded, parents = {**(meta.data or {}), "split": split}, Parents(gather([str(some)]), ())
    dataset = reopen_known(recorded, meta.shape, parents, Settings())
    assert dataset.labels.tolist() == [label for label in expected(split) if label != UNKNOWN]
    whole = reopen_data(recorded, meta.shape, parents, Settings())
    assert whole.labels.tolist() == expected(split)
    again = reopen_data(describe_data(dataset), meta.shape, parents, Settings())  # as a store made of it would
    assert again.known == KNOWN and again.labels.tolist() == expected(split)


def test_the_temperature_is_fitted_on_known_rows(some: Path, here: Path) -> None:
    said = run_here("evaluate", some, "-k", "calibration", "-o", "s.h5")
    assert said.code == 0, said.err
    with xaicli.open_store("s.h5") as store:
        ((facts),) = store.job["held_out"]
    assert facts["rows"] == sum(label != UNKNOWN for label in expected("val")) and facts["known"] == list(KNOWN)


def test_images_of_a_checkpoint_that_knows_all_are_read_by_one_that_knows_some(some: Path, files: Any) -> None:
    """Their labels are of ten classes: by their names they are those of four, and the others unknown."""
    sources, settings = gather([str(some), str(files.images)]), Settings()
    (case,) = gather_cases(sources, Parents(sources, ()), None, settings)
    with xaicli.open_store(files.images) as store:
        labels = store["label"].tolist()
    assert case.inputs.dataset.labels.tolist() == [KNOWN.index(x) if x in KNOWN else UNKNOWN for x in labels]


@pytest.mark.parametrize(
    "command",
    [
        ("explain", "-m", "expected-gradients:samples=2,background=3"),
        ("explain", "-m", "representer"),
        ("evaluate", "-k", "class-consistency"),
        ("evaluate", "-k", "calibration"),
        ("evaluate", "-k", "open-set"),
        ("attack", "-a", "fgsm"),
        ("generate", "-g", "class-images:steps=1", "--per-class", "1"),
    ],
    ids=lambda command: command[2].partition(":")[0],
)
def test_what_later_commands_learn_from_training_images_knows_no_other_class(
    command: tuple[str, ...], some: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_poisoned(*asked: Any, **how: Any) -> Dataset:
        dataset = open_data(*asked, **how)
        return dataset if dataset.split == "test" else poisoned(dataset, (1, 3, 5, 7, 8, 9))

    monkeypatch.setattr(cases, "open_data", open_poisoned)
    few = () if command[0] == "generate" else ("-n", "12")
    said = run_here(command[0], some, *command[1:], *few, "-o", "out.h5")
    assert said.code == 0, said.err
    assert "was read" not in said.err


def meta_of(some: Path, known: list[int], classes: tuple[str, ...]) -> CheckpointMeta:
    meta, _ = read_meta(some)
    return replace(meta, data={**(meta.data or {}), "known": known}, classes=classes)


def test_data_whose_classes_have_other_names_keeps_its_labels(some: Path) -> None:
    digits = open_digits("test")
    assert in_its_classes(meta_of(some, [0, 2], ("zero", "two")), digits) is digits
    assert in_its_classes(meta_of(some, [0, 12], ("0", "2")), digits) is digits
    assert in_its_classes(meta_of(some, [0, 2], ("0", "2")), digits).classes == ("0", "2")
    already = in_its_classes(meta_of(some, [0, 1], ("0", "1")), digits)
    assert in_its_classes(meta_of(some, [0, 1], ("0", "1")), already) is already


@pytest.mark.parametrize("known", [[2, 1], [1, 1], [-1, 2], ["1"], "12", [True]])
def test_known_classes_that_make_no_sense_are_refused(known: Any) -> None:
    with pytest.raises(InputError, match="are no ascending class numbers"):
        known_classes({"known": known})
