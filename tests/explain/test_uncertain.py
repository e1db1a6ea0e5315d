"""`explain` on an uncertain checkpoint: mean and deviation maps over draws, and metrics that ask the same draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xaicli
from xaicli.data.open import open_data
from xaicli.models.head import find_head
from xaicli.models.load import load_classifier
from xaicli.run.calls import Calls

FEW = ("-n", "10", "--batch-size", "4")


@pytest.fixture(scope="module")
def trained(call: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks in one checkpoint."""
    path = tmp_path_factory.mktemp("uncertain") / "e.safetensors"
    small = ("--data", "digits", "--arch", "cnn:width=4", "--epochs", "1")
    said = call("train", *small, "--recipe", "ensemble:k=3", "-o", path)
    assert said.code == 0, said.err
    return path


@pytest.fixture(scope="module")
def maps(call: Any, trained: Path) -> dict[str, Path]:
    folder = trained.parent / "maps"
    asked = ("-m", "ixg", "-m", "smoothgrad:n=2", "-m", "ig:steps=3", "-m", "gradcam:draws=2", "-m", "saliency:draws=0")
    said = call("explain", trained, *asked, *FEW, "-o", f"{folder}/")
    assert said.code == 0, said.err
    assert [record["options"]["draws"] for record in said.records] == [3, 3, 3, 2, 0]
    return {record["method"]: Path(record["path"]) for record in said.records}


def test_a_store_holds_the_mean_and_deviation_over_the_members(trained: Path, maps: dict[str, Path]) -> None:
    store, test = xaicli.open_store(maps["input-x-gradient"]), open_data("digits", split="test")
    pixels = test.read(np.searchsorted(test.index, store["index"])).pixels / np.float32(255)
    ensemble = load_classifier(trained, uncertain=True)
    images = torch.tensor(pixels).requires_grad_()
    chosen = torch.stack([n((images - ensemble.mean) / ensemble.std) for n in ensemble.network.networks])
    logs = chosen.detach().double().softmax(2).mean(0).log()
    assert store["prediction"] == pytest.approx(logs.numpy(), abs=1e-4)
    assert store["target"].tolist() == logs.argmax(1).tolist()
    rows, target = torch.arange(10), torch.as_tensor(store["target"].astype(np.int64))
    alone = torch.stack(
        [torch.autograd.grad(one[rows, target].sum(), images, retain_graph=True)[0] * images.detach() for one in chosen]
    )
    assert store["attribution"] == pytest.approx(alone.mean(0).numpy(), abs=1e-5)
    assert store["deviation"] == pytest.approx(alone.std(0).numpy(), abs=1e-5)
    assert store["attribution"].shape == store["deviation"].shape


def test_refusals_of_the_mean_prediction_stand_beside_the_maps(trained: Path, maps: dict[str, Path]) -> None:
    rejection = xaicli.load_checkpoint(trained).meta.rejection
    assert rejection["detector"] == "entropy"
    for path in maps.values():
        store = xaicli.open_store(path)
        if path == maps["input-x-gradient"]:
            logs = store["prediction"].astype(np.float64)
            score = (np.exp(logs) * logs).sum(1)
            assert store["known_score"] == pytest.approx(score, abs=1e-4)
        assert np.array_equal(store["refused"], store["known_score"] < rejection["threshold"])


def test_names_tell_of_draws_that_are_not_usual_and_two_of_one_job_are_refused(
    call: Any, trained: Path, maps: dict[str, Path], here: Path
) -> None:
    assert call("explain", trained, "-m", "saliency", "--dry-run").record["path"] == "e.saliency.h5"
    assert call("explain", trained, "-m", "saliency:draws=3", "--dry-run").record["path"] == "e.saliency.h5"
    assert call("explain", trained, "-m", "saliency:draws=2", "--dry-run").record["path"].startswith("e.saliency-")
    said = call("explain", trained, "-m", "saliency:draws=3", "-m", "saliency", "--dry-run")
    assert said.code == 2 and "the same file" in said.err


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("saliency:draws=1", "draws=1 has no spread"),
        ("saliency:draws=4", "draw at most"),
        ("features:draws=3", "looks into one network"),
        ("influence:draws=2", "looks into one network"),
    ],
)
def test_draws_that_make_no_sense_are_usage_errors(
    call: Any, trained: Path, here: Path, method: str, words: str
) -> None:
    said = call("explain", trained, "-m", method, *FEW)
    assert said.code == 2 and words in said.err, said.err


def test_what_looks_into_one_network_gets_the_one_of_mean_weights(call: Any, here: Path) -> None:
    small = ("--data", "digits", "--arch", "cnn:width=4", "--epochs", "1")
    assert call("train", *small, "--recipe", "mc-dropout", "-o", "d.safetensors").code == 0
    said = call("explain", "d.safetensors", "-m", "features", "-m", "gradcam:draws=0", *FEW, "-o", "maps/")
    assert said.code == 0, said.err
    assert [record["options"]["draws"] for record in said.records] == [0, 0]
    features, cams = (xaicli.open_store(record["path"]) for record in said.records)
    plain = load_classifier("d.safetensors")
    head = find_head(plain).layer
    expected = features["features"] @ head.weight.numpy().T + head.bias.numpy()
    assert features["prediction"] == pytest.approx(expected, abs=1e-4) and "deviation" not in cams.columns


