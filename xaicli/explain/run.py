"""One explain command: every checkpoint with its rows, every method a store, all methods sharing one plan."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xaicli.errors import PluginError
from xaicli.explain.background import Background, background_of
from xaicli.explain.block import Block, Scored
from xaicli.explain.contract import check_finite, check_needs, held_to_contract
from xaicli.explain.explanation import Explanation, Figure, Measured
from xaicli.explain.figures import figures
from xaicli.explain.quantity import Target, check_quantity, parse_target
from xaicli.explain.queries import EXPLAIN, anchor_of
from xaicli.files.columns import Column, Status, attribution_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.sources import Sources
from xaicli.methods import Spec
from xaicli.models.layers import find_layer
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, gather_cases
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Rows
from xaicli.run.job import make_job
from xaicli.run.plan import Answers
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.settings import Settings

DEFAULTS = {"target": "predicted", "quantity": "logit", "dtype": "float32"}
STORAGE = {"float32": "<f4", "float16": "<f2"}


@dataclass(frozen=True)
class Request:
    """What the user asked of `explain`."""

    sources: Sources
    methods: Sequence[Spec]
    data: str | None = None
    target: str = "predicted"
    quantity: str = "logit"
    save_inputs: bool = False
    dtype: str = "float32"


def explain(request: Request, settings: Settings) -> Iterator[Record]:
    """Explain and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    cases = gather_cases(request.sources, parents, request.data, settings)
    yield from produce([_group(case, request, parents, settings) for case in cases], settings)


def _group(case: Case, request: Request, parents: Parents, settings: Settings) -> Group:
    target = parse_target(request.target, case.meta.classes)
    check_quantity(request.quantity, target)

    @cache
    def channels(layer: str) -> int:
        return find_layer(load_classifier(case.checkpoint.path, arch=settings.arch), layer).channels

    planned = [_plan(case, spec, request, settings, channels) for spec in request.methods]
    explainers = [Explainer(spec, request.dtype) for spec in request.methods]

    def ready() -> Compute:
        device = prepare(settings)
        classifier = load_classifier(case.checkpoint.path, device=device, arch=settings.arch)
        calls = Calls(classifier, batch_size=settings.call_rows)
        background = background_of(case, parents, settings, calls)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                answers = answers_for(rows, calls, target, request.quantity, settings.seed, background)
                results = {}
                for number in wanted:
                    columns = explainers[number].columns(answers)
                    if request.save_inputs:
                        columns["data"] = rows.stored
                    results[number] = Result(columns)
                return results

        return compute

    names = ", ".join(spec.name for spec in request.methods)
    return Group(case.inputs, planned, ready, f"explain {case.stem} ({names})")


def _plan(case: Case, spec: Spec, request: Request, settings: Settings, channels: Callable[[str], int]) -> Planned:
    explainer = Explainer(spec)
    height, width = case.meta.shape[1:]
    forwards = explainer.forwards(height * width, channels)
    block = auto_block(forwards, settings.block)
    extra = {"target": request.target, "quantity": request.quantity, "save_inputs": request.save_inputs}
    extra["dtype"] = request.dtype
    job = make_job("explain", spec, case.job_parents, settings, block=block, extra=extra, defaults=DEFAULTS)
    dataset = case.inputs.dataset
    stored = case.inputs.load(0, 1).stored.dtype.str
    layout = StoreLayout(
        kind="attributions",
        job=job.document,
        history=(*case.lineage, job.document),
        rows=len(case.inputs),
        block=block,
        columns=attribution_columns(
            shape=(explainer.channels(case.meta.shape[0]), height, width),
            classes=len(case.meta.classes),
            key_length=case.inputs.longest_key,
            dtype=STORAGE[request.dtype],
            completeness=explainer.promises_sum,
            extra=explainer.figures(case.meta.shape),
            inputs=(dataset.shape, stored) if request.save_inputs else None,
        ),
        attributes={
            "classes": list(case.meta.classes),
            "quantity": request.quantity,
            "reduce": explainer.reduce,
            "forwards": forwards,
        },
    )
    return Planned(job, f"{case.stem}.{spec.name}", layout, forwards, case.record_parents, metrics=figures)


