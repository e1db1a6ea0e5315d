"""Per-row scores of maps: the open models and stores of one run, one plan for all explainers and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaicli.errors import InputError
from xaicli.evaluate.again import Explainers
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.object_masks import ObjectMasks
from xaicli.evaluate.pairs import paired, pairs
from xaicli.evaluate.queries import EVALUATE
from xaicli.evaluate.reduce import reduce_maps
from xaicli.evaluate.signed import Signed
from xaicli.evaluate.sources import Source
from xaicli.explain.averaged import Draw
from xaicli.explain.background import Background
from xaicli.explain.model import Judge, Opened, Question
from xaicli.explain.quantity import Target
from xaicli.explain.run import answers_for
from xaicli.files.columns import Status
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.device import prepare
from xaicli.run.inputs import Rows
from xaicli.run.plan import Answers
from xaicli.run.settings import Settings

OWN = ("attribution", "completeness")
"""What is read of a store beside its rows' identity, where it has it."""


Key = tuple[str, int, Question]


@dataclass(frozen=True, eq=False)
class Asking:
    """One open model: what metrics ask, and what explainers are asked again with."""

    calls: Calls
    background: Background
    draws: Sequence[Draw]
    judge: Judge | None


class MapScorer:
    """The open models and stores of one run. background: a checkpoint's training data, for explainers asked again."""

    def __init__(
        self,
        sources: Sequence[Source],
        metrics: Sequence[Metric],
        masks: ObjectMasks | None,
        settings: Settings,
        reduce: str,
        background: Callable[[Source, Calls], Background],
    ) -> None:
        self.sources = sources
        self.metrics = [metric for metric in metrics if not metric.is_paired]
        self.paired = [metric for metric in metrics if metric.is_paired]
        self.settings, self.reduce = settings, reduce
        needs_again = any("explainers" in metric.needs for metric in metrics)
        self.asked = [source.asked(reduce, settings.seed) for source in sources] if needs_again else []
        judges = any(asked.explainer.asks_judge for asked in self.asked)
        device = prepare(settings)
        opened: dict[tuple[str, int], Opened] = {}
        self.models: dict[Key, Asking] = {}
        for source in sources:
            id, seed, question = source.model
            if source.model not in self.models:
                here = opened.setdefault(
                    (id, seed), Opened(source.checkpoint.path, replace(settings, seed=seed), device)
                )
                model = here.model(question)
                data = background(source, model.calls)
                draws = [Draw(calls, data.apart()) for calls in model.draws]
                self.models[source.model] = Asking(model.calls, data, draws, here.judge if judges else None)
        self.masks = masks if any("mask" in metric.needs for metric in metrics) else None
        self.index = sources[0].store.column("index").astype(np.int64)

    def score(self, rows: Rows) -> tuple[Columns, Columns]:
        """Columns and curves of one unit of rows, over all sources and metrics."""
        where = np.searchsorted(self.index, rows.index)
        columns: Columns = {}
        curves: Columns = {}
        held = [self._identity(source, where, rows) for source in self.sources]
        maps = self._all_maps(where, rows) if self.asked or self.paired else []
        groups = self._groups(held)
        shared: dict[int, Answers] = {}  # by the first of a group, which asks for all
        mask = self._masks(rows)
        for number, source in enumerate(self.sources):
            group = groups[number]
            if number == group[0]:
                shared[number] = self._answers(group, held[number], rows, maps)
            signed = self._signed(source, where, rows)
            root = {"attribution": self._reduced(signed), "signed": signed, "explainer": group.index(number)}
            seen = shared[group[0]].within(root if mask is None else {**root, "mask": mask})
            for metric in self.metrics:
                found, curve = metric.evaluate(seen)
                columns |= {f"sources/{number}/{label}": values for label, values in found.items()}
                curves |= {f"{number}/{label}": values for label, values in curve.items()}
        if self.paired:
            columns |= self._of_pairs([shared[group[0]] for group in groups], maps)
        status = np.full(len(rows), Status.OK, dtype=np.uint8)
        for one in held:
            status = np.where(status == Status.OK, one["status"], status)
        return {**columns, "status": status.astype(np.uint8)}, curves

    def _of_pairs(self, answers: Sequence[Answers], maps: Sequence[Tensor]) -> Columns:
        """The columns of metrics of two explainers; answers and maps of every source."""
        columns: Columns = {}
        for one, other in pairs([source.document for source in self.sources]):
            seen = answers[one].within({"attribution": maps[one], "other": maps[other]})
            for metric in self.paired:
                found, _ = metric.evaluate(seen)
                columns |= {f"sources/{one}/{paired(label, other)}": values for label, values in found.items()}
        return columns

    def _groups(self, held: Sequence[Columns]) -> list[list[int]]:
        """For every source the numbers of those that explain the same classes of these rows by the same model."""
        keys = [
            (source.model, one["target"].tobytes(), one["against"].tobytes())
            for source, one in zip(self.sources, held, strict=True)
        ]
        return [[number for number, key in enumerate(keys) if key == own] for own in keys]

    def _identity(self, source: Source, where: npt.NDArray[np.int64], rows: Rows) -> Columns:
        """What a store says of its rows; InputError unless they are these."""
        held = source.store.read(where, ["target", "against", "status", "sample"])
        if not np.array_equal(held["sample"], rows.columns()["sample"]):
            raise InputError(
                f"the images are not those that '{source.store.path.name}' was made from; restore its own data."
            )
        return held

    def _answers(self, group: Sequence[int], held: Columns, rows: Rows, maps: Sequence[Tensor]) -> Answers:
        """Answers that the sources of a group share."""
        asking = self.models[self.sources[group[0]].model]
        calls = asking.calls
        index = tuple(int(number) for number in rows.index)
        subject = Subject(
            calls,
            torch.as_tensor(rows.pixels).to(calls.device, calls.dtype),
            torch.as_tensor(held["target"].astype(np.int64)).to(calls.device),
            torch.as_tensor(held["against"].astype(np.int64)).to(calls.device),
        )
        roots: dict[str, object] = {"subject": subject, "labels": torch.as_tensor(rows.labels).to(calls.device)}
        if self.asked:
            here = [self.asked[number] for number in group], [maps[number] for number in group]
            roots["explainers"] = Explainers(*here, index, asking.background, draws=asking.draws, judge=asking.judge)
        return Answers(EVALUATE, roots, seed=self.settings.seed, index=index)

    def _all_maps(self, where: npt.NDArray[np.int64], rows: Rows) -> list[Tensor]:
        """Every source's maps as one value per pixel, [n, H, W]."""
        return [self._reduced(self._signed(source, where, rows)) for source in self.sources]

    def _signed(self, source: Source, where: npt.NDArray[np.int64], rows: Rows) -> Signed:
        """The source's maps as they were made."""
        calls, gap = self.models[source.model].calls, None
        if source.control is not None:
            answers = answers_for(rows, calls, Target("predicted"), "logit", self.settings.seed)
            maps = source.control.attribution(answers).attribution
        else:
            held = source.store.read(where, [name for name in OWN if name in source.store.columns])
            maps = torch.as_tensor(held["attribution"].astype(np.float32)).to(calls.device, calls.dtype)
            if "completeness" in held:
                gap = torch.as_tensor(held["completeness"].astype(np.float32)).to(maps)
        return Signed(maps.nan_to_num(), is_gradient=source.reduce == "abs-sum", gap=gap)

    def _reduced(self, signed: Signed) -> Tensor:
        """Maps as one value per pixel, [n, H, W]."""
        usual = "abs-sum" if signed.is_gradient else "sum"
        return reduce_maps(signed.values, usual if self.reduce == "auto" else self.reduce)

    def _masks(self, rows: Rows) -> Tensor | None:
        device = next(iter(self.models.values())).calls.device
        return None if self.masks is None else torch.as_tensor(self.masks.read(rows)).to(device)
