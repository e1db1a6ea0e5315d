"""Whether explainers agree, of one model and of two: which pairs there are, and what is stored and said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.evaluate.questions import answers_of, ask
from tests.nets import small_net, some_images
from xaicli import open_store
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.pairs import pairs, source_columns
from xaicli.run.calls import Calls
from xaicli.specs import parse_spec

NET = small_net(side=12)
IMAGES = some_images(3, NET)
DRAWS = torch.Generator().manual_seed(6)
MAPS, OTHERS = (torch.randn(3, 12, 12, generator=DRAWS, dtype=torch.float64) for _ in range(2))


def source(checkpoint: str, method: str, **options: object) -> dict[str, object]:
    return {"checkpoint": checkpoint, "method": method, "options": options}


def test_scores_of_a_pair() -> None:
    found = ask("agreement:top=0.2", answers_of(NET, IMAGES, MAPS, other=OTHERS))
    for row, (a, b) in enumerate(zip(MAPS.numpy(), OTHERS.numpy(), strict=True)):
        first, second = (set(np.argsort(-one.ravel())[:29].tolist()) for one in (a, b))  # a fifth of 144
        assert found["agreement"][row] == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)
        assert found["agreement-top-k"][row] == pytest.approx(len(first & second) / 29)
    same = ask("agreement", answers_of(NET, IMAGES, MAPS, other=2 * MAPS))
    assert all(figure == pytest.approx(np.ones(3), abs=1e-12) for figure in same.values())
    flat = ask("agreement", answers_of(NET, IMAGES, MAPS, other=torch.zeros_like(MAPS)))
    assert all(np.isnan(figure).all() for figure in flat.values())


def test_who_is_compared_with_whom() -> None:
    sources = [
        source("standard", "gradcam"), source("standard", "ig", steps=5), source("robust", "gradcam"),
        source("robust", "ig", steps=9), source("robust", "random"),
    ]  # fmt: skip
    assert pairs(sources) == [(0, 1), (0, 2), (2, 3), (2, 4), (3, 4)]
    columns = source_columns(name_metrics([parse_spec("evaluate", k) for k in ("gini", "agreement")]), sources)
    assert columns[1] == ["gini"] and columns[4] == ["gini"]
    parts = ("agreement", "agreement-top-k", "agreement-ssim")
    assert columns[0] == ["gini", *(f"{part}-with-{other}" for other in (1, 2) for part in parts)]


@pytest.fixture(scope="module")
def stores(call: Any, files: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two methods of two checkpoints on the same images."""
    folder = tmp_path_factory.mktemp("pairs")
    train = ("train", "--data", "digits", "--arch", "cnn:width=4", "--epochs", "1", "--seed", "3")
    assert call(*train, "-o", folder / "other.safetensors").code == 0
    for checkpoint, name in ((files.checkpoint, "standard"), (folder / "other.safetensors", "other")):
        for method in ("saliency", "gradcam"):
            out = folder / f"{name}.{method}.h5"
            assert call("explain", checkpoint, "-m", method, "-n", "25", "-o", out).code == 0
    return [folder / f"{name}.{method}.h5" for name in ("standard", "other") for method in ("saliency", "gradcam")]


def test_two_checkpoints_in_one_command(stores: list[Path], files: Any, call: Any, tmp_path: Path) -> None:
    said = call("evaluate", *stores, "--parent", files.checkpoint, "-k", "agreement", "-o", tmp_path / "scores.h5")
    assert said.code == 0, said.err
    records = [record for record in said.records if record.get("metric") == "agreement"]
    store = open_store(tmp_path / "scores.h5")
    methods = [one["method"] for one in store.sources]
    assert methods == ["saliency", "gradcam", "saliency", "gradcam", "random", "edges", "random", "edges"]
    assert len(records) == 6 + 6 + 4  # of each checkpoint every two; each method of both
    maps = [open_store(path).column("attribution").astype(np.float64) for path in stores]
    reduced = [np.abs(one).sum(1) if number in (0, 2) else one.sum(1) for number, one in enumerate(maps)]
    for one, other in ((0, 1), (0, 2), (1, 3)):
        expected = [
            spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(reduced[one], reduced[other], strict=True)
        ]
        found = store.column(f"sources/{one}/agreement-with-{other}")
        assert found == pytest.approx(expected, abs=1e-4, nan_ok=True)  # ties of float32 and float64
    across = [r for r in records if r["parents"]["checkpoint"]["id"] != r["with"]["parents"]["checkpoint"]["id"]]
    assert {record["method"] for record in across} == {"saliency", "gradcam", "random", "edges"}
    blind = {record["method"]: record["value"] for record in across}
    assert blind["edges"] == pytest.approx(1) and blind["random"] == pytest.approx(1)  # maps that ignore the model
    values = store.column("sources/0/agreement-with-2")
    assert next(r for r in across if r["method"] == "saliency")["value"] == pytest.approx(float(values.mean()))
    again = call("evaluate", tmp_path / "scores.h5")
    assert [r["value"] for r in again.records if r.get("metric") == "agreement"] == [r["value"] for r in records]


def test_two_checkpoints_cost_what_was_planned(
    stores: list[Path], files: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("-k", "agreement", "-k", "sensitivity-max:draws=2", "-k", "adcc", "-k", "mprt:stages=1")
    command = ["evaluate", *stores, "--parent", files.checkpoint, *chosen]
    (planned,) = call(*command, "--dry-run").records
    asked = []
    plain = Calls._asked
    monkeypatch.setattr(Calls, "_asked", lambda self, *ask: asked.append(ask[2]) or plain(self, *ask))
    assert call(*command, "-o", tmp_path / "counted.h5").code == 0
    # for each checkpoint two explainers near the image and of a random model; the image; what each map shows, which
    # the controls cost as well, and its explanation, which they cost nothing for
    assert planned["forwards"] == 25 * 2 * (2 * 2 + 2 + 1 + 2 * (1 + 1) + 2 * (1 + 0)) == sum(asked)
