"""`explain` on a checkpoint that refuses: who is refused, where the evidence is missing, and the refusal itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xaicli
from tests.explain.support import small
from tests.nets import explain_answers, linear, maps_of, small_net, some_images
from xaicli.data.open import open_data
from xaicli.errors import UsageError, XaicliError
from xaicli.explain.quantity import NONE, Target, asks_refusal, check_quantity, parse_target
from xaicli.explain.run import Explainer
from xaicli.files.checkpoint import read_checkpoint
from xaicli.methods import names
from xaicli.models.detecting import detecting
from xaicli.models.detectors.known import known_rows
from xaicli.models.detectors.logits import energy, max_logit
from xaicli.models.detectors.table import fit
from xaicli.models.head import find_head
from xaicli.run.calls import Calls

FEW = ("-n", "16", "--batch-size", "4")
REFUSING = {"deeplift", "deepshap", "lrp", "transformer-lrp", "attention-rollout", "representer", "features"}


@pytest.mark.parametrize("name", names("explain"))
@pytest.mark.parametrize("detector", ["energy", "mahalanobis"])
def test_any_method_explains_the_detectors_score_or_says_why_not(name: str, detector: str) -> None:
    net = small_net(side=12)
    head, images = find_head(net), some_images(60, net, seed=7)
    logits, features = Calls(net, batch_size=20).features(images)
    judging = fit(detector, known_rows(features, logits, logits.argmax(1), head), {})
    made = detecting(net, head, judging, 1.0, "UNKNOWN")
    answers = explain_answers(made, images[:2], target="UNKNOWN")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer = Explainer(small(name, made))
        if name in REFUSING:
            with pytest.raises(XaicliError):
                explainer.columns(answers)
            return
        columns = explainer.columns(answers)
    assert columns["status"].tolist() == [1, 1] and columns["target"].tolist() == [3, 3]
    expected = 1.0 - judging.score(features[:2], logits[:2])
    assert columns["prediction"][:, 3] == pytest.approx(expected.numpy(), rel=1e-6)


def test_gradients_of_refusals_of_a_linear_network_in_closed_form() -> None:
    """Of the largest logit, minus its class's weights; of the energy, minus the mean of all weighted by softmax."""
    weights = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = linear(weights)
    images = some_images(5, net)
    for judging, shares in (
        (max_logit(), torch.eye(3, dtype=torch.float64)[net(images).argmax(1)]),
        (energy(), net(images).softmax(1)),
    ):
        made = detecting(net, None, judging, 0.5, "UNKNOWN")
        found = maps_of("saliency", explain_answers(made, images, target="UNKNOWN"))
        assert torch.allclose(found, -torch.einsum("nk,kchw->nchw", shares, weights), rtol=1e-12)


def test_the_spelling_of_a_refusal_yields_to_a_class() -> None:
    assert parse_target("unknown", ["a", "b"]) == Target("unknown", 2, NONE) and asks_refusal("unknown", ["a", "b"])
    assert parse_target("unknown", ["a", "unknown"]) == Target("unknown", 1) and not asks_refusal(
        "unknown", ["unknown"]
    )
    with pytest.raises(UsageError, match="Did you mean 'unknown'"):
        parse_target("unknwon", ["a", "b"])
    for quantity in ("probability", "margin"):
        with pytest.raises(UsageError, match="a refusal is a score"):
            check_quantity(quantity, parse_target("unknown", ["a", "b"]))
    check_quantity("probability", parse_target("1", ["a", "unknown"]))


