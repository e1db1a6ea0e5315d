"""The command: guides through the pipe, several checkpoints from the same starts, pictures, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import xaicli
from xaicli.data.open import open_data
from xaicli.errors import InputError
from xaicli.files.columns import Status
from xaicli.files.store import open_store
from xaicli.generate.guide import class_experts
from xaicli.generate.starts import noise_draw

QUICK = ("--per-class", "2", "--classes", "3,8", "--batch-size", "4", "-q")


@pytest.fixture(scope="module")
def second(call, tmp_path_factory) -> Path:
    """Another model of the same data."""
    path = tmp_path_factory.mktemp("second") / "second.safetensors"
    said = call("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "1", "--seed", "1", "-o", path, "-q")
    assert said.code == 0, said.err
    return path


@pytest.fixture
def explained(call, files, here):
    """The influence of three images of each class, for their true class, in i.h5."""
    rows = ("--target", "label", "--per-class", "3", "-q")
    said = call("explain", files.checkpoint, "-m", "influence:samples=5,experts=3", *rows, "-o", "i.h5")
    assert said.code == 0, said.err
    return said


@pytest.mark.parametrize("guide", ["mask", "experts"])
def test_explanations_guide_images_through_the_pipe(guide: str, call, files, explained) -> None:
    options = "steps=3,start=noise"
    piped = ("generate", "-", "-g", f"class-images:guide={guide},{options}", *QUICK, "-o", "g.h5")
    said = call(*piped, stdin=explained.raw)
    assert said.code == 0, said.err
    assert said.record["parents"]["attributions"]["id"] == explained.record["id"]
    plain = call("generate", files.checkpoint, "-g", f"class-images:{options}", *QUICK, "-o", "p.h5")
    assert plain.code == 0, plain.err
    guided, free = xaicli.open_store("g.h5"), xaicli.open_store("p.h5")
    assert np.array_equal(guided["sample"][:], free["sample"][:])  # the same starts
    assert not np.array_equal(guided["data"][:], free["data"][:])
    if guide == "experts":
        return
    with open_store(Path("i.h5")) as store:
        maps, target = store.column("attribution").sum(1), store.column("target")
    draw = noise_draw((1, 32, 32), 0, "class-images:noise")
    for row, label in enumerate(guided["target"][:]):
        begun = np.round(draw(int(label), row % 2)[0] * 255)
        shut = maps[target == label].mean(0) <= 0
        assert np.array_equal(guided["data"][row, 0][shut], begun[shut])
        assert not np.array_equal(free["data"][row, 0][shut], begun[shut])


@pytest.mark.usefixtures("explained")
def test_experts_are_the_units_of_largest_mean_influence() -> None:
    with open_store(Path("i.h5")) as store:
        influence, target = store.column("influence").astype(float), store.column("target")
        assert (store.column("status") == Status.OK).all()
        found = class_experts(store, [3, 8], influence.shape[1])
        for label, weights in found.items():
            mean = influence[target == label].mean(0)
            experts = np.argsort(-mean)[:3]
            exact = np.zeros_like(mean)
            exact[experts] = np.maximum(mean[experts], 0) / np.maximum(mean[experts], 0).sum()
            assert weights == pytest.approx(exact)
        with pytest.raises(InputError, match="but the layer has 5"):
            class_experts(store, [3], 5)


@pytest.mark.parametrize(
    "method",
    ["class-images:steps=2", "feature-visualisation:steps=2,samples=20", "inversion:steps=2", "counterfactual:steps=3"],
)
def test_several_checkpoints_begin_at_the_same_starts_and_share_a_sheet(method: str, call, files, here, second) -> None:
    said = call("generate", files.checkpoint, second, "-g", method, *QUICK, "--png", "-o", "out/")
    assert said.code == 0, said.err
    first, other = (xaicli.open_store(record["path"]) for record in said.records)
    for column in ("sample", "key", "index"):
        assert np.array_equal(first[column][:], other[column][:])
    assert not np.array_equal(first["data"][:], other["data"][:])
    name = method.partition(":")[0]
    pictures = {path.name for path in Path("out").glob("*.png")}
    assert pictures == {f"{name}.png", *(Path(record["path"]).with_suffix(".png").name for record in said.records)}
    sizes = []
    for path in (Path(said.records[0]["path"]).with_suffix(".png"), Path("out") / f"{name}.png"):
        with Image.open(path) as picture:
            sizes.append(picture.size)
    alone, both = sizes
    assert both[0] > alone[0] if name in ("class-images", "feature-visualisation") else both[1] > alone[1]
    page = call("report", *(record["path"] for record in said.records), *(files.checkpoint, second), "-o", "page.html")
    assert page.code == 0 and Path("page.html").read_text().count("<img") >= 2


@pytest.mark.parametrize(
    "method", ["feature-visualisation:steps=2,samples=20", "inversion:steps=2", "counterfactual:steps=3"]
)
def test_shards_merge_to_the_bytes_of_one_process(method: str, call, files, here) -> None:
    command = ("generate", files.checkpoint, "-g", method, *QUICK, "--block", "1")
    assert call(*command, "-o", "whole.h5").code == 0
    for shard in ("2/2", "1/2"):
        assert call(*command, "-o", "parts.h5", "--shard", shard).code == 0
    merged = call("store", "merge", "parts.h5")
    assert merged.code == 0 and Path("parts.h5").read_bytes() == Path("whole.h5").read_bytes()


def test_counterfactuals_say_what_they_reached(call, files, here) -> None:
    said = call("generate", files.checkpoint, "-g", "counterfactual:target=1,confidence=0.5", *QUICK, "-o", "c.h5")
    assert said.code == 0, said.err
    store, net = xaicli.open_store("c.h5"), xaicli.load_checkpoint(files.checkpoint)
    images = open_data("digits", split="test", shape=(1, 32, 32)).read(
        store["index"][:].astype(int)
    ).pixels / np.float32(255)
    distance = np.sqrt(((store["data"][:] - images) ** 2).sum((1, 2, 3)))
    assert store["distance"][:] == pytest.approx(distance, rel=1e-4)
    with torch.no_grad():
        chance = net(torch.as_tensor(store["data"][:])).softmax(1)[:, 1].numpy()
    assert store["score"][:] == pytest.approx(chance, rel=1e-3)
    assert store["success"][:].all() and (chance >= 0.5 - 1e-6).all() and set(store["target"][:]) == {1}
    assert said.record["metrics"]["success_rate"] == 1.0
    assert said.record["metrics"]["median_distance"] == pytest.approx(np.median(distance), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("class-images:guide=experts", "is guided by attributions; give an attributions store"),
        ("class-images:start=images", "starts from images; give an images store"),
        ("counterfactual:target=1,2", "names two classes"),
        ("counterfactual:target=predicted", "is what the model says already"),
        ("counterfactual:target=eleven", "is no class of this checkpoint"),
        ("counterfactual:confidence=0.2", "take one from 0.5 to below 1"),
        ("feature-visualisation:units=1,1", "names every unit once"),
        ("inversion:start=gaussian", "expected one of noise, images"),
    ],
)
def test_what_cannot_be_made_is_said_at_once(options: str, sentence: str, call, files, here) -> None:
    said = call("generate", files.checkpoint, "-g", options, "-o", "x.h5")
    assert said.code == 2 and sentence in said.err and not list(here.iterdir())


@pytest.mark.usefixtures("explained")
def test_experts_belong_to_the_checkpoint_that_was_explained(call, files, second) -> None:
    said = call("generate", second, "i.h5", "-g", "class-images:guide=experts", *QUICK)
    assert said.code == 2 and "are units of another checkpoint; explain 'second.safetensors' itself" in said.err
    said = call("generate", files.checkpoint, files.maps, "-g", "class-images:guide=experts", *QUICK)
    assert said.code == 2 and "give a store of `explain -m influence`" in said.err


def test_of_an_uncertain_model_the_mean_prediction_is_driven_and_one_network_looked_into(call, here) -> None:
    recipe = ("--data", "digits", "--arch", "cnn:width=4", "--recipe", "mc-dropout", "--epochs", "1", "-q")
    assert call("train", *recipe, "-o", "m.safetensors").code == 0
    for method, draws in (("class-images:steps=1", 20), ("inversion:steps=1", 0)):
        said = call("generate", "m.safetensors", "-g", method, *QUICK, "-o", "x.h5", "--force")
        assert said.code == 0, said.err
        store = xaicli.open_store("x.h5")
        assert store.job["draws"] == draws
        total = np.exp(store["prediction"][:].astype(float)).sum(1)
        assert (np.abs(total - 1) < 1e-5).all() == (draws > 0)  # log probabilities of the mean, or logits
