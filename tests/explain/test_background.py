"""Background images: which training rows they are, read once a run, and the same for every block and shard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import xaicli
from tests.nets import explain_answers, maps_of, small_net, some_images
from xaicli.data.dataset import Images
from xaicli.data.open import open_data
from xaicli.errors import InputError
from xaicli.explain.background import Background, draw_images
from xaicli.files.checkpoint import read_checkpoint, write_checkpoint
from xaicli.run.calls import Calls


def test_the_images_are_a_fixed_choice_of_the_training_split() -> None:
    training = open_data("digits", split="train")
    few, many = draw_images(training, 10), draw_images(training, 40)
    assert np.array_equal(few, many[:10]) and few.dtype == np.float32 and 0 <= few.min() < few.max() <= 1
    every = training.read(np.arange(len(training))).pixels.reshape(len(training), -1) / np.float32(255)
    rows = [np.flatnonzero((every == image.ravel()).all(1))[0] for image in many]
    assert len(set(rows)) == 40 and rows != sorted(rows)
    assert len(draw_images(training, 10**6)) == len(training)


def test_images_that_cannot_be_read_are_passed_over() -> None:
    training = open_data("digits", split="train")
    whole = draw_images(training, 12)

    def damaged(broken):
        def read(positions):
            images = training.read(positions)
            lost = np.array([broken(image) for image in images.pixels])
            return Images(np.where(lost[:, None, None, None], 0, images.pixels), images.readable & ~lost)

        return read

    some, lost = replace(training), [(255 * whole[row]).round() for row in (0, 5)]
    object.__setattr__(some, "read", damaged(lambda image: any(np.array_equal(image, one) for one in lost)))
    assert np.array_equal(draw_images(some, 8), whole[[1, 2, 3, 4, 6, 7, 8, 9]])
    object.__setattr__(some, "read", damaged(lambda image: True))
    with pytest.raises(InputError, match="no readable image"):
        draw_images(some, 5)


def test_images_and_logits_are_asked_for_once() -> None:
    net = small_net()
    asked = []
    background = Background(lambda count: (asked.append(count), some_images(count, net))[1])
    calls = Calls(net, batch_size=4)
    logits = background.logits(6, calls)
    assert background.logits(6, calls) is logits and background(6) is background(6) and asked == [6]
    torch.testing.assert_close(logits, net(background(6)), rtol=0, atol=1e-12)
    assert calls.forwards == 0


@pytest.mark.parametrize("method", ["expected-gradients:samples=6", "ig:baseline=data,steps=6"])
def test_explain_finds_the_training_data_of_the_checkpoint(call, files, here: Path, method: str) -> None:
    small = ("-n", "12", "--batch-size", "4", "--block", "4")
    whole = call("explain", files.checkpoint, "-m", method, *small, "-o", here / "whole.h5")
    assert whole.code == 0, whole.err
    for shard in ("1/2", "2/2"):
        part = call("explain", files.checkpoint, "-m", method, *small, "--shard", shard, "-o", here / "parts.h5")
        assert part.code == 0, part.err
    assert call("store", "merge", here / "parts.h5").code == 0
    assert (here / "whole.h5").read_bytes() == (here / "parts.h5").read_bytes()
    net = xaicli.load_checkpoint(files.checkpoint)
    training = open_data("digits", split="train", shape=net.shape)
    store = xaicli.open_store(here / "whole.h5")
    images = torch.as_tensor(open_data("digits", split="test", shape=net.shape).read(store["index"]).pixels) / 255
    answers = explain_answers(net, images, index=store["index"].tolist())
    background = Background(lambda count: torch.as_tensor(draw_images(training, count)))
    object.__setattr__(answers.ask("block", {}), "background", background)
    assert torch.allclose(torch.as_tensor(store["attribution"]), maps_of(method, answers), rtol=0, atol=1e-5)


def test_a_checkpoint_of_unknown_data_says_what_to_do(call, files, here: Path) -> None:
    known = read_checkpoint(files.checkpoint)
    write_checkpoint(here / "unknown.safetensors", known.tensors, replace(known.meta, data=None))
    for method in ("expected-gradients", "ig:baseline=data"):
        said = call("explain", here / "unknown.safetensors", "--data", "digits", "-n", "4", "-m", method)
        assert said.code == 2 and "does not say what data" in said.err
