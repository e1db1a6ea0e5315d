"""Feature visualisation: what is driven, what of the data drives it, and whose the random numbers are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xaicli
from tests.generate.making import task_of
from tests.generate.test_class_images import data
from tests.nets import small_net, some_images
from xaicli.data.open import open_data
from xaicli.errors import InputError, UsageError
from xaicli.generate.objectives import Response
from xaicli.generate.observed import observe
from xaicli.generate.representation import Representation
from xaicli.generate.visualisation import feature_visualisation
from xaicli.run.calls import Calls

QUICK = ("--batch-size", "4", "--block", "4", "-q")


@pytest.mark.parametrize("place", ["mean", "middle"])
def test_responses_are_means_or_middles_of_channels(place: str) -> None:
    net = small_net()
    images = some_images(3, net)
    maps = net.network[:5](images)
    aim = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pooled = maps.mean((2, 3)) if place == "mean" else maps[:, :, 3, 3]
    value, logits = Response(Representation("auto"), place)(Calls(net), images, task_of(images, aim=aim))
    torch.testing.assert_close(value, (aim * pooled).sum(1))
    assert torch.equal(logits, net(images))


def test_extremes_and_directions_are_those_of_all_images() -> None:
    training, net = data(), small_net(seed=1)
    response = Response(Representation("auto"))
    calls = Calls(net, batch_size=16)
    seen = observe(training, 1000, calls, response)
    images = torch.as_tensor(training.pixels).double()
    pooled = net.network[:5](images).mean((2, 3))
    assert np.array_equal(seen.index, np.arange(40)) and calls.forwards == 0
    torch.testing.assert_close(seen.pooled, pooled)
    torch.testing.assert_close(seen.logits, net(images))
    apart = seen.means([1])[0]
    torch.testing.assert_close(apart, pooled[training.labels == 1].mean(0) - pooled.mean(0))
    values = pooled @ apart
    found = seen.extremes(values)
    order = values.argsort(descending=True)
    assert found["top"].tolist() == order[:3].tolist() and found["bottom"].tolist() == order.flip(0)[:3].tolist()
    assert found["top_value"] == pytest.approx(values[order[:3]].numpy())
    few = observe(training, 12, calls, response)
    assert set(few.index) < set(range(40)) and set(observe(training, 8, calls, None).index) < set(few.index)
    with pytest.raises(InputError, match="is of class 5"):
        seen.means([5])


def test_units_are_named_once_and_from_0_on() -> None:
    for units in ((1, 1), (-1, 2)):
        with pytest.raises(UsageError, match="names every unit once"):
            feature_visualisation(units=units)


@pytest.mark.parametrize("parameterisation", ["fourier", "maco"])
def test_an_image_is_its_own_whatever_else_is_made(call, files, here, parameterisation: str) -> None:
    method = f"feature-visualisation:parameterisation={parameterisation},steps=3,samples=40"
    for classes, each, name in (("0,1,2,3", "2", "many"), ("2", "1", "one")):
        said = call(
            "generate",
            files.checkpoint,
            "-g",
            method,
            "--classes",
            classes,
            "--per-class",
            each,
            *QUICK,
            "-o",
            f"{name}.h5",
        )
        assert said.code == 0, said.err
    many, one = xaicli.open_store("many.h5"), xaicli.open_store("one.h5")
    assert many["key"][:].tolist()[4] == one["key"][:].tolist()[0] == "2-000"
    for column in ("data", "loss", "score", "top", "bottom_value"):
        assert np.array_equal(many[column][4], one[column][0])
    assert len({image.tobytes() for image in many["data"][:]}) == 8
    assert many["target"][:].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and set(many["unit"][:]) == {2**32 - 1}


def test_channels_units_and_directions(call, files, here) -> None:
    net = xaicli.load_checkpoint(files.checkpoint)
    common = ("--per-class", "1", *QUICK, "-o")
    said = call(
        "generate", files.checkpoint, "-g", "feature-visualisation:objective=channel,units=3,1,steps=2", *common, "c.h5"
    )
    assert said.code == 0, said.err
    store = xaicli.open_store("c.h5")
    assert store["unit"][:].tolist() == [3, 1] and set(store["target"][:]) == set(store["label"][:]) == {65535}
    assert store["key"][:].tolist() == ["unit0003-000", "unit0001-000"]
    pixels = torch.as_tensor(store["data"][:] / np.float32(255))
    with torch.no_grad():
        maps = net.network[:-3]((pixels - net.mean) / net.std)  # below pooling, flattening and the last layer
    assert store["score"][:] == pytest.approx(maps.mean((2, 3))[[0, 1], [3, 1]].numpy(), rel=1e-4)
    said = call(
        "generate",
        files.checkpoint,
        "-g",
        "feature-visualisation:objective=direction,steps=2,samples=2000",
        "--classes",
        "4",
        *common,
        "d.h5",
    )
    assert said.code == 0, said.err
    store, training = xaicli.open_store("d.h5"), open_data("digits", split="train", shape=(1, 32, 32))

    def pooled(pixels: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            normal = (torch.as_tensor(pixels / np.float32(255)) - net.mean) / net.std
            return net.network[:-3](normal).double().mean((2, 3))

    known = pooled(training.read(np.arange(len(training))).pixels)
    apart = known[training.labels == 4].mean(0) - known.mean(0)
    assert store["target"][:].tolist() == [4]
    assert store["score"][:] == pytest.approx((pooled(store["data"][:]) @ apart / apart.norm()).numpy(), rel=1e-4)
    refused = {
        "objective=channel,units=900,steps=1": "there is no 900",
        "objective=unit,layer=nowhere": "no layer 'nowhere'",
    }
    for options, sentence in refused.items():
        said = call("generate", files.checkpoint, "-g", f"feature-visualisation:{options}", *common, "e.h5")
        assert said.code in (2, 65) and sentence in said.err
    said = call(
        "generate", files.checkpoint, "-g", "feature-visualisation:objective=unit", "--classes", "1", *common, "e.h5"
    )
    assert said.code == 2 and "drives units, not classes" in said.err
