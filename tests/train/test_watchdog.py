"""The watchdog: what it measures, what it puts back, and what training does then."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.train.test_recipes import FIT, VAL, fresh, same
from xaicli.attack.gradient import pgd
from xaicli.attack.perturb import perturb
from xaicli.models.classifier import Classifier
from xaicli.run.random import Stream
from xaicli.specs import parse_spec
from xaicli.train import watchdog as room
from xaicli.train.batch import Batch
from xaicli.train.fast import fast
from xaicli.train.judge import Judge
from xaicli.train.loop import Pixels, Schedule, train_model
from xaicli.train.state import Training
from xaicli.train.watchdog import Watchdog

ROWS, STEPS = 90, 6  # of an epoch, in batches of 15


def watched(
    monkeypatch: pytest.MonkeyPatch, accuracies: list[float], recipe: str = "fast:eps=0.1,ema=0.9"
) -> tuple[Training, list[dict[str, torch.Tensor]], list[int]]:
    """A training whose watchdog measures these; its states when it looked, and the attack's caution in each step."""
    states: list[dict[str, torch.Tensor]] = []
    cautions: list[int] = []
    net = fresh()

    def measure(self: Watchdog, classifier: Classifier) -> float:
        assert classifier is net
        states.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return accuracies[len(states) - 1]

    def counted(batch: Batch, **options: Any) -> torch.Tensor:
        cautions.append(batch.rollbacks)
        return fast(batch, **options)

    monkeypatch.setattr(Watchdog, "accuracy", measure)
    monkeypatch.setattr("xaicli.train.fast.fast", counted)
    dog = Watchdog(VAL, pgd(eps=0.1), 0)
    spec, schedule = parse_spec("train", recipe), Schedule(len(accuracies), 15, 15, 0)
    training = train_model(net, Pixels(FIT), Judge(VAL, None, 0), spec, schedule, "test", watchdog=dog)
    return training, states, cautions


def test_a_collapsed_epoch_is_undone_and_the_attack_takes_a_step_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training, states, cautions = watched(monkeypatch, [0.5, 0.7, 0.51, 0.3, 0.31, 0.1])
    # .51 is 19 points less than .7; .3 is 21 points less than that, and .31 and .1 are compared with .51 again
    assert [entry.get("rolled_back", False) for entry in training.history] == [False, False, False, True, False, True]
    assert [entry["watched_accuracy"] for entry in training.history] == [0.5, 0.7, 0.51, 0.3, 0.31, 0.1]
    assert cautions == [0] * 4 * STEPS + [1] * 2 * STEPS and training.rollbacks == 2
    assert same(training.classifier.state_dict(), states[4]) and not same(states[4], states[5])
    assert capsys.readouterr().err.splitlines() == [
        "warning: epoch 4 has lost its robustness (30% under PGD-5): the state before it is back.",
        "warning: epoch 6 has lost its robustness (10% under PGD-5): the state before it is back.",
    ]
    assert training.history[5]["lr"] < training.history[4]["lr"]  # the schedule goes on


def test_everything_that_steps_change_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    changing: list[dict[str, torch.Tensor]] = []
    close = Training.close_epoch

    def note(self: Training, *arguments: Any) -> None:
        close(self, *arguments)
        changing.append({name: tensor.detach().clone() for name, tensor in self._changing().items()})

    monkeypatch.setattr(Training, "close_epoch", note)
    for recipe in ("fast:eps=0.1,ema=0.9", "free:eps=0.1,replays=2"):
        changing.clear()
        watched(monkeypatch, [0.9, 0.1], recipe)
        assert same(changing[0], changing[1])
        kinds = {name.split(".")[0] for name in changing[0]}
        assert kinds == {"model", "optimizer", "average" if "ema" in recipe else "kept"}


def test_it_measures_pgd_5_on_held_out_rows_in_the_weights_being_trained() -> None:
    net = fresh()
    dog = Watchdog(VAL, pgd(norm="l2", eps=0.3, steps=20), 7)
    images, labels = torch.tensor(VAL.pixels), torch.tensor(VAL.labels)  # all 60 rows, fewer than it would take
    batch = Batch(net, images, labels, Stream(0, "t", tuple(range(60))))
    moved = perturb(pgd(norm="l2", eps=0.3, steps=5), net, images, labels, batch.draw)
    with torch.no_grad():
        right = (net.eval()(moved).argmax(1) == labels).double().mean().item()
        clean = (net(images).argmax(1) == labels).double().mean().item()
    assert dog.accuracy(net.train()) == pytest.approx(right, abs=2 / 60) and right < clean
    assert net.training and (room.STEPS, room.DROP) == (5, 0.2)
