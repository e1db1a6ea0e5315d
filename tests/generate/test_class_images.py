"""Class images: where they begin, how they move, and what guides them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.generate.making import made
from tests.nets import linear, small_net, some_images
from xaicli.data.dataset import Dataset, Images
from xaicli.errors import InputError
from xaicli.generate.class_images import class_images
from xaicli.generate.starts import block_average, gaussian_draw, given_draw, make_starts, noise_draw
from xaicli.run.random import Stream, generator


@dataclass(frozen=True, eq=False, kw_only=True)
class Plain(Dataset):
    pixels: np.ndarray

    def read(self, positions) -> Images:
        return Images(self.pixels[positions], np.ones(len(positions), dtype=bool))


def data(count: int = 40, side: int = 6) -> Plain:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = (0.3 + 0.4 * labels[:, None, None, None] + 0.1 * rng.standard_normal((count, 2, side, side))).clip(0, 1)
    about = {"channels": 2, "height": side, "width": side, "classes": ("a", "b"), "digest": "1" * 64}
    return Plain(
        name="p", split="train", labels=labels, index=np.arange(count), pixels=pixels.astype(np.float32), **about
    )


def test_on_a_linear_model_every_step_goes_along_the_weights() -> None:
    w = torch.randn(2, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = linear(w)
    start = torch.full((2, 1, 5, 5), 0.5, dtype=torch.float64)
    target = torch.tensor([0, 1])
    done = made(class_images(steps=3, step=0.05, eps=1.0), net, start, target, batch_size=4)
    unit = w[target] / w[target].flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    exact = start + 0.15 * unit
    assert torch.equal(done.images, (exact * 255).round() / 255)
    logit = (w[target] * start).sum((1, 2, 3))
    norms = w[target].flatten(1).norm(dim=1)
    for step in range(3):
        torch.testing.assert_close(done.loss[:, step], -(logit + 0.05 * step * norms), rtol=0, atol=1e-12)
    torch.testing.assert_close(done.loss[:, 3], -done.score, rtol=0, atol=0)
    torch.testing.assert_close(done.logits, net(done.images), rtol=0, atol=1e-12)
    torch.testing.assert_close(done.score, done.logits.gather(1, target[:, None]).squeeze(1), rtol=0, atol=0)
    held = made(class_images(steps=9, step=0.05, eps=0.1), net, start, target, batch_size=4)
    assert torch.equal(held.images, ((start + 0.1 * unit) * 255).round() / 255)  # the ball holds


def test_only_guided_pixels_move_and_in_proportion() -> None:
    w = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    start = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    guide = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    guide[0, 0, 1, 1:3] = torch.tensor([1.0, 0.5], dtype=torch.float64)
    ascent = class_images(steps=1, step=0.3, eps=1.0)
    done = made(ascent, linear(w), start, torch.tensor([1]), guide, batch_size=2)
    push = w[1] * guide[0]
    assert torch.equal(done.images[0], ((start[0] + 0.3 * push / push.norm()) * 255).round() / 255)
    nothing = made(ascent, linear(w), start, torch.tensor([1]), guide * 0, batch_size=2)
    assert torch.equal(nothing.images, (start * 255).round() / 255)


def test_cross_entropy_objective_and_defaults_by_size() -> None:
    net = small_net()
    start, target = some_images(3, net), torch.tensor([2, 0, 1])
    done = made(class_images(steps=4, objective="cross-entropy"), net, start, target)
    torch.testing.assert_close(
        done.score, -cross_entropy(net(done.images), target, reduction="none"), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(done.loss[:, 0], cross_entropy(net(start), target, reduction="none"), rtol=0, atol=1e-12)
    assert (done.score > -done.loss[:, 0]).all()
    ascent = class_images()
    assert (ascent.steps, ascent.stride(32), ascent.radius(32)) == (60, 0.5, 30)
    assert (ascent.stride(128), ascent.radius(128)) == (pytest.approx(1), pytest.approx(40, abs=0.01))


def test_neighbours_do_not_change_a_bit_and_batch_size_none_to_1e_9() -> None:
    net = small_net()
    start, target = some_images(7, net), torch.arange(7) % 3
    ascent = class_images(steps=5, step=0.2)
    whole = made(ascent, net, start, target, batch_size=4)
    rows = [5, 0, 3]
    part = made(ascent, net, start[rows], target[rows], batch_size=4)
    for name in ("images", "logits", "score", "loss"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[rows])
    for size in (1, 3, 32):
        other = made(ascent, net, start, target, batch_size=size)
        torch.testing.assert_close(other.loss[:, :-1], whole.loss[:, :-1], rtol=0, atol=1e-9)


def test_gaussian_starts_have_the_mean_and_covariance_of_the_class() -> None:
    training = data()
    draw = gaussian_draw(training, [0, 1], seed=3)
    for label in (0, 1):
        pooled = block_average(training.pixels[training.labels == label].astype(np.float64)).reshape(20, -1)
        mean, deviations = pooled.mean(0), (pooled - pooled.mean(0)) / np.sqrt(19)
        assert deviations.T @ deviations == pytest.approx(np.cov(pooled, rowvar=False), abs=1e-15)
        rng = generator(3, f"class-images:gaussian:{label}", 5)
        small = mean + rng.standard_normal(20) @ deviations + 0.01 * rng.standard_normal(8)
        whole = small.reshape(2, 2, 2).repeat(4, 1).repeat(4, 2)[:, :6, :6].clip(0, 1)
        assert draw(label, 5) == pytest.approx(whole, abs=1e-7)
    drawn = np.stack([draw(1, row)[:, ::4, ::4].ravel() for row in range(3000)])
    pooled = block_average(training.pixels[training.labels == 1].astype(np.float64)).reshape(20, -1)
    cov = np.cov(pooled, rowvar=False) + 1e-4 * np.eye(8)
    assert np.abs(drawn.mean(0) - pooled.mean(0)).max() < 4 * np.sqrt(cov.max() / 3000)
    assert np.abs(np.cov(drawn, rowvar=False) - cov).max() < 0.1 * cov.max()
    with pytest.raises(InputError, match="fewer than two training images"):
        gaussian_draw(data(3), [1], seed=0)


def test_block_averages_repeat_the_edge_of_a_block_that_is_not_full() -> None:
    image = np.arange(36.0).reshape(1, 1, 6, 6)
    found = block_average(image)[0, 0]
    grown = image[0, 0][np.ix_([0, 1, 2, 3, 4, 5, 5, 5], [0, 1, 2, 3, 4, 5, 5, 5])]
    assert found.tolist() == [[grown[r : r + 4, c : c + 4].mean() for c in (0, 4)] for r in (0, 4)]


def test_noise_and_given_starts() -> None:
    assert np.array_equal(noise_draw((2, 6, 6), 9, "s")(1, 4), Stream(9, "s:1", (4,)).uniform((2, 6, 6))[0])
    images = data(5)
    draw = given_draw(images, 3)
    starts = make_starts(
        draw,
        name="x",
        digest="",
        classes=("a", "b"),
        driven=[1, 0],
        each=3,
        shape=(2, 6, 6),
        begun=images.index[:3] + 10,
    )
    assert starts.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert [starts.key(k) for k in (0, 2, 3)] == ["b-000", "b-002", "a-000"]
    assert starts.origin.tolist() == [10, 11, 12, 10, 11, 12]
    assert np.array_equal(starts.read([1, 4]).pixels, images.pixels[[1, 1]])
    free = make_starts(
        noise_draw((2, 6, 6), 0, "s"), name="n", digest="", classes=("a", "b"), driven=[0], each=2, shape=(2, 6, 6)
    )
    assert free.origin.tolist() == [-1, -1]
    with pytest.raises(InputError, match="has 5 rows"):
        given_draw(images, 6)