def test_several_networks_have_no_layer_in_common(call: Any, trained: Path, here: Path) -> None:
    for method in ("gradcam:draws=0", "influence"):
        said = call("explain", trained, "-m", method, *FEW)
        assert said.code == 65 and "no layer in common" in said.err


def test_an_ordinary_checkpoint_has_nothing_to_draw(call: Any, files: Any, here: Path) -> None:
    said = call("explain", files.checkpoint, "-m", "saliency:draws=2")
    assert said.code == 2 and "nothing can be drawn" in said.err
    said = call("explain", files.checkpoint, "-m", "saliency:draws=0", *FEW, "-o", "plain.h5")
    again = call("explain", files.checkpoint, "-m", "saliency", *FEW, "-o", "plain.h5")
    assert said.code == again.code == 0 and said.record == again.record and "draws" not in said.record["options"]


def test_shards_merge_to_the_bytes_of_one_process(call: Any, trained: Path, maps: dict[str, Path], here: Path) -> None:
    command = ("explain", trained, "-m", "smoothgrad:n=2", *FEW, "--block", "4", "-o", "s.h5")
    for number in (2, 1, 3):
        assert call(*command, "--shard", f"{number}/3").code == 0
    assert call("store", "merge", "s.h5").code == 0
    assert call(*command[:-1], "whole.h5").code == 0
    assert Path("s.h5").read_bytes() == Path("whole.h5").read_bytes()


def test_metrics_that_ask_again_get_the_stored_maps(
    call: Any, trained: Path, maps: dict[str, Path], here: Path
) -> None:
    chosen = ("--batch-size", "4", "-k", "sensitivity-max:radius=1e-60,draws=1")
    said = call("evaluate", trained, *maps.values(), *chosen, "-o", "z.h5")
    assert said.code == 0, said.err
    figures = [record["value"] for record in said.records if record["kind"] == "metric"]
    assert len(figures) == 7 and set(figures) == {0.0}


def test_deletion_is_of_the_predictive_probability_of_the_same_draws(
    call: Any, trained: Path, maps: dict[str, Path], here: Path
) -> None:
    """The first point of the curve is the image's own."""
    said = call(
        "evaluate", trained, maps["gradcam"], "--batch-size", "4", "-k", "irof:segments=2", "-k", "deletion:steps=1"
    )
    assert said.code == 0, said.err
    store, scores = xaicli.open_store(maps["gradcam"]), xaicli.open_store(said.records[0]["path"])
    whole = np.exp(store["prediction"].astype(np.float64)).max(1)  # of two members, as the store's options say
    ensemble = load_classifier(trained, uncertain=True)
    black = (torch.zeros(1, *ensemble.shape) - ensemble.mean) / ensemble.std
    mean = torch.stack([n(black).softmax(1) for n in list(ensemble.network.networks)[:2]]).mean(0)[0]
    expected = (whole + mean[store["target"].astype(int)].numpy()) / 2  # a trapezoid from image to black
    assert scores["sources/0/deletion"] == pytest.approx(expected, abs=1e-5)


def test_metrics_of_changed_models_are_unavailable_and_left_out_of_all(
    call: Any, trained: Path, maps: dict[str, Path], here: Path
) -> None:
    for name in ("mprt:stages=1", "emprt", "input-invariance"):
        said = call("evaluate", trained, maps["gradcam"], "-k", name)
        assert said.code == 69 and "draws" in said.err
    said = call("evaluate", trained, maps["gradcam"], "-k", "all", "--dry-run")
    assert said.code == 0, said.err


def test_forwards_of_all_networks_are_those_that_the_dry_run_shows(
    call: Any, trained: Path, maps: dict[str, Path], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    plain = Calls._asked

    def counted(self: Calls, *question: Any) -> Any:
        asked.append(question[2] * len(self.members()))
        return plain(self, *question)

    explaining = ("explain", trained, "-m", "saliency", *FEW, "-o", "s.h5")
    judging = ("evaluate", trained, maps["gradcam"], "--batch-size", "4", "-o", "e.h5")
    metrics = ("-k", "deletion:steps=4", "-k", "sensitivity-max:draws=2")
    # the mean prediction, the detector's and each network by itself; and of two networks two draws, or four steps
    for command, each in ((explaining, 3 + 3 + 3), ((*judging, *metrics), 2 * (2 + 3 * 3 + 2))):
        planned = call(*command, "--dry-run")
        assert planned.code == 0 and planned.record["forwards"] == 10 * each, planned
        with monkeypatch.context() as patch:
            patch.setattr(Calls, "_asked", counted)
            asked.clear()
            assert call(*command).code == 0
        assert sum(asked) == planned.record["forwards"]
