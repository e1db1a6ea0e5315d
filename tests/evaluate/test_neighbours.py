"""Class consistency: the nearest training rows by brute force, whatever the pieces and the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from tests.conftest import Files, run_here
from tests.evaluate.questions import answers_of, ask
from tests.nets import linear, small_net, some_images
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.neighbours import Piece, TrainingRows, nearest
from xaicli.files.checkpoint import read_meta, write_checkpoint
from xaicli.files.store import open_store
from xaicli.models.load import load_classifier
from xaicli.models.state import state_arrays
from xaicli.run.calls import Calls
from xaicli.run.features import Training

NET = small_net(5)
TRAIN = some_images(80, NET, seed=3)
CLASSES = torch.arange(80) * 7 % 3
NUMBERS = 1000 + torch.arange(80)
IMAGES = some_images(6, NET)
LABELS = torch.tensor([0, 1, 2, 0, 65535, 1])


def rows_of(size: int = 80, *, numbered: bool = False) -> TrainingRows:
    def pieces() -> Iterator[Piece]:
        for parts in zip(NUMBERS.split(size), CLASSES.split(size), TRAIN.split(size), strict=True):
            yield Piece(*parts)

    @cache
    def features(calls: Calls) -> Training:
        return Training(NUMBERS, CLASSES, *calls.apart().features(TRAIN))

    return TrainingRows(pieces, features, numbered)


def share(image: np.ndarray, rows: np.ndarray, label: int, count: int, leave: int | None = None) -> float:
    cosine = rows @ image / (np.linalg.norm(rows, axis=1) * np.linalg.norm(image))
    order = [row for row in np.argsort(-cosine) if row != leave][:count]
    return float(np.mean([CLASSES[row] == label for row in order]))


def flat(images: Tensor) -> np.ndarray:
    return images.flatten(1).numpy()


@pytest.mark.parametrize("count", [1, 10, 79])
def test_against_brute_force_in_both_spaces(count: int) -> None:
    answers = answers_of(NET, IMAGES, labels=LABELS, training=rows_of(30))
    found = ask(f"class-consistency:neighbours={count}", answers)
    for name, see in (
        ("class-consistency-input", flat),
        ("class-consistency", lambda images: Calls(NET).features(images)[1].numpy()),
    ):
        seen, rows = see(IMAGES), see(TRAIN)
        expected = [share(one, rows, int(label), count) for one, label in zip(seen, LABELS, strict=True)]
        expected[4] = np.nan  # no true class
        assert found[name] == pytest.approx(expected, nan_ok=True)
    assert answers.ask("subject", {}).calls.forwards == 6  # the training rows are asked apart


def test_pieces_batches_and_neighbours_do_not_matter() -> None:
    whole = ask("class-consistency", answers_of(NET, IMAGES, labels=LABELS, training=rows_of()))
    for size, batch in [(7, 4), (80, 1), (33, 32)]:
        other = ask(
            "class-consistency", answers_of(NET, IMAGES, labels=LABELS, training=rows_of(size), batch_size=batch)
        )
        assert all(np.array_equal(whole[name], other[name], equal_nan=True) for name in whole)
    for row in range(6):
        one = answers_of(NET, IMAGES[row : row + 1], labels=LABELS[row : row + 1], training=rows_of())
        for name, figure in ask("class-consistency", one).items():
            assert np.array_equal(whole[name][row : row + 1], figure, equal_nan=True)


def test_a_training_row_is_not_its_own_neighbour() -> None:
    found = ask(
        "class-consistency:neighbours=1",
        answers_of(NET, TRAIN[:5], labels=CLASSES[:5], index=NUMBERS[:5].tolist(), training=rows_of(numbered=True)),
    )
    expected = [share(flat(TRAIN)[row], flat(TRAIN), int(CLASSES[row]), 1, leave=row) for row in range(5)]
    assert found["class-consistency-input"].tolist() == expected and sum(expected) < 5
    own = ask("class-consistency:neighbours=1", answers_of(NET, TRAIN[:5], labels=CLASSES[:5], training=rows_of()))
    assert own["class-consistency"].tolist() == own["class-consistency-input"].tolist() == [1] * 5


def test_equal_cosines_go_to_the_first_and_black_images_are_near_nothing() -> None:
    values = torch.tensor([[2.0, 0], [1, 0], [4, 0], [0, 3], [0, 0]], dtype=torch.float64)
    piece = Piece(torch.arange(5), torch.tensor([5, 6, 7, 8, 9]), values)
    rows = torch.tensor([[3.0, 0], [0, 1], [0, 0]], dtype=torch.float64)
    found = nearest(rows, torch.full((3,), -1), iter([piece]), 6, 2)
    assert found.tolist() == [[5, 6, 7, 8, 9, -1], [8, 5, 6, 7, 9, -1], [5, 6, 7, 8, 9, -1]]


def test_fewer_rows_than_neighbours_are_all_there_are() -> None:
    found = ask("class-consistency:neighbours=200", answers_of(NET, IMAGES, labels=LABELS, training=rows_of()))
    shares = [float(CLASSES.eq(label).double().mean()) for label in LABELS]
    shares[4] = np.nan
    assert found["class-consistency"] == pytest.approx(shares, nan_ok=True)


def test_features_that_separate_the_classes_are_consistent() -> None:
    """A linear model's features are its pixels."""
    net = linear(torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1))
    images = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    labels = torch.arange(3)

    def pieces() -> Iterator[Piece]:
        yield Piece(torch.arange(30), labels.repeat(10), images.repeat(10, 1, 1, 1))

    def features(calls: Calls) -> Training:
        return Training(torch.arange(30), labels.repeat(10), *calls.apart().features(images.repeat(10, 1, 1, 1)))

    found = ask("class-consistency", answers_of(net, images, labels=labels, training=TrainingRows(pieces, features)))
    assert found["class-consistency"].tolist() == found["class-consistency-input"].tolist() == [1] * 3


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_checkpoint_is_judged_against_its_own_training_data(files: Files, tmp_path: Path, split: str) -> None:
    scores = tmp_path / "scores.h5"
    asked = ("-k", "class-consistency", "-n", "30", "--data", f"digits:{split}", "-o", scores)
    said = run_here("evaluate", files.checkpoint, *asked)
    assert said.code == 0, said.err
    train, judged = (open_data("digits", split=name, shape=(1, 32, 32)) for name in ("train", split))
    rows = to_float(train.read(range(len(train))).pixels).reshape(len(train), -1)
    with open_store(scores) as store:
        index = store.column("index").astype(np.int64)
        found = store.column("sources/0/class-consistency-input")
        labels = store.column("label")
    seen = to_float(judged.read(np.searchsorted(judged.index, index)).pixels).reshape(30, -1)
    distances, near = NearestNeighbors(n_neighbors=11, metric="cosine").fit(rows).kneighbors(seen)
    own = split == "train"
    assert (np.abs(distances[:, 0]) < 1e-6).all() == own
    near = near[:, 1:] if own else near[:, :10]
    assert found == pytest.approx((train.labels[near] == labels[:, None]).mean(1), abs=1e-6)
    assert (found > 0.8).mean() > 0.8


def test_every_metric_of_a_model_of_unknown_origin_leaves_its_training_data_out(files: Files, tmp_path: Path) -> None:
    meta, tensors = read_meta(files.checkpoint)[0], state_arrays(load_classifier(files.checkpoint))
    foreign = tmp_path / "foreign.safetensors"
    write_checkpoint(foreign, tensors, replace(meta, data=None))
    asked = ("-n", "30", "--data", "digits", "-o", tmp_path / "scores.h5")
    said = run_here("evaluate", foreign, "-k", "all", *asked)
    assert said.code == 0, said.err
    metrics = {record["metric"].partition("-")[0] for record in said.records if record["kind"] == "metric"}
    # class-consistency needs that data, and nothing was attacked
    assert metrics == {"accuracy", "calibration", "selective"}
