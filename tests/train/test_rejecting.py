"""The threshold in a checkpoint keeps its promise on rows that nothing has seen, whichever detector it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import fisher_exact

from xaicli.data.cut import only_known, relabelled
from xaicli.data.dataset import Dataset
from xaicli.data.digits import open_digits
from xaicli.errors import InputError
from xaicli.files.checkpoint import Checkpoint, read_checkpoint
from xaicli.methods import names
from xaicli.models.head import find_head
from xaicli.models.load import load_classifier
from xaicli.models.predictive import predictive
from xaicli.run.calls import Calls
from xaicli.run.interval import clopper_pearson
from xaicli.run.posterior import open_calls
from xaicli.run.rejection import Rejector, rejector_of
from xaicli.run.settings import Settings
from xaicli.train.known import parse_detector
from xaicli.train.rejecting import Rejection, fit_rejection, rehearse

KNOWN = (0, 1, 2, 3, 4, 5, 6)
SPLITS = {name: only_known(relabelled(open_digits(name), KNOWN)) for name in ("fit", "val", "test")}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("known") / "m.safetensors"
    known = ("--known", ",".join(map(str, KNOWN)), "--detector", "knn:k=20")
    said = call("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "4", *known, "-o", path)
    assert said.code == 0, said.err
    return read_checkpoint(path)


def pixels(dataset: Dataset) -> torch.Tensor:
    return torch.as_tensor(dataset.read(np.arange(len(dataset))).pixels / np.float32(255), dtype=torch.float32)


def share_kept(rejector: Rejector, dataset: Dataset, calls: Calls) -> float:
    return float(rejector.keeps(rejector.scores(calls, pixels(dataset))).mean())


def same_rate(kept: int, rows: int, fresh_kept: int, fresh_rows: int) -> bool:
    return bool(fisher_exact([[kept, rows - kept], [fresh_kept, fresh_rows - fresh_kept]]).pvalue > 1e-3)


def fitted(text: str, checkpoint: Checkpoint, **splits: Dataset) -> Rejection:
    return fit_rejection(parse_detector(text), checkpoint, {**SPLITS, **splits}, torch.device("cpu"))


@pytest.mark.parametrize("name", names("detector"))
def test_fresh_known_rows_are_kept_at_the_rate_that_was_asked_for(name: str, trained: Checkpoint) -> None:
    """The test rows are kept as often as the held-out ones: by Fisher's exact test, one in a thousand errs."""
    calls = open_calls(trained, device="cpu", settings=Settings())
    found = fitted("knn:k=20" if name == "knn" else name, trained)
    record = found.record
    held_out = Rejector(found.detector, record["threshold"])
    assert record["rows"] == len(SPLITS["val"]) and record["kept"] / record["rows"] >= 0.95
    assert (record["low"], record["high"]) == clopper_pearson(record["kept"], record["rows"])
    assert share_kept(held_out, SPLITS["val"], calls) == record["kept"] / record["rows"]
    fresh = len(SPLITS["test"])
    kept = round(share_kept(held_out, SPLITS["test"], calls) * fresh)
    assert same_rate(record["kept"], record["rows"], kept, fresh)


def test_a_detector_fitted_on_the_rows_of_its_threshold_would_refuse_too_many(trained: Checkpoint) -> None:
    """Why it is fitted on training rows: the held-out ones would find themselves too well known."""
    calls = open_calls(trained, device="cpu", settings=Settings())
    wrong = fitted("mahalanobis", trained, fit=SPLITS["val"])
    assert wrong.record["kept"] / wrong.record["rows"] >= 0.95
    fresh = len(SPLITS["test"])
    kept = round(share_kept(Rejector(wrong.detector, wrong.threshold.value), SPLITS["test"], calls) * fresh)
    assert kept < 0.9 * fresh and not same_rate(wrong.record["kept"], wrong.record["rows"], kept, fresh)


def test_the_surest_known_rows_are_kept(trained: Checkpoint) -> None:
    """Seed 000 refused what lay outside two quantiles, and so the known images that its network was surest of."""
    calls = open_calls(trained, device="cpu", settings=Settings())
    found = fitted("max-logit", trained)
    scores = calls.logits(pixels(SPLITS["test"])).double().amax(1).numpy()
    surest = np.sort(scores)[-20:]
    held_out = calls.logits(pixels(SPLITS["val"])).double().amax(1).numpy()
    assert (surest > np.quantile(held_out, 0.975)).any(), "a two-sided threshold would refuse some of them"
    assert found.threshold.keeps(surest).all()


