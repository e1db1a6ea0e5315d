"""`--known` and `--detector`: what they name, and that no unknown class touches a training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.poison import poisoned
from xaicli.data.digits import open_digits
from xaicli.data.open import open_data
from xaicli.errors import UsageError
from xaicli.files.checkpoint import read_checkpoint, read_meta
from xaicli.models.load import load_classifier
from xaicli.run.random import generator
from xaicli.train import plan
from xaicli.train.known import known_of, parse_detector

DIGITS = tuple("0123456789")
PETS = ("cat", "dog", "7", "2-of-3")
SMALL = ("--data", "digits", "--arch", "cnn:width=2,depth=3", "--epochs", "1", "--batch-size", "431")


@pytest.mark.parametrize(
    ("text", "classes", "known"),
    [
        ("3,1,8", DIGITS, (1, 3, 8)),
        ("1, 3,1", DIGITS, (1, 3)),
        ("dog,0", PETS, (0, 1)),
        ("name:7,2-of-3,cat", PETS, (0, 2, 3)),
        ("2-of-3,1", PETS, (1, 3)),
    ],
)
def test_classes_are_named_by_number_or_name(text: str, classes: tuple[str, ...], known: tuple[int, ...]) -> None:
    assert known_of(text, classes, "it", 0) == known


def test_so_many_are_drawn_by_the_seed() -> None:
    for seed in range(3):
        drawn = generator(seed, "known").permutation(10)[:7]
        assert known_of("7-of-10", DIGITS, "digits", seed) == tuple(sorted(drawn.tolist()))
    splits = {known_of("7-of-10", DIGITS, "digits", seed) for seed in range(20)}
    assert len(splits) > 15 and all(len(set(split)) == 7 for split in splits)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("7-of-9", "'digits' has 10 classes, not 9; ask for --known 7-of-10."),
        ("10-of-10", "--known 10-of-10 names 10 of the 10 classes of 'digits'; name two or more"),
        ("4", "--known 4 names 1 of the 10 classes"),
        (",", "--known , names 0 of the 10 classes"),
        ("4,eleven", "'eleven' is no class of 'digits'."),
        ("3,10", "'10' is no class of 'digits'."),
    ],
)
def test_what_names_no_classes_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace(".", r"\.")):
        known_of(text, DIGITS, "digits", 0)


def test_a_detector_is_written_like_every_method() -> None:
    asked = parse_detector("knn:k=9, tpr=9/10")
    assert asked.record == {"name": "knn", "options": {"k": 9}, "tpr": 0.9}
    assert parse_detector("rmd").record == {"name": "relative-mahalanobis", "options": {"ridge": 1e-6}, "tpr": 0.95}
    assert parse_detector("max-logit:tpr=1").tpr == 1.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max-logits", "there is no detector 'max-logits'. Did you mean 'max-logit'?"),
        (
            "knn:neighbours=3",
            "'knn' has no option 'neighbours'. Its options are: k. Beside those, every detector takes",
        ),
        ("ash:percentil=1", "Did you mean 'percentile'?"),
        ("knn:k=0", "'knn:k=0' is not valid: expected a whole number > 0."),
        ("msp:tpr=95", "'msp:tpr=95' is not valid: expected a number from 0 to 1."),
        ("msp:tpr=0", "tpr=0 would refuse every row"),
        ("msp:tpr=.9,tpr=.8", "gives the option 'tpr' twice"),
    ],
)
def test_a_detector_that_makes_no_sense_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_detector(text)
    assert sentence in str(refused.value)


def sha256(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "recipe",
    [
        ("--detector", "knn:k=5"),
        ("--detector", "mahalanobis", "--recipe", "adversarial:eps=0.1,steps=1"),
        ("--recipe", "fast:eps=0.1"),
        ("--recipe", "standard:canaries=5"),
        ("--recipe", "private:noise=seeded,noise-multiplier=1,accountant=rdp"),
        ("--recipe", "bayesian"),
    ],
    ids=lambda recipe: recipe[1].split(":")[0] if len(recipe) == 2 else "robust",
)
def test_no_unknown_class_touches_training_fitting_or_selection(
    recipe: tuple[str, ...], call: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even to be read: with the rows of all unknown classes poisoned, the very same checkpoint comes out."""
    known = ("--known", "0,1,2,3,4,5,6")
    said = call("train", *SMALL, *known, *recipe, "-o", "plain.safetensors")
    assert said.code == 0, said.err
    monkeypatch.setattr(plan, "open_data", lambda *asked, **how: poisoned(open_data(*asked, **how), (7, 8, 9)))
    said = call("train", *SMALL, *known, *recipe, "-o", "poisoned.safetensors")
    assert said.code == 0, said.err
    assert sha256("poisoned.safetensors") == sha256("plain.safetensors")
    monkeypatch.setattr(plan, "only_known", lambda dataset: dataset)
    said = call("train", *SMALL, *known, *recipe, "-o", "exploded.safetensors")
    assert said.code == 1 and "an unknown class was read" in said.err  # the poison works


