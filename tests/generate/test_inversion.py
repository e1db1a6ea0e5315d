"""Inversions of linear maps, of layers, and as a command."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import xaicli
from tests.generate.making import made
from tests.nets import classify, small_net, some_images
from xaicli.data.open import open_data
from xaicli.errors import InputError
from xaicli.generate.inversion import inversion
from xaicli.generate.representation import Representation
from xaicli.models.ensemble import Ensemble
from xaicli.run.calls import Calls
from xaicli.run.random import Stream, generator


def test_the_inversion_of_a_linear_map_recovers_the_image() -> None:
    body, head = nn.Linear(16, 16, bias=False), nn.Linear(16, 3)
    net = classify(nn.Sequential(nn.Flatten(), body, head), (1, 4, 4), 3)
    turns, _ = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    body.weight.data.copy_(turns * torch.linspace(1, 3, 16, dtype=torch.float64))
    images = some_images(5, net)
    aim = Representation("features").flat(Calls(net, batch_size=2), images)
    assert torch.allclose(aim, body(images.flatten(1)))
    start = torch.full_like(images, 0.5)
    done = made(inversion(step=0.1, steps=600).plan(4), net, start, aim=aim, batch_size=2)
    assert (done.images - images).abs().max() < 1.5 / 255  # of 256 levels
    exact = (body(done.images.flatten(1)) - aim).norm(dim=1) / aim.norm(dim=1)
    torch.testing.assert_close(-done.score, exact)
    assert (exact < 0.01).all()
    torch.testing.assert_close(done.loss[:, 0], (body(start.flatten(1)) - aim).norm(dim=1) / aim.norm(dim=1))


@pytest.mark.parametrize("layer", ["features", "auto", "0"])
def test_representations_are_those_of_the_layer(layer: str) -> None:
    net = small_net()
    images = some_images(5, net)
    upto = {"features": 7, "auto": 5, "0": 1}[layer]  # the modules below
    exact = net.network[:upto](images)
    assert torch.allclose(Representation(layer).flat(Calls(net, batch_size=2), images), exact.flatten(1))
    logits, maps = Representation(layer).of(Calls(net), images.requires_grad_())
    assert torch.equal(logits, net(images)) and maps.shape[:2] == exact.shape[:2]
    (gradient,) = torch.autograd.grad((maps**2).sum(), images)
    (known,) = torch.autograd.grad((net.network[:upto](images) ** 2).sum(), images)
    torch.testing.assert_close(gradient, known)
    assert Representation(layer).width(Calls(net)) == exact.shape[1]


def test_a_representation_of_zeros_has_no_relative_distance() -> None:
    net = small_net()
    start = some_images(2, net)
    aim = torch.stack([torch.zeros(16), torch.ones(16)]).double()
    done = made(inversion(steps=2).plan(6), net, start, aim=aim)
    assert done.score.isfinite().tolist() == [False, True]


def test_an_ensemble_has_no_layer_of_its_own() -> None:
    net = small_net()
    with pytest.raises(InputError, match="an ensemble has no layer of its own"):
        Representation("auto").width(Calls(net.around(Ensemble([net.network, net.network]))))


def test_test_images_are_inverted_from_noise_or_training_images(call, files, here) -> None:
    common = ("generate", files.checkpoint, "-g")
    rows = ("--classes", "2,7", "--per-class", "2", "--batch-size", "4", "--seed", "3")
    for name, options in (("noise", "steps=2"), ("others", "steps=2,start=images")):
        said = call(*common, f"inversion:{options}", *rows, "-o", f"{name}.h5")
        assert said.code == 0, said.err
    data = open_data("digits", split="test", shape=(1, 32, 32))
    net = xaicli.load_checkpoint(files.checkpoint)
    noise, others = xaicli.open_store("noise.h5"), xaicli.open_store("others.h5")
    index, label = noise["index"][:].astype(int), noise["label"][:]
    assert sorted(label.tolist()) == [2, 2, 7, 7] and np.array_equal(data.labels[index], label)
    assert noise.job["parents"]["data"]["split"] == "test" and set(noise["target"][:]) == {65535}
    images = torch.as_tensor(data.read(index).pixels / np.float32(255))

    def relative(pixels: torch.Tensor) -> torch.Tensor:
        """The distance of the last layer's inputs, asked in another way."""
        with torch.no_grad():
            found, aim = (net.network[:-1]((x - net.mean) / net.std) for x in (pixels, images))
        return (found - aim).norm(dim=1) / aim.norm(dim=1)

    for store in (noise, others):
        assert store["score"][:] == pytest.approx(
            relative(torch.as_tensor(store["data"][:] / np.float32(255))), rel=1e-4
        )
        last = store["loss"][:][np.arange(4), store["steps"][:]]
        assert np.array_equal(last, store["score"][:])
    draws = Stream(3, "inversion:noise", tuple(index)).uniform((1, 32, 32))
    begun = torch.as_tensor(np.float32(0.5) + np.float32(0.1) * (2 * draws - 1))
    assert noise["loss"][:, 0] == pytest.approx(relative(begun), rel=1e-4) and set(noise["start"][:]) == {-1}
    training = open_data("digits", split="train", shape=(1, 32, 32))
    drawn = [int(generator(3, "inversion:start", int(row)).integers(len(training))) for row in index]
    assert others["start"][:].tolist() == drawn
    begun = torch.as_tensor(training.read(drawn).pixels / np.float32(255))
    assert others["loss"][:, 0] == pytest.approx(relative(begun), rel=1e-4)


def test_images_of_a_store_are_inverted(call, files, here) -> None:
    said = call("generate", files.checkpoint, files.images, "-g", "inversion:steps=1", "-n", "3", "-o", "x.h5")
    assert said.code == 0, said.err
    assert said.record["parents"]["images"]["id"] == files.records["images"]["id"] and said.record["rows"] == 3
    said = call("generate", files.checkpoint, "-g", "inversion:layer=nowhere", "-n", "3", "-o", "y.h5")
    assert said.code == 65 and "no layer 'nowhere'" in said.err
