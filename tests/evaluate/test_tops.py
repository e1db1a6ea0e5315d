"""Keep-top and remove-top: accuracy on what is shown, by hand and by a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.explain.baselines import make_baseline
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

NET = small_net(side=10)
IMAGES = some_images(5, NET)
LABELS = torch.tensor([0, 1, 2, 65535, 1])
MAPS = torch.randn(5, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
SHARES = {"5": 5, "10": 10, "20": 20, "30": 30, "50": 50}


def right(row: int, count: int, other: torch.Tensor, keeps: bool) -> float:
    if LABELS[row] > 2:
        return np.nan
    image = IMAGES[row].clone().flatten(1)
    order = np.argsort(-MAPS[row].numpy().ravel(), kind="stable")
    gone = order[count:].copy() if keeps else order[:count].copy()
    image[:, gone] = other[row].flatten(1)[:, gone]
    return float(NET(image.view(1, *IMAGES.shape[1:])).argmax(1).item() == LABELS[row])


@pytest.mark.parametrize("baseline", ["salt-pepper", "black", "mean", "noise", "blur"])
@pytest.mark.parametrize("keeps", [True, False])
def test_against_a_loop(baseline: str, keeps: bool) -> None:
    name = "keep-top" if keeps else "remove-top"
    found = ask(f"{name}:baseline={baseline},share=0.37", answers_of(NET, IMAGES, MAPS, labels=LABELS))
    drawn = "uniform" if baseline == "noise" else baseline
    stream = Stream(0, f"baseline_image:baseline={baseline}", tuple(range(5)))
    other = make_baseline(drawn, IMAGES, stream)
    label = next(iter(found))
    expected = {label: 37, **{f"{label}-{part}": count for part, count in SHARES.items()}}
    for column, count in expected.items():
        rows = [right(row, count, other, keeps) for row in range(5)]
        assert found[column] == pytest.approx(rows, abs=0, nan_ok=True), column


def test_salt_and_pepper_is_black_or_white_in_all_channels_and_the_same_for_all_explainers() -> None:
    one = answers_of(NET, IMAGES, MAPS).ask("baseline_image", {"baseline": "salt-pepper"})
    assert set(one.unique().tolist()) == {0.0, 1.0} and torch.equal(one[:, 0], one[:, 1])
    assert 0.4 < one.mean() < 0.6
    assert torch.equal(one, answers_of(NET, IMAGES, -MAPS).ask("baseline_image", {"baseline": "salt-pepper"}))


def test_the_five_percentages_cost_a_forward_each() -> None:
    for text, count in (("keep-top", 5), ("keep-top:share=0.5", 5), ("keep-top:share=0.37", 6), ("remove-top", 5)):
        (metric,) = name_metrics([parse_spec("evaluate", text)])
        assert planned_forwards([metric], 1, 100) == count
        answers = answers_of(NET, IMAGES, MAPS)
        metric.evaluate(answers)
        assert answers.ask("subject", {}).calls.forwards == 5 * count
        assert metric.is_proportion


def test_exact_maps_keep_what_counts_and_remove_it() -> None:
    """Class 0 where the left half is bright: 10 % of the pixels decide."""
    w = torch.zeros(2, 1, 10, 10, dtype=torch.float64)
    w[0, 0, :, 0] = 1
    net = linear(w, torch.tensor([0.0, 2.0], dtype=torch.float64))
    images = torch.full((4, 1, 10, 10), 0.9, dtype=torch.float64)
    exact = (w[0] * images).sum(1)
    keep, remove = (
        ask(f"{name}:baseline=black", answers_of(net, images, exact, labels=torch.zeros(4, dtype=torch.int64)))
        for name in ("keep-top", "remove-top")
    )
    assert keep["keep-top@black-10"].tolist() == [1] * 4 and keep["keep-top@black-50"].tolist() == [1] * 4
    assert remove["remove-top@black-10"].tolist() == [0] * 4 and remove["remove-top@black-5"].tolist() == [1] * 4
