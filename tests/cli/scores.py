"""Metric records of a small run, as `evaluate` prints them."""

from __future__ import annotations

from typing import Any

from xaicli.files.record import Record, plain_record

CHECKPOINT = {"id": "c" * 64, "path": "/somewhere/m.safetensors"}
SCORES = {"id": "5" * 64, "path": "m.scores.h5"}
BETTER = {"deletion": "lower", "pointing-game": "higher", "perturbation": "neither", "n-ord@blur": "lower"}
ASKED: dict[str, dict[str, Any]] = {
    "deletion": {"quantity": "probability", "options": {"baseline": "black", "steps": 100}},
    "n-ord@blur": {"quantity": "logit", "options": {"baseline": "blur"}},
}


def metric(name: str, metric: str, value: float | None, **fields: Any) -> Record:
    """One record; its interval is a tenth of its value to either side."""
    blank = {"n": 200, "undefined": 0, "rank": None, "best": False, "p": None, "effect": None, "worse": None}
    about = {"better": BETTER[metric], "quantity": None, "options": {}, "proportion": metric == "pointing-game"}
    low, high = (None, None) if value is None else (round(0.9 * value, 6), round(1.1 * value, 6))
    parents = {"checkpoint": CHECKPOINT, "attributions": {"id": "a" * 64}, "scores": SCORES}
    figures = {"metric": metric, "method": name.partition(":")[0], "value": value, "low": low, "high": high}
    placed = {"name": name, "group": 0, "control": name in ("random", "edges"), "parents": parents}
    return plain_record("metric", **{**figures, **blank, **about, **ASKED.get(metric, {}), **placed, **fields})


def agreement(metric: str, value: float) -> Record:
    """How far images agree on the order of the explainers by one metric."""
    parents = {"checkpoint": CHECKPOINT, "scores": SCORES}
    about = {"statistic": "kendall-w", "p": 0.01, "raters": 200, "names": [], "group": 0, "parents": parents}
    return plain_record("concordance", metric=metric, metrics=None, value=value, **about)


def records() -> list[Record]:
    """Three explainers and two controls by two metrics, with everything that a table shows."""
    tied: dict[str, Any] = {"p": 0.31, "effect": -0.1, "worse": False}
    worse: dict[str, Any] = {"p": 0.001, "effect": -0.8, "worse": True}
    beats: dict[str, Any] = {"p": 0.02, "effect": 0.4, "worse": False}
    return [
        metric("gradcam", "deletion", 0.131, rank=1, best=True),
        metric("integrated-gradients:steps=128", "deletion", 0.1345, rank=2, **tied),
        metric("lime", "deletion", 0.2, rank=3, **worse),
        metric("random", "deletion", 0.4, **worse),
        metric("edges", "deletion", 0.125, **beats),
        metric("gradcam", "pointing-game", 0.5, rank=2, n=188, undefined=12, **tied),
        metric("integrated-gradients:steps=128", "pointing-game", 0.75, rank=1, best=True),
        metric("lime", "pointing-game", None, n=0, undefined=200),
        metric("random", "pointing-game", 0.25, **worse),
        metric("edges", "pointing-game", 0.3, **tied),
        agreement("deletion", 0.734),
    ]
