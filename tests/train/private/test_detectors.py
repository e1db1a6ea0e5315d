"""The statistical tests find nothing wrong with real trainings, and find every kind of broken one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from tests.train.private.detectors import Releases, faults
from tests.train.private.runs import budget, net, trained
from tests.train.test_recipes import stripes
from xaicli.train.loop import Pixels
from xaicli.train.private import noisy
from xaicli.train.private.clipped import Clipped
from xaicli.train.private.noisy import Noisy
from xaicli.train.private.secret import Secret
from xaicli.train.state import Training

ROWS, BATCH, STEPS = 60, 12, 100
SIGMA, CLIP = 0.1, 0.3  # little noise, or faults of the gradients would drown in it
DATA = stripes(ROWS, 5)
Weights = dict[str, Tensor]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[list[int], Weights, Weights]]]:
    """Of every step: the rows whose images were read, the weights before it, and its gradient."""
    steps: list[tuple[list[int], Weights, Weights]] = []
    read: list[int] = []
    look, update = Pixels.__getitem__, Training.update

    def getitem(self: Pixels, positions: NDArray[Any]) -> NDArray[Any]:
        read.extend(positions.tolist())
        return look(self, positions)

    def note(self: Training) -> None:
        named = dict(self.classifier.named_parameters())
        weights = {name: weight.detach().clone() for name, weight in named.items()}
        steps.append((list(read), weights, {name: weight.grad.clone() for name, weight in named.items()}))
        read.clear()
        update(self)

    with monkeypatch.context() as patch:
        patch.setattr(Pixels, "__getitem__", getitem)
        patch.setattr(Training, "update", note)
        yield steps


def releases(monkeypatch: pytest.MonkeyPatch, batch: int = BATCH) -> Releases:
    """Train, and take from every step's gradient what its rows explain; the rest should be the noise."""
    with watched(monkeypatch) as steps:
        planned = budget(ROWS, batch, STEPS, noise_multiplier=SIGMA, max_grad_norm=CLIP)
        trained("momentum=0,lr=0.2", planned, rows=DATA, physical=7)
    assert len(steps) == STEPS
    classifier = net()

    def loss(weights: Weights, image: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(classifier, weights, (image[None],)), label[None])

    rest: dict[str, list[Tensor]] = {}
    for rows, weights, gradient in steps:
        images, labels = torch.as_tensor(DATA.pixels[rows]).double(), torch.as_tensor(DATA.labels[rows])
        each = vmap(grad(loss), (None, 0, 0))(weights, images, labels) if rows else {}
        norms = torch.stack([part.flatten(1).norm(dim=1) for part in each.values()]).norm(dim=0) if rows else None
        for name, value in gradient.items():
            total = torch.einsum("n,n...->...", (CLIP / norms).clamp(max=1), each[name]) if rows else 0.0
            rest.setdefault(name, []).append(((batch * value - total) / (SIGMA * CLIP)).flatten())
    noise = {name: torch.stack(parts).numpy() for name, parts in rest.items()}
    return Releases(ROWS, batch / ROWS, [np.array(rows, dtype=np.int64) for rows, _, _ in steps], noise)


def test_a_real_training_has_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(releases(monkeypatch)) == set()


def test_nor_has_one_with_batches_of_two_that_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    found = releases(monkeypatch, batch=2)
    assert faults(found) == set() and min(map(len, found.rows)) == 0


def no_noise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Secret, "normal", lambda self, step, name, like: torch.zeros_like(like))


def noise_without_the_bound(patch: pytest.MonkeyPatch) -> None:
    normal = Secret.normal
    patch.setattr(Secret, "normal", lambda self, step, name, like: normal(self, step, name, like) / CLIP)


def uniform_noise(patch: pytest.MonkeyPatch) -> None:
    """Of the right deviation."""
    normal = Secret.normal
    to_uniform = lambda z: (torch.special.ndtr(z) - 0.5) * 12**0.5  # noqa: E731
    patch.setattr(Secret, "normal", lambda self, step, name, like: to_uniform(normal(self, step, name, like)))


