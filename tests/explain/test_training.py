"""Features of the training data on the command line: bit for bit, computed once, reused, and the same for shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import xaicli
from xaicli.data.open import open_data
from xaicli.models.classifier import Classifier
from xaicli.models.head import find_head

SMALL = ("-n", "12", "--batch-size", "16", "--block", "4")


@pytest.fixture(scope="module")
def features(call, files, tmp_path_factory) -> Path:
    """The features of all training digits."""
    path = tmp_path_factory.mktemp("features") / "train.features.h5"
    said = call(
        "explain", files.checkpoint, "-m", "features", "--data", "digits:train", "--batch-size", "16", "-o", path
    )
    assert said.code == 0, said.err
    assert (said.record["kind"], said.record["rows"]) == ("features", 1437)
    return path


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every call of any classifier."""
    asked: list[int] = []
    own = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, x: (asked.append(len(x)), own(self, x))[1])
    return asked


def test_features_are_what_the_last_layer_is_given(files, features: Path) -> None:
    net = xaicli.load_checkpoint(files.checkpoint)
    store = xaicli.open_store(features)
    assert set(store.columns) == {"index", "label", "status", "key", "sample", "digest", "prediction", "features"}
    assert "target" not in store.job and "quantity" not in store.attributes
    images = open_data("digits", split="train", shape=net.shape).read(store["index"][:32]).pixels / np.float32(255)
    given: list[torch.Tensor] = []
    find_head(net).layer.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    with torch.no_grad():
        logits = torch.cat([net(torch.as_tensor(images[start : start + 16])) for start in (0, 16)])
    assert np.array_equal(store["features"][:32], torch.cat(given).numpy())
    assert np.array_equal(store["prediction"][:32], logits.numpy())


def test_stored_features_are_used_and_change_no_byte(call, files, features: Path, here: Path, forwards) -> None:
    anew = call("explain", files.checkpoint, "-m", "representer", *SMALL, "-o", "anew.h5")
    assert anew.code == 0, anew.err
    assert sum(forwards) == 90 * 16 + 3 * 16  # 1,437 training images in padded batches, and three blocks of four
    forwards.clear()
    reused = call("explain", files.checkpoint, features, "-m", "representer", *SMALL, "-o", "reused.h5")
    assert (reused.code, reused.err) == (0, "")
    assert sum(forwards) == 3 * 16
    assert Path("anew.h5").read_bytes() == Path("reused.h5").read_bytes()
    metrics = reused.record["metrics"]
    assert (
        metrics["identity_error"] < 1e-9 and 0.9 < metrics["fidelity"] <= 1 and 0.9 < metrics["fidelity_training"] <= 1
    )
    store = xaicli.open_store("reused.h5")
    a, b = ((x - x.mean(1, keepdims=True)).ravel() for x in (store["prediction"], store["refitted"]))
    assert metrics["fidelity"] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)
    assert metrics["identity_error"] == pytest.approx(store["identity_error"].max())
    training = open_data("digits", split="train")
    assert store.attributes["training"] == {"name": "digits", "split": "train", "digest": training.digest}
    assert np.array_equal(store["exciting_label"], training.labels[store["exciting"]])
    assert (store["exciting_label"] == store["target"][:, None]).mean() > 0.8


@pytest.mark.parametrize("method", ["representer:k=3", "influence:samples=8,experts=2"])
def test_shards_make_the_same_bytes(call, files, features: Path, here: Path, method: str) -> None:
    whole = call("explain", files.checkpoint, features, "-m", method, *SMALL, "-o", "whole.h5")
    for shard in ("1/3", "2/3", "3/3"):
        said = call("explain", files.checkpoint, features, "-m", method, *SMALL, "--shard", shard, "-o", "parts.h5")
        assert said.code == 0, said.err
    merged = call("store", "merge", "parts.h5")
    assert Path("whole.h5").read_bytes() == Path("parts.h5").read_bytes()
    resumed = (*SMALL, "-o", "resumed.h5")
    assert call("explain", files.checkpoint, "-m", method, *resumed, "--shard", "2/3").code == 0
    assert call("explain", files.checkpoint, "-m", method, *resumed).code == 0
    assert Path("whole.h5").read_bytes() == Path("resumed.h5").read_bytes()
    assert merged.record["metrics"] == whole.record["metrics"] and merged.record["kind"] == method.partition(":")[0]
    assert call("store", "verify", "parts.h5").code == 0


