"""Stores hand their maps on as they were made: signs, channels, the kind of map, and the gap stored beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Files, run_here
from tests.evaluate.questions import answers_of, ask
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.signed import Signed
from xaicli.files.store import open_store
from xaicli.models.load import load_classifier

SMALL = ("-n", "12", "--batch-size", "4")
METRICS = ("infidelity:draws=6", "completeness", "completeness:baseline=white", "gini")


@pytest.mark.parametrize(("method", "is_gradient", "has_gap"), [("saliency", True, False), ("ig:steps=4", False, True)])
def test_scores_of_a_store_are_those_of_its_whole_maps(
    files: Files, tmp_path: Path, method: str, is_gradient: bool, has_gap: bool
) -> None:
    maps, scores = tmp_path / "maps.h5", tmp_path / "scores.h5"
    assert run_here("explain", files.checkpoint, "-m", method, *SMALL, "-o", maps).code == 0
    asked = [part for metric in METRICS for part in ("-k", metric)]
    said = run_here("evaluate", maps, "--parent", files.checkpoint, *asked, "--reduce", "max", "-o", scores)
    assert said.code == 0, said.err
    with open_store(maps) as store, open_store(scores) as found:
        index, values = store.column("index").astype(np.int64), torch.as_tensor(store.column("attribution"))
        gap = torch.as_tensor(store.column("completeness")) if has_gap else None
        digits = open_data("digits", split="test", shape=(1, 32, 32))
        images = torch.as_tensor(to_float(digits.read(np.searchsorted(digits.index, index)).pixels))
        answers = answers_of(
            load_classifier(files.checkpoint),
            images,
            values.amax(1),
            target=torch.as_tensor(store.column("target").astype(np.int64)),
            signed=Signed(values, is_gradient=is_gradient, gap=gap),
            index=index.tolist(),
            batch_size=32,
        )
        for text in METRICS:
            for name, figure in ask(text, answers).items():
                assert found.column(f"sources/0/{name}") == pytest.approx(figure, rel=2e-4, abs=1e-5), name
        own = found.column("sources/0/completeness")
        assert np.array_equal(own, np.abs(gap.numpy())) if gap is not None else (own > 0).all()
        assert not np.allclose(own, found.column("sources/0/completeness@white"))
