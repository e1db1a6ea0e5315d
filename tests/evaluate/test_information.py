"""Information curves against a loop with its own compression."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.nets import small_net, some_images
from xaicli.evaluate.metric import name_metrics, used_quantity
from xaicli.explain.baselines import make_baseline
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

NET = small_net(side=16)
IMAGES = some_images(4, NET)
MAPS = torch.randn(4, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
LABELS = torch.tensor([0, 1, 65535, 2])
BLUR = make_baseline("blur", IMAGES, Stream(0, "", (0,)))
STEPS = 40


def size(image: torch.Tensor) -> int:
    levels = np.rint(np.clip(image.numpy(), 0, 1) * 255).astype(int)
    rows = [
        (below - above) % 256
        for channel in levels
        for above, below in zip([0 * channel[0], *channel[:-1]], channel, strict=True)
    ]
    return len(zlib.compress(np.array(rows, dtype=np.uint8).tobytes()))


def points(row: int) -> list[torch.Tensor]:
    shown, order = BLUR[row].clone(), np.argsort(-MAPS[row].numpy().ravel(), kind="stable")
    found = []
    for step in range(STEPS + 1):
        top = order[: round(step * 256 / STEPS)].copy()
        shown.flatten(1)[:, top] = IMAGES[row].flatten(1)[:, top]
        found.append(shown.clone())
    return found


def area(row: int, values: list[float]) -> float:
    sizes = np.array([size(image) for image in points(row)], dtype=float)
    shown = np.clip((sizes - sizes[0]) / (sizes[-1] - sizes[0]), 0, 1)
    order = np.argsort(shown, kind="stable")
    return float(np.trapezoid(np.array(values)[order], shown[order]))


def test_both_curves_against_a_loop() -> None:
    target = NET(IMAGES).argmax(1)
    soft, accurate = [], []
    for row in range(4):
        logits = NET(torch.stack(points(row)))
        p = logits.softmax(1)[:, target[row]]
        soft.append(area(row, (p / p[-1]).clamp_max(1).tolist()))
        accurate.append(area(row, (logits.argmax(1) == LABELS[row]).double().tolist()) if LABELS[row] < 3 else np.nan)
    answers = answers_of(NET, IMAGES, MAPS, labels=LABELS)
    found = ask(f"sic:steps={STEPS}", answers)
    assert found["sic"] == pytest.approx(soft, abs=1e-12)
    assert value(f"aic:steps={STEPS}", answers) == pytest.approx(accurate, abs=1e-12, nan_ok=True)
    assert found["curve"].shape == (4, STEPS + 1) and found["curve"][:, -1] == pytest.approx(1, abs=1e-12)
    value(f"insertion:steps={STEPS}", answers)
    assert answers.ask("subject", {}).calls.forwards == 4 * (2 + STEPS - 1)  # one walk for all three


def test_an_image_no_larger_than_its_blur_has_no_curve() -> None:
    flat = torch.full_like(IMAGES, 0.5)
    assert np.isnan(value("sic", answers_of(NET, flat, MAPS))).all()


def test_the_curve_is_linear_between_the_levels_shown() -> None:
    """Four levels for a walk of three steps whose sizes are 0, 1/2, 1/4 and all of the information."""
    from xaicli.evaluate.information import _area

    sizes = torch.tensor([[100.0, 200.0, 150.0, 300.0]], dtype=torch.float64)
    found = _area(sizes, torch.tensor([[0.2, 0.6, 0.8, 1.0]], dtype=torch.float64))
    assert found.values.tolist() == pytest.approx([0.25 * 0.5 + 0.25 * 0.7 + 0.5 * 0.8])
    assert found.curve[0].tolist() == pytest.approx([0.2, 0.8 - 0.2 / 3, 0.6 + 0.4 / 3, 1])


def test_records_name_what_was_looked_at() -> None:
    looked_at = {"sic": "probability", "aic": None, "road": "probability", "road:score=accuracy": "accuracy"}
    looked_at |= {"average-gain": "probability", "average-drop": "probability", "keep-top": None, "aopc": "logit"}
    assert {text: used_quantity(name_metrics([parse_spec("evaluate", text)])[0]) for text in looked_at} == looked_at
