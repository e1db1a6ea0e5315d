"""One attribution method with its options, as the planner and the store see it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from xaicli.errors import PluginError
from xaicli.explain.block import Scored
from xaicli.explain.contract import check_finite, check_kind, check_needs, held_to_contract
from xaicli.explain.explanation import Averaged, Explanation, Figure, Found, Measured
from xaicli.explain.open_set import Judged
from xaicli.explain.queries import EXPLAIN, anchor_of
from xaicli.files.columns import Column, Status
from xaicli.models.classifier import Classifier
from xaicli.models.head import find_head
from xaicli.models.layers import find_layer
from xaicli.run.plan import Answers
from xaicli.specs import Spec

STORAGE = {"float32": "<f4", "float16": "<f2"}
FACTS: Mapping[str, Callable[[Classifier, Mapping[str, Any]], int]] = {
    "units": lambda classifier, options: find_layer(classifier, str(options["layer"])).channels,
    "features": lambda classifier, options: find_head(classifier).width,
    "classes": lambda classifier, options: len(classifier.class_names),
}
"""What a figure's shape may depend on that only the network knows."""


class Explainer:
    """A method, its kind of store, and what it has found as the store's columns."""

    def __init__(self, spec: Spec, dtype: str = "float32") -> None:
        self.spec = spec
        self._storage = np.dtype(STORAGE[dtype])
        self.function = spec.method.load()
        check_needs(spec.method, EXPLAIN)
        self.anchor = anchor_of(self.function)
        returns = str(self.function.__annotations__.get("return"))
        self.kind: str = getattr(self.function, "kind", "attributions")
        self.has_maps = "Found" not in returns
        self.has_target = self.kind != "features"
        self.promises_sum = "Explanation" in returns
        self._per_channel = "PixelMaps" not in returns
        self._figures: Mapping[str, Figure] = getattr(self.function, "figures", {})
        check_kind(spec.method, self.kind, self.has_maps, self._figures)
        self.reduce = "abs-sum" if "GradientMaps" in returns else "sum"

    @property
    def averages(self) -> bool:
        """Whether its maps of several networks have a mean: what units and training images they rest on has none."""
        return self.kind == "attributions"

    @property
    def asks_judge(self) -> bool:
        """Whether it needs to know which rows are refused."""
        return "judged" in EXPLAIN.below(self.function)

    def forwards(
        self, size: int, channels: Callable[[str], int] | None = None, tails: int = 1, *, draws: int = 0
    ) -> int:
        """Planned forwards per row; the anchor that a control map needs for its prediction is counted.

        size: the image's pixels. channels: how many a layer has. tails: how many passes through the network above a
        layer count as one forward. draws: how many networks are explained, after each has been asked for the mean
        prediction.
        """
        methods: list[Any] = [(self.function, self.spec.options)]
        needs = EXPLAIN.below(self.function)
        planned = EXPLAIN.planned(methods, size, channels=channels, tails=tails)
        return draws * (planned + 1) if draws else planned + (self.anchor not in needs)

    def channels(self, image_channels: int) -> int:
        """Channels of the stored map: those of the image if the method answers per channel, else one."""
        return image_channels if self._per_channel else 1

    def figures(
        self, shape: tuple[int, int, int], network: Callable[[], Classifier] | None = None, *, several: bool = False
    ) -> tuple[Column, ...]:
        """The columns that the method adds, for images of this shape (C, H, W).

        network: loads it, for a method whose figures depend on it. several: of the mean of several maps.
        """
        known: dict[str, Any] = dict(zip(("channels", "height", "width"), shape, strict=True)) | self.spec.options
        columns = []
        for name, figure in self._figures.items():
            if several and figure.each:
                continue
            wanted = inspect.signature(figure.shape).parameters.keys()
            facts = {k: FACTS[k](network(), self.spec.options) for k in wanted & FACTS.keys()} if network else {}
            row = figure.shape(**{k: value for k, value in {**known, **facts}.items() if k in wanted})
            if row is not None:
                columns.append(Column(name, figure.dtype, row))
        return tuple(columns)

    def attribution(self, answers: Answers) -> Measured[Tensor]:
        """The map [n, C or 1, H, W] at the image's size, with what else the method has found."""
        images = answers.ask("block", {}).images
        result = self._answer(answers)
        found = result if isinstance(result, Measured) else Measured(result)
        maps = found.attribution
        if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != len(images):
            raise PluginError(f"'{self.spec.name}' has to return maps [{len(images)}, C, h, w]; mend the method.")
        if maps.shape[2:] != images.shape[2:]:
            maps = interpolate(maps, size=tuple(images.shape[2:]), mode="bilinear", align_corners=False)
        return replace(found, attribution=maps)

    def columns(self, answers: Answers, averaged: Averaged | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """The store's columns for the block; averaged: of draws, whose mean prediction the answers are about."""
        if averaged is not None:
            found, anchor = averaged.found, "prediction"
        else:
            found, anchor = self.attribution(answers) if self.has_maps else self._answer(answers), self.anchor
        scored: Scored = answers.ask(anchor, self.spec.options)
        logits = scored.logits.float().cpu().numpy()
        columns: dict[str, np.ndarray[Any, Any]] = {"prediction": logits}
        status = np.full(len(logits), Status.OK, dtype=np.uint8)
        if self.has_target:
            target = scored.target.cpu().numpy()
            status[target >= logits.shape[1]] = Status.FAILED  # --target label on an unknown label
            columns["target"] = target.astype(np.uint16)
            columns["against"] = scored.against.cpu().numpy().astype(np.uint16)
        if self.has_maps:
            check_finite(self.spec.method, found.attribution, scored.logits)
            columns["attribution"] = self._stored(found.attribution)
        if averaged is not None:
            columns["deviation"] = self._stored(averaged.deviation)
        if isinstance(found, Explanation):
            columns["completeness"] = found.completeness.float().cpu().numpy()
        for name in self._figures.keys() & found.figures.keys():
            if averaged is not None and self._figures[name].each:
                continue
            columns[name] = found.figures[name].cpu().numpy().astype(self._figures[name].dtype)
        if answers.ask("block", {}).judge is not None:
            judged: Judged = answers.ask("judged", {})
            columns["known_score"] = judged.scores.float().cpu().numpy()
            columns["refused"] = judged.refused.cpu().numpy().astype(np.uint8)
        maps = [name for name in ("attribution", "deviation") if name in columns]
        decisive = ["prediction", *(maps or self._figures)]
        status[~np.all([_finite_rows(columns[name]) for name in decisive], axis=0)] = Status.NON_FINITE
        columns["status"] = status
        return columns

    def _stored(self, maps: Tensor) -> np.ndarray[Any, Any]:
        with np.errstate(over="ignore"):  # what does not fit into float16 is infinite, and its row not ok
            return maps.float().cpu().numpy().astype(self._storage, copy=False)

    def _answer(self, answers: Answers) -> Any:
        """What the method returns."""
        key = answers.method_key(self.spec.name, self.spec.options)
        with held_to_contract(self.spec.method, answers.ask("block", {})):
            result = answers.call(self.function, self.spec.options, key)
        if not self.has_maps and not isinstance(result, Found):
            raise PluginError(f"'{self.spec.name}' has to return what it has Found, as it is annotated; mend it.")
        return result


def _finite_rows(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which rows have finite numbers alone, [n]."""
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))