def test_the_checkpoint_holds_what_was_fitted(trained: Checkpoint) -> None:
    found = fitted("knn:k=20", trained)
    assert trained.meta.rejection == found.record
    assert {name for name in trained.tensors if name.startswith("xaicli.detector.")} == found.arrays.keys()
    for name, array in found.arrays.items():
        assert np.array_equal(trained.tensors[name], array), name
    calls = open_calls(trained, device="cpu", settings=Settings())
    stored = rejector_of(trained, calls)
    assert stored is not None and stored.threshold == found.threshold.value
    images = pixels(SPLITS["test"])[:40]
    again = Rejector(found.detector, found.threshold.value).scores(calls, images)
    assert torch.equal(stored.scores(calls, images), again)


def test_neighbours_are_the_training_rows_and_their_features_those_without_augmentation(trained: Checkpoint) -> None:
    calls = Calls(load_classifier(trained))
    _, features = calls.features(pixels(SPLITS["fit"]))
    rows = features / features.norm(dim=1, keepdim=True)
    assert trained.tensors["xaicli.detector.rows"] == pytest.approx(rows.numpy(), abs=1e-6)


@pytest.mark.parametrize("recipe", ["bayesian", "mc-dropout", "ensemble:k=3"])
def test_an_uncertain_checkpoint_is_told_by_the_entropy_of_its_mean_prediction(
    recipe: str, call: Any, here: Path
) -> None:
    asked = ("--data", "digits", "--arch", "mlp:hidden=16", "--epochs", "1", "--batch-size", "256", "--recipe", recipe)
    said = call("train", *asked, "--seed", "5", "-o", "m.safetensors")
    assert said.code == 0, said.err
    checkpoint, val = read_checkpoint("m.safetensors"), open_digits("val")
    members = open_calls(checkpoint, device="cpu", settings=Settings()).members()
    assert len(members) == (3 if recipe.startswith("ensemble") else 20)
    draws = torch.stack([member.logits(pixels(val)) for member in members])
    scores = np.sort(-predictive(draws).entropy.numpy())
    found = checkpoint.meta.rejection
    assert found is not None and (found["detector"], found["options"], found["rows"]) == ("entropy", {}, 144)
    assert found["threshold"] == pytest.approx(scores[144 - 137], abs=1e-6) and found["kept"] >= 137


@pytest.mark.parametrize("name", names("detector"))
def test_a_rehearsal_refuses_no_detector_that_can_be_fitted(name: str, trained: Checkpoint) -> None:
    rehearse(parse_detector(name), find_head(load_classifier(trained)), 905)


def test_a_rehearsal_refuses_what_cannot_be_fitted(trained: Checkpoint) -> None:
    head = find_head(load_classifier(trained))
    with pytest.raises(InputError, match="the 906 nearest of 905 known rows do not exist"):
        rehearse(parse_detector("knn:k=906"), head, 905)
    rehearse(parse_detector("knn:k=905"), head, 905)
    with pytest.raises(InputError, match="leaves nothing of 12 features out"):
        rehearse(parse_detector("vim:dimension=12"), head, 905)


def test_a_row_that_cannot_be_read_sets_no_threshold(trained: Checkpoint, tmp_path: Path) -> None:
    """Half the held-out rows, unreadable, and so black: the threshold is that of the others."""
    from dataclasses import dataclass, fields

    from xaicli.data.dataset import Images, Positions

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Torn(Dataset):
        def read(self, positions: Positions) -> Images:
            images = SPLITS["val"].read(positions)
            readable = np.asarray(positions) % 2 == 0
            return Images(np.where(readable[:, None, None, None], images.pixels, 0), readable)

    torn = Torn(**{item.name: getattr(SPLITS["val"], item.name) for item in fields(Dataset)})
    found = fitted("max-logit", trained, val=torn)
    calls = open_calls(trained, device="cpu", settings=Settings())
    scores = calls.logits(pixels(SPLITS["val"])).double().amax(1).numpy()[::2]
    assert found.threshold.rows == len(scores)
    assert found.threshold.value == np.sort(scores)[len(scores) - int(np.ceil(0.95 * len(scores)))]