def the_same_noise_after_a_resume(patch: pytest.MonkeyPatch) -> None:
    normal = Secret.normal
    patch.setattr(Secret, "normal", lambda self, step, name, like: normal(self, step % (STEPS // 2), name, like))


def the_same_noise_in_all_parameters(patch: pytest.MonkeyPatch) -> None:
    normal = Secret.normal
    patch.setattr(Secret, "normal", lambda self, step, name, like: normal(self, step, "", like))


def shuffled_batches(patch: pytest.MonkeyPatch) -> None:
    def rows(self: Secret, step: int, total: int, rate: float) -> NDArray[np.int64]:
        epoch, place = divmod(step, round(1 / rate))
        order = np.random.default_rng(epoch).permutation(total)
        return np.sort(np.array_split(order, round(1 / rate))[place])

    patch.setattr(Secret, "rows", rows)


def batches_of_fixed_size(patch: pytest.MonkeyPatch) -> None:
    def rows(self: Secret, step: int, total: int, rate: float) -> NDArray[np.int64]:
        return np.sort(np.random.default_rng(step).permutation(total)[: round(rate * total)])

    patch.setattr(Secret, "rows", rows)


def every_row_twice_in_a_batch(patch: pytest.MonkeyPatch) -> None:
    rows = Secret.rows
    patch.setattr(Secret, "rows", lambda self, *which: np.repeat(rows(self, *which), 2))


def every_batch_in_two_steps(patch: pytest.MonkeyPatch) -> None:
    rows = Secret.rows
    patch.setattr(Secret, "rows", lambda self, step, *which: rows(self, step // 2, *which))


def gradients_added_twice(patch: pytest.MonkeyPatch) -> None:
    add = Clipped.add

    def twice(self: Clipped, losses: Tensor) -> Tensor:
        before = {weight: weight.grad.clone() if weight.grad is not None else 0 for weight in self.model.parameters()}
        norms = add(self, losses)
        for weight, held in before.items():
            weight.grad = 2 * weight.grad - held
        return norms

    patch.setattr(Clipped, "add", twice)


def nothing_clipped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(noisy, "Clipped", lambda classifier, bound, copies: Clipped(classifier, 1e9, copies))


def divided_by_the_actual_size(patch: pytest.MonkeyPatch) -> None:
    """As if the expected number of rows were whatever had been drawn."""
    finish, add = Noisy.finish, Noisy.add
    drawn = []

    def count(self: Noisy, loss: Tensor, share: float) -> float:
        drawn.append(len(loss))
        return add(self, loss, share)

    def divide(self: Noisy, step: int) -> None:
        finish(self, step)
        for weight in self.model.parameters():
            weight.grad *= BATCH / max(sum(drawn), 1)
        drawn.clear()

    patch.setattr(Noisy, "add", count)
    patch.setattr(Noisy, "finish", divide)


def the_rate_of_whole_batches(patch: pytest.MonkeyPatch) -> None:
    """60 rows in batches of 25 are 2.4, which a loader rounds."""
    rows = Secret.rows
    patch.setattr(Secret, "rows", lambda self, step, total, rate: rows(self, step, total, 1 / round(1 / rate)))


@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        (no_noise, {"noise_scale", "noise_shape"}),
        (noise_without_the_bound, {"noise_scale", "noise_shape"}),
        (uniform_noise, {"noise_shape"}),
        (the_same_noise_after_a_resume, {"noise_of_steps_apart"}),
        (the_same_noise_in_all_parameters, {"noise_of_parameters_apart"}),
        (shuffled_batches, {"batch_sizes", "row_counts"}),
        (batches_of_fixed_size, {"batch_sizes"}),
        (every_row_twice_in_a_batch, {"once", "mean_rate"}),
        (every_batch_in_two_steps, {"steps_apart"}),
        (gradients_added_twice, {"noise_scale", "noise_shape"}),
        (nothing_clipped, {"noise_scale", "noise_shape"}),
        (divided_by_the_actual_size, {"noise_scale"}),
    ],
)
def test_a_broken_training_is_caught(
    breaks: Callable[[pytest.MonkeyPatch], None], found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    assert faults(releases(monkeypatch)) >= found


def test_a_rounded_rate_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    the_rate_of_whole_batches(monkeypatch)
    assert faults(releases(monkeypatch, batch=25)) >= {"mean_rate"}