def test_a_checkpoint_of_known_classes_says_so(call: Callable[..., Any], here: Path) -> None:
    said = call("train", *SMALL, "--known", "7-of-10", "--seed", "3")
    assert said.code == 0, said.err
    assert Path(said.record["path"]).name.startswith("digits-cnn-standard-")
    meta, _ = read_meta(said.record["path"])
    known = known_of("7-of-10", DIGITS, "digits", 3)
    assert meta.data is not None and meta.data["known"] == list(known) == said.record["parents"]["data"]["known"]
    assert meta.classes == tuple(str(number) for number in known)
    whole = open_digits("fit")
    assert said.record["rows"] == np.isin(whole.labels, known).sum()
    network = load_classifier(said.record["path"])
    pixels = whole.read(np.flatnonzero(np.isin(whole.labels, known))).pixels / 255
    assert network.mean.item() == pytest.approx(pixels.mean(), abs=1e-6)
    assert meta.rejection is not None and meta.rejection["detector"] == "max-logit"
    rate = meta.rejection["kept"] / meta.rejection["rows"]
    figures = {"threshold": meta.rejection["threshold"], "val_kept_rate": rate}
    assert figures.items() <= said.record["metrics"].items()
    assert meta.job["detector"] == {"name": "max-logit", "options": {}, "tpr": 0.95}


def test_other_wishes_are_other_jobs(call: Callable[..., Any], here: Path) -> None:
    wishes: tuple[tuple[str, ...], ...] = (
        (),
        ("--known", "0,1,2"),
        ("--known", "0,1,3"),
        ("--detector", "max-logit"),
        ("--detector", "max-logit:tpr=0.9"),
    )
    paths = []
    for wish in wishes:
        said = call("train", *SMALL, *wish, "--dry-run")
        assert said.code == 0, said.err
        paths.append(said.record["path"])
    assert len(set(paths)) == len(wishes)


def test_a_checkpoint_of_all_classes_may_have_a_detector_too(call: Callable[..., Any], here: Path) -> None:
    said = call("train", *SMALL, "--detector", "energy:temperature=2,tpr=0.5", "-o", "m.safetensors")
    meta, _ = read_meta("m.safetensors")
    assert meta.rejection is not None and meta.data is not None
    assert meta.rejection["options"] == {"temperature": 2.0} and meta.rejection["tpr"] == 0.5
    assert (meta.rejection["rows"], meta.rejection["kept"]) == (144, 72) and "known" not in meta.data
    assert "energy calls UNKNOWN what scores below" in said.err and "72 of 144" in said.err


def test_known_classes_begin_with_a_fresh_last_layer(call: Callable[..., Any], files: Any, here: Path) -> None:
    asked = ("--from", files.checkpoint, "--data", "digits", "--known", "0,1,2,3", "--epochs", "1")
    said = call("train", *asked, "--freeze", "body", "-o", "m.safetensors")
    assert said.code == 0 and "begins anew" in said.err, said.err
    before, after = read_checkpoint(files.checkpoint).tensors, read_checkpoint("m.safetensors").tensors
    assert after["network.fc.weight"].shape[0] == 4
    assert np.array_equal(after["network.block1.conv.weight"], before["network.block1.conv.weight"])


@pytest.mark.parametrize(
    ("wish", "code", "sentence"),
    [
        (("--recipe", "private", "--detector", "knn"), 2, "would put what the network makes of single training images"),
        (("--recipe", "bayesian", "--detector", "vim"), 2, "take one of entropy, msp, max-logit."),
        (("--recipe", "ensemble", "--detector", "energy"), 2, "a distribution over networks"),
        (("--detector", "knn:k=100000"), 65, "ask for a smaller k."),
        (("--detector", "vim:dimension=64"), 65, "ask for fewer."),
    ],
)
def test_a_detector_that_cannot_be_had_is_refused_before_the_training(
    wish: tuple[str, ...], code: int, sentence: str, call: Callable[..., Any], here: Path
) -> None:
    said = call("train", *SMALL, *wish, "-o", "m.safetensors")
    assert said.code == code and sentence in said.err and "epoch 1/1" not in said.err, said.err
    assert not Path("m.safetensors").exists()


def test_a_private_statement_says_what_the_threshold_comes_from(call: Callable[..., Any], here: Path) -> None:
    private = ("--recipe", "private:noise=seeded,noise-multiplier=1,accountant=rdp")
    said = call("train", *SMALL, *private, "--known", "0,1,2,3,4,5,6", "-o", "m.safetensors")
    assert "the threshold of the detector, which private held-out images set" in said.err
    tensors = read_checkpoint("m.safetensors").tensors
    assert not [name for name in tensors if name.startswith("xaicli.detector.")]
