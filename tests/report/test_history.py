"""How a training is drawn: a panel for each kind of figure, a line for each figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from xaicli.report.history import curves, history_picture

HISTORY: list[dict[str, Any]] = [
    {"epoch": 1, "loss": 2.0, "val_accuracy": 0.5, "val_robust_accuracy": 0.2, "lr": 0.1},
    {"epoch": 2, "loss": 1.0, "val_accuracy": 0.8, "val_robust_accuracy": None, "lr": 0.0, "rolled_back": True},
]
PRIVATE = [{"epoch": 1, "epsilon": 0.7, "val_accuracy": 0.4}, {"epoch": 2, "epsilon": 1.0, "val_accuracy": 0.9}]
GREEN = (0x2A, 0x9D, 0x8F)


def test_every_figure_is_in_its_panel() -> None:
    assert curves(HISTORY) == {
        "loss": {"loss": [(1, 2.0), (2, 1.0)]},
        "accuracy": {"val_accuracy": [(1, 0.5), (2, 0.8)], "val_robust_accuracy": [(1, 0.2)]},
        "lr": {"lr": [(1, 0.1), (2, 0.0)]},
    }
    assert list(curves(PRIVATE)) == ["accuracy", "epsilon"]
    terms = [{"epoch": 1, "loss": 3.5, "cross_entropy": 2.5, "kl": 1.0}]
    assert curves(terms) == {name: {name: [(1, terms[0][name])]} for name in ("loss", "cross_entropy", "kl")}


def test_nothing_is_drawn_of_imported_weights_or_of_what_is_no_epoch() -> None:
    assert history_picture(()) is None and history_picture([{"loss": 1.0}]) is None


def heights(picture: Image.Image) -> tuple[float, float]:
    """The relative height of a line's first and last coloured column."""
    pixels = (np.asarray(picture) == GREEN).all(2)
    columns = np.flatnonzero(pixels.any(0))
    first, last = (np.flatnonzero(pixels[:, column]).mean() for column in (columns[0], columns[-1]))
    return 1 - first / len(pixels), 1 - last / len(pixels)


def test_epsilon_climbs_and_the_loss_falls() -> None:
    rising = history_picture([{"epoch": n, "epsilon": 0.1 * n} for n in range(1, 5)])
    falling = history_picture([{"epoch": n, "loss": 1 - 0.1 * n} for n in range(1, 5)])
    assert rising is not None and falling is not None
    assert heights(rising)[0] + 0.3 < heights(rising)[1] and heights(falling)[0] > heights(falling)[1] + 0.1


def test_a_private_training_has_a_panel_less_than_an_open_one() -> None:
    both = [history_picture(history) for history in (HISTORY, PRIVATE)]
    assert [picture.size for picture in both if picture is not None] == [(1000, 260), (700, 260)]
