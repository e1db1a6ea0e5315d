"""What a page says of models with different budgets of privacy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xaicli.files.checkpoint_meta import CheckpointMeta
from xaicli.report.budget import budget_facts, budget_picture, budgets


def trained(accuracy: float, asked: float | None, data: str = "digits", **spent: Any) -> CheckpointMeta:
    privacy = None if asked is None else {"target_epsilon": asked, "epsilon": asked - 0.001, **spent}
    return CheckpointMeta(
        job={}, job_id="", arch={"name": "cnn", "options": {}}, classes=("a", "b"), shape=(1, 8, 8), mean=(0.5,),
        std=(0.5,), data={"name": data}, metrics={"test_accuracy": accuracy}, privacy=privacy,
    )  # fmt: skip


METAS = [trained(0.9, None), trained(0.7, 3), trained(0.8, 3), trained(0.75, 3), trained(0.5, 0.5)]


def test_means_over_trainings_have_students_interval() -> None:
    # sd .05 of three: .75 +- 4.3027 * .05 / sqrt(3)
    assert budget_facts(budgets(METAS)) == {
        "digits, cnn, epsilon 0.5": "50.0 %, 1 training",
        "digits, cnn, epsilon 3": "75.0 % (62.6 to 87.4), 3 trainings",
        "digits, cnn, without privacy": "90.0 %, 1 training",
    }


def test_what_was_spent_stands_for_what_nobody_asked_for() -> None:
    without = trained(0.6, 1.0, target_epsilon=None, epsilon=7.25)
    endless = trained(0.8, 1.0, target_epsilon=None, epsilon=None)
    assert [one.epsilon for one in budgets([*METAS, without, endless])] == [0.5, 3, 7.25, np.inf]


def test_a_single_budget_is_nothing_to_compare() -> None:
    assert budgets(METAS[:4]) == [] and budgets(METAS[:1]) == []


def test_every_line_has_its_colour_and_what_is_without_privacy_is_dashed() -> None:
    other = [trained(0.4, 3, "shapes"), trained(0.3, 1, "shapes")]

    def area(metas: list[CheckpointMeta], colour: tuple[int, int, int]) -> int:
        return int((np.asarray(budget_picture(budgets(metas))) == colour).all(2).sum())

    green, orange = (0x2A, 0x9D, 0x8F), (0xE7, 0x6F, 0x51)
    assert area(METAS, green) > area(METAS[1:], green) + 200 > 300  # the dashes
    assert area(METAS, orange) == 0 < area([*METAS, *other], orange)


def test_the_mean_is_where_it_should_be() -> None:
    assert [one.mean for one in budgets(METAS)] == pytest.approx([0.5, 0.75, 0.9])