@pytest.fixture(scope="module")
def trained(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("refusing") / "m.safetensors"
    known = ("--known", "0,1,2,3,4,5,6", "--detector", "mahalanobis")
    said = call("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "2", *known, "-o", path)
    assert said.code == 0, said.err
    return path


@pytest.fixture(scope="module")
def stores(call: Any, trained: Path) -> dict[str, Path]:
    """Of classes, and of refusals."""
    folder = trained.parent / "maps"
    said = call("explain", trained, "-m", "gradcam", "-m", "open-set", "-m", "features", *FEW, "-o", f"{folder}/")
    assert said.code == 0, said.err
    found = {record["method"]: Path(record["path"]) for record in said.records}
    said = call("explain", trained, "-m", "ig:steps=64", "--target", "unknown", *FEW, "-o", folder / "unknown.h5")
    assert said.code == 0, said.err
    return {**found, "unknown": Path(said.record["path"])}


def test_scores_and_refusals_by_hand(trained: Path, stores: dict[str, Path]) -> None:
    """From the stored features and the checkpoint's arrays; the rows of unknown classes are there, without a label."""
    checkpoint, store = read_checkpoint(trained), xaicli.open_store(stores["features"])
    means, whitening = (checkpoint.tensors[f"xaicli.detector.{name}"] for name in ("means", "whitening"))
    away = (store["features"][:, None].astype(np.float64) - means) @ whitening.T
    score = -np.square(away).sum(2).min(1)
    test = open_data("digits", split="test")
    labels = test.labels[np.searchsorted(test.index, store["index"])]
    assert store["label"].tolist() == [label if label < 7 else 65535 for label in labels] and labels.max() > 6
    for path in stores.values():
        one = xaicli.open_store(path)
        assert one["known_score"] == pytest.approx(score, rel=1e-4, abs=1e-4)
        assert np.array_equal(one["refused"], score < checkpoint.meta.rejection["threshold"])
    assert 0 < store["refused"].sum() < 16


def test_the_record_tells_the_share_that_is_refused(call: Any, trained: Path, stores: dict[str, Path]) -> None:
    again = call("explain", trained, "-m", "features", *FEW, "-o", stores["features"])
    refused = xaicli.open_store(stores["features"])["refused"]
    assert again.record["metrics"]["refused"] == pytest.approx(refused.mean())


def test_the_open_set_map_of_known_rows_is_the_grad_cam_and_of_others_a_share(stores: dict[str, Path]) -> None:
    cams, found = (xaicli.open_store(stores[name]) for name in ("gradcam", "open-set"))
    refused = found["refused"].astype(bool)
    assert found["attribution"][~refused] == pytest.approx(cams["attribution"][~refused], abs=1e-6)
    assert (found["attribution"][refused] >= 0).all() and (found["attribution"][refused] <= 1).all()
    assert np.abs(found["attribution"][refused] - cams["attribution"][refused]).max() > 0.1


def test_the_refusal_is_a_class_behind_the_others(trained: Path, stores: dict[str, Path]) -> None:
    store, threshold = xaicli.open_store(stores["unknown"]), read_checkpoint(trained).meta.rejection["threshold"]
    cams = xaicli.open_store(stores["gradcam"])
    assert store.attributes["classes"] == [*map(str, range(7)), "UNKNOWN"] and store["target"].tolist() == [7] * 16
    assert store["prediction"][:, :7] == pytest.approx(cams["prediction"], abs=1e-5)
    assert store["prediction"][:, 7] == pytest.approx(threshold - store["known_score"], rel=1e-5, abs=1e-4)
    assert np.array_equal(store["prediction"][:, 7] > 0, store["refused"].astype(bool))
    total = store["attribution"].sum((1, 2, 3))
    black = total - store["completeness"]  # f(x) - f(b), with one f(b) for all rows
    assert np.ptp(store["prediction"][:, 7] - black) == pytest.approx(0, abs=1e-2 * float(np.abs(total).max()))


def test_metrics_of_refusals_ask_the_detector(call: Any, trained: Path, stores: dict[str, Path], here: Path) -> None:
    said = call("evaluate", trained, stores["unknown"], "--batch-size", "4", "-o", "scores.h5")
    assert said.code == 0, said.err
    assert {record["metric"] for record in said.records if record["kind"] == "metric"} == {"aopc", "abpc"}
    store, scores = xaicli.open_store(stores["unknown"]), xaicli.open_store("scores.h5")
    curve = call("evaluate", trained, stores["unknown"], "--batch-size", "4", "-k", "aopc:steps=1", "-o", "one.h5")
    assert curve.code == 0, curve.err
    # half of what is lost on the way to black, which is the map's sum but for its gap
    lost = store["attribution"].sum((1, 2, 3)) - store["completeness"]
    assert xaicli.open_store("one.h5")["sources/0/aopc"] == pytest.approx(lost / 2, rel=1e-3, abs=1e-2)
    assert np.isfinite(scores["sources/0/abpc"]).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-m", "open-set", "--target", "unknown"), "leave --target unknown out"),
        (("-m", "saliency", "--target", "unknown", "--quantity", "margin"), "leave --quantity out"),
    ],
)
def test_what_makes_no_sense_of_a_refusal(
    call: Any, trained: Path, here: Path, arguments: tuple[str, ...], words: str
) -> None:
    said = call("explain", trained, *arguments, *FEW)
    assert said.code == 2 and words in said.err


@pytest.mark.parametrize("arguments", [("-m", "open-set"), ("-m", "saliency", "--target", "unknown")])
def test_a_checkpoint_that_refuses_nothing_has_no_refusal(
    call: Any, files: Any, here: Path, arguments: tuple[str, ...]
) -> None:
    said = call("explain", files.checkpoint, *arguments, *FEW)
    assert said.code == 2 and "refuses nothing" in said.err


def test_refusals_have_no_probability_and_are_not_compared_with_classes(
    call: Any, trained: Path, stores: dict[str, Path], here: Path
) -> None:
    for name in ("deletion", "average-drop", "irof"):
        said = call("evaluate", trained, stores["unknown"], "-k", name)
        assert said.code == 2 and "a refusal does not have" in said.err
    said = call("evaluate", trained, stores["unknown"], stores["gradcam"])
    assert said.code == 2 and "judge them in two commands" in said.err
    assert call("evaluate", trained, stores["unknown"], "-k", "all", "--dry-run").code == 0


def test_metrics_that_ask_again_get_the_stored_maps(
    call: Any, trained: Path, stores: dict[str, Path], here: Path
) -> None:
    chosen = ("--batch-size", "4", "-k", "sensitivity-max:radius=1e-60,draws=1")
    for group in ((stores["gradcam"], stores["open-set"]), (stores["unknown"],)):
        said = call("evaluate", trained, *group, *chosen, "-o", f"{len(group)}.h5")
        assert said.code == 0, said.err
        figures = [record["value"] for record in said.records if record["kind"] == "metric"]
        assert len(figures) == len(group) + 2 and set(figures) == {0.0}
