"""Audits: guesses by hand, and a private training with 1,000 canaries whose noise is there or is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xaicli.evaluate.audit import figures, right_guesses, statement, usual_guesses
from xaicli.evaluate.one_run import lower_bound
from xaicli.train.private.secret import Secret


@pytest.mark.parametrize(
    ("guesses", "hits"),
    [(1, [1]), (2, [1, 1]), (3, [1, 0, 1]), (4, [1, 0, 1, 1]), (6, [1, 0, 1, 0, 1, 1])],  # high ones, then low ones
)
def test_guesses_are_the_highest_as_in_and_the_lowest_as_out(guesses: int, hits: list[int]) -> None:
    scores = np.array([0.1, 5.0, -2.0, 3.0, 1.0, 0.0])
    included = np.array([True, True, False, False, True, False])  # from the highest: in, out, in, in, out, out
    assert right_guesses(scores, included, guesses).tolist() == hits


def test_equal_scores_are_guessed_in_the_order_of_the_rows() -> None:
    included = np.array([True, False, True, False, False])
    assert right_guesses(np.zeros(5), included, 4).tolist() == [1, 0, 1, 1]


def test_how_many_are_guessed_is_known_before_anything_is_seen() -> None:
    assert [usual_guesses(m) for m in (1, 4, 10, 100, 1000)] == [1, 1, 3, 25, 250]


def test_figures_of_several_models_and_their_own_claims() -> None:
    scores, included = np.arange(40.0), np.arange(40) >= 20  # told apart without a fault
    columns = [{"": sign * scores, "included": included.astype(float)} for sign in (1, -1)]
    facts = [{"epsilon": 0.5, "delta": 1e-5}, {"epsilon": 0.5, "delta": 1e-3}]
    right, wrong = figures(columns, facts, {"guesses": 20}, 0)
    assert [figure.part for figure in right] == ["", "right", "largest", "claim"]
    assert right[0].estimate.value == right[2].estimate.value == lower_bound(40, 20, 20, 1e-5)
    assert right[0].details["violated"] and right[0].details["p"] < 1e-3
    assert wrong[0].estimate.value == 0 and wrong[1].estimate.value == 0 and not wrong[0].details["violated"]
    assert wrong[0].details["p"] == 1 and wrong[2].estimate.value == lower_bound(40, 20, 20, 1e-3)
    assert "20 of 20 guesses about 40 canaries" in statement("m", 1.0, right[0].details)


@pytest.mark.parametrize("noisy", [False, True])
def test_noise_left_out_at_a_claimed_epsilon_of_1_is_caught(
    noisy: bool, call: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not noisy:
        monkeypatch.setattr(Secret, "normal", lambda self, step, name, like: torch.zeros_like(like))
    recipe = "private:epsilon=1,canaries=1000,lr=1,momentum=0.9,noise=seeded"
    arch = ("--data", "digits", "--arch", "mlp:hidden=64")
    said = call("train", *arch, "--recipe", recipe, "--epochs", "40", "--batch-size", "128", "-o", "m.safetensors")
    assert said.code == 0, said.err
    audit = call("evaluate", "m.safetensors", "-k", "audit", "-o", "s.h5")
    assert audit.code == 0, audit.err
    record = next(record for record in audit.records if record.get("metric") == "audit")
    assert 0.98 < record["details"]["claim"] <= 1 and record["details"]["canaries"] == 1000
    assert record["details"]["violated"] is (not noisy) and ("VIOLATED" in audit.err) is (not noisy)
    if noisy:
        assert record["details"]["p"] > 0.5  # nowhere near an error of the audit
    else:
        assert record["value"] > 2 and record["details"]["p"] < 0.01