def test_other_methods_beside_it_change_no_byte(call, files, features: Path, here: Path) -> None:
    alone = call("explain", files.checkpoint, features, "-m", "representer", *SMALL, "-o", "alone.h5")
    assert alone.code == 0, alone.err
    together = ("-m", "features", "-m", "influence", "-m", "representer", "-m", "gradcam")
    said = call("explain", files.checkpoint, *together, *SMALL, "-o", "together/")
    (record,) = (record for record in said.records if record["kind"] == "representer")
    assert Path(record["path"]).read_bytes() == Path("alone.h5").read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--data", "digits:test"), "does not hold the training data of its checkpoint"),
        (("--data", "digits:train", "-n", "30"), "holds a selection of 30 training images"),
        (("--data", "digits:train", "--batch-size", "8"), "was made with --batch-size 8"),
    ],
)
def test_features_with_other_numbers_are_not_used(call, files, here: Path, options, reason: str) -> None:
    options = options if "--batch-size" in options else (*options, "--batch-size", "16")
    made = call("explain", files.checkpoint, "-m", "features", *options, "-o", "f.h5").record
    said = call("explain", files.checkpoint, "f.h5", "-m", "representer", *SMALL, "-o", "r.h5")
    assert said.code == 0 and f"'f.h5' {reason}; the training features are computed anew" in said.err
    quiet = call("explain", files.checkpoint, "f.h5", "-m", "edges", *SMALL, "-o", "e.h5")
    assert (quiet.code, quiet.err, made["kind"]) == (0, "", "features")


def test_features_bring_their_checkpoint_through_a_pipe(call, files, features: Path, here: Path) -> None:
    record = {"xaicli": 1, "kind": "features", "path": str(features), "id": xaicli.open_store(features).id}
    record["parents"] = {"checkpoint": {"id": files.records["checkpoint"]["id"], "path": str(files.checkpoint)}}
    said = call("explain", "-", "-m", "representer", *SMALL, "-o", "r.h5", stdin=json.dumps(record).encode())
    assert said.code == 0, said.err
    judged = call("evaluate", "-", stdin=said.raw)
    assert judged.code == 2
    assert "no metric judges representer; name a checkpoint or a store of images, attributions" in judged.err
    mixed = call("explain", files.checkpoint, "-m", "representer", "-m", "influence", *SMALL, "-o", "mixed/")
    judged = call("evaluate", "-", "-k", "deletion", *SMALL[2:], "-o", "s.h5", stdin=mixed.raw)
    assert judged.code == 0, judged.err
    assert {record["method"] for record in judged.records[1:]} == {"influence", "random", "edges"}


def test_maps_of_an_influence_store_guide_generation_and_open_in_virelay(call, files, here: Path) -> None:
    made = call("explain", files.checkpoint, "-m", "influence", *SMALL, "-o", "i.h5")
    assert made.code == 0, made.err
    explained = str(int(xaicli.open_store("i.h5")["target"][0]))
    guided = ("-g", "class-images:guide=mask,steps=2", "--classes", explained, "--per-class", "1", "-o", "g.h5")
    said = call("generate", "i.h5", "--parent", files.checkpoint, *guided)
    assert said.code == 0 and said.record["parents"]["attributions"]["id"] == made.record["id"], said.err
    said = call("store", "export", "virelay", "i.h5", "--parent", files.checkpoint, "-o", "project/")
    assert said.code == 0 and Path("project/project.yaml").exists(), said.err
    for form in ("csv", "npz"):
        assert call("store", "export", form, "i.h5").code == 0
    assert np.load("i.npz")["experts"].shape == (12, 5)
    assert call("store", "info", "i.h5").record["artifact"] == "influence"


def test_a_network_without_a_last_linear_layer_is_refused(call, here: Path) -> None:
    Path("net.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, num_classes, 32), nn.Flatten())\n"
    )
    assert call("train", "--data", "digits", "--arch", "net.py:net", "--epochs", "1", "-o", "m.safetensors").code == 0
    for method in ("features", "representer"):
        refused = call("explain", "m.safetensors", "-m", method, "-n", "4")
        assert refused.code == 65 and "do not come from one linear layer" in refused.err


MINE = """
from xaicli.explain.explanation import ROW, Figure, Found, stores

@stores("features", features=Figure("<f4", lambda classes: (classes,)), loudness=ROW)
def loud(prediction) -> Found:
    \"\"\"Logits as features, and the largest (Nobody, 2020).\"\"\"
    return Found({"features": prediction.logits, "loudness": prediction.logits.amax(1)})

@stores("features", features=ROW)
def silent(prediction) -> Found:
    \"\"\"Nothing (Nobody, 2020).\"\"\"
    return prediction.logits

@stores("features", loudness=ROW)
def lost(prediction) -> Found:
    \"\"\"No features (Nobody, 2020).\"\"\"

@stores("representer")
def map(image) -> Found:
    \"\"\"A map (Nobody, 2020).\"\"\"
    return image
"""


def test_methods_of_ones_own_store_what_their_kind_holds(call, files, here: Path) -> None:
    Path("mine.py").write_text(MINE)
    assert call("explain", files.checkpoint, "-m", "./mine.py:loud", *SMALL, "-o", "loud.h5").code == 0
    store = xaicli.open_store("loud.h5")
    assert store.kind == "features" and np.array_equal(store["loudness"], store["prediction"].max(1))
    for name, why in (
        ("silent", "has to return what it has Found"),
        ("lost", "does not return what"),
        ("map", "does not"),
    ):
        said = call("explain", files.checkpoint, "-m", f"./mine.py:{name}", *SMALL, "-o", "broken.h5")
        assert said.code == 70 and f"'{name}' {why}" in said.err