def answers_for(
    rows: Rows, calls: Calls, target: Target, quantity: str, seed: int, background: Background | None = None
) -> Answers:
    """The planner's answers for some rows; queries are asked when the first method needs them."""
    images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
    labels = torch.as_tensor(rows.labels).to(calls.device)
    block = Block(calls, images, labels, target, quantity, background or Background())
    return Answers(EXPLAIN, {"block": block}, seed=seed, index=tuple(int(number) for number in rows.index))


class Explainer:
    """One attribution method with its options, as the planner and the store see it."""

    def __init__(self, spec: Spec, dtype: str = "float32") -> None:
        self.spec = spec
        self._storage = np.dtype(STORAGE[dtype])
        self.function = spec.method.load()
        check_needs(spec.method, EXPLAIN)
        self.anchor = anchor_of(self.function)
        returns = str(self.function.__annotations__.get("return"))
        self.promises_sum = returns.startswith("Explanation")
        self._per_channel = "PixelMaps" not in returns
        self._figures: Mapping[str, Figure] = getattr(self.function, "figures", {})
        self.reduce = "abs-sum" if "GradientMaps" in returns else "sum"

    def forwards(self, size: int, channels: Callable[[str], int] | None = None) -> int:
        """Planned forwards per row; the anchor that a control map needs for its prediction is counted.

        size: the image's pixels. channels: how many a layer has.
        """
        methods: list[Any] = [(self.function, self.spec.options)]
        needs = EXPLAIN.below(self.function)
        extra = 0 if self.anchor in needs else 1
        return EXPLAIN.planned(methods, size, channels=channels) + extra

    def channels(self, image_channels: int) -> int:
        """Channels of the stored map: those of the image if the method answers per channel, else one."""
        return image_channels if self._per_channel else 1

    def figures(self, shape: tuple[int, int, int]) -> tuple[Column, ...]:
        """The columns that the method adds, for images of this shape (C, H, W)."""
        known: dict[str, Any] = dict(zip(("channels", "height", "width"), shape, strict=True)) | self.spec.options
        columns = []
        for name, figure in self._figures.items():
            row = figure.shape(**{k: known[k] for k in inspect.signature(figure.shape).parameters})
            if row is not None:
                columns.append(Column(name, figure.dtype, row))
        return tuple(columns)

    def attribution(self, answers: Answers) -> Measured[Tensor]:
        """The map [n, C or 1, H, W] at the image's size, with what else the method has found."""
        images = answers.ask("block", {}).images
        key = answers.method_key(self.spec.name, self.spec.options)
        with held_to_contract(self.spec.method, answers.ask("block", {})):
            result = answers.call(self.function, self.spec.options, key)
        found = result if isinstance(result, Measured) else Measured(result)
        maps = found.attribution
        if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != len(images):
            raise PluginError(f"'{self.spec.name}' has to return maps [{len(images)}, C, h, w]; mend the method.")
        if maps.shape[2:] != images.shape[2:]:
            maps = interpolate(maps, size=tuple(images.shape[2:]), mode="bilinear", align_corners=False)
        return replace(found, attribution=maps)

    def columns(self, answers: Answers) -> dict[str, np.ndarray[Any, Any]]:
        """The store's columns for the block."""
        found = self.attribution(answers)
        scored: Scored = answers.ask(self.anchor, self.spec.options)
        check_finite(self.spec.method, found.attribution, scored.logits)
        with np.errstate(over="ignore"):  # what does not fit into float16 is infinite, and its row not ok
            values = found.attribution.float().cpu().numpy().astype(self._storage, copy=False)
        logits = scored.logits.float().cpu().numpy()
        target = scored.target.cpu().numpy()
        status = np.full(len(values), Status.OK, dtype=np.uint8)
        status[target >= logits.shape[1]] = Status.FAILED  # --target label on an unknown label
        finite = np.isfinite(values).all(axis=(1, 2, 3)) & np.isfinite(logits).all(axis=1)
        status[~finite] = Status.NON_FINITE
        columns = {
            "attribution": values,
            "prediction": logits,
            "target": target.astype(np.uint16),
            "against": scored.against.cpu().numpy().astype(np.uint16),
            "status": status,
        }
        if isinstance(found, Explanation):
            columns["completeness"] = found.completeness.float().cpu().numpy()
        for name in self._figures.keys() & found.figures.keys():
            columns[name] = found.figures[name].cpu().numpy().astype(self._figures[name].dtype)
        return columns
