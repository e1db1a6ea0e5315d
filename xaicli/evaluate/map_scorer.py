"""Per-row scores of maps: the open models and stores of one run, one plan for all explainers and metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.errors import InputError
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.queries import EVALUATE
from xaicli.evaluate.sources import Source
from xaicli.explain.quantity import Target
from xaicli.explain.run import answers_for
from xaicli.files.columns import Status
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.device import prepare
from xaicli.run.inputs import Rows, match_rows
from xaicli.run.plan import Answers
from xaicli.run.settings import Settings


class MapScorer:
    """The open models and stores of one run."""

    def __init__(
        self,
        sources: Sequence[Source],
        metrics: Sequence[Metric],
        original: Dataset | None,
        settings: Settings,
        reduce: str,
    ) -> None:
        device = prepare(settings)
        self.sources, self.metrics, self.original = sources, metrics, original
        self.settings, self.reduce = settings, reduce
        self.calls: dict[str, Calls] = {}
        for source in sources:
            if source.checkpoint.id not in self.calls:
                classifier = load_classifier(source.checkpoint.path, device=device, arch=settings.arch)
                self.calls[source.checkpoint.id] = Calls(classifier, batch_size=settings.call_rows)
        self.needs_mask = any("mask" in metric.needs for metric in metrics)
        self.index = sources[0].store.column("index").astype(np.int64)

    def score(self, rows: Rows) -> tuple[Columns, Columns]:
        """Columns and curves of one unit of rows, over all sources and metrics."""
        where = np.searchsorted(self.index, rows.index)
        columns: Columns = {}
        curves: Columns = {}
        status = np.full(len(rows), Status.OK, dtype=np.uint8)
        shared: dict[tuple[str, bytes], Answers] = {}
        samples = rows.columns()["sample"]
        mask = self._masks(rows)
        for number, source in enumerate(self.sources):
            names = ["target", "against", "status", "sample"]
            held = source.store.read(where, names if source.control else [*names, "attribution"])
            if not np.array_equal(held["sample"], samples):
                raise InputError(
                    f"the images are not those that '{source.store.path.name}' was made from; restore its own data."
                )
            status = np.where(status == Status.OK, held["status"], status)
            answers = self._answers(source, held, rows, shared)
            maps = self._maps(source, held, rows)
            root = {"attribution": maps, "mask": mask} if mask is not None else {"attribution": maps}
            seen = answers.within(root)
            for metric in self.metrics:
                found, curve = metric.evaluate(seen)
                columns |= {f"sources/{number}/{label}": values for label, values in found.items()}
                curves |= {f"{number}/{label}": values for label, values in curve.items()}
        return {**columns, "status": status.astype(np.uint8)}, curves

    def _answers(self, source: Source, held: Columns, rows: Rows, shared: dict[tuple[str, bytes], Answers]) -> Answers:
        """Answers that sources of the same checkpoint and the same targets share."""
        key = (source.checkpoint.id, held["target"].tobytes() + held["against"].tobytes())
        if key not in shared:
            calls = self.calls[source.checkpoint.id]
            subject = Subject(
                calls,
                torch.as_tensor(rows.pixels).to(calls.device, calls.dtype),
                torch.as_tensor(held["target"].astype(np.int64)).to(calls.device),
                torch.as_tensor(held["against"].astype(np.int64)).to(calls.device),
            )
            roots = {"subject": subject, "labels": torch.as_tensor(rows.labels).to(calls.device)}
            index = tuple(int(number) for number in rows.index)
            shared[key] = Answers(EVALUATE, roots, seed=self.settings.seed, index=index)
        return shared[key]

    def _maps(self, source: Source, held: Columns, rows: Rows) -> Tensor:
        """The source's maps reduced to one value per pixel, [n, H, W]."""
        calls = self.calls[source.checkpoint.id]
        if source.control is not None:
            answers = answers_for(rows, calls, Target("predicted"), "logit", self.settings.seed)
            maps, how = source.control.attribution(answers).attribution, source.control.reduce
        else:
            maps = torch.as_tensor(held["attribution"].astype(np.float32)).to(calls.device, calls.dtype)
            how = str(source.store.attributes.get("reduce", "sum"))
        return reduce_maps(maps.nan_to_num(), how if self.reduce == "auto" else self.reduce)

    def _masks(self, rows: Rows) -> Tensor | None:
        if not self.needs_mask or self.original is None:
            return None
        masks = self.original.masks(match_rows(self.original, rows.index, "the images").positions)
        device = next(iter(self.calls.values())).device
        return None if masks is None else torch.as_tensor(masks).to(device)


def reduce_maps(maps: Tensor, how: str) -> Tensor:
    """Maps [n, C, H, W] as one value per pixel [n, H, W]: the channels' sum, sum of absolute values, or maximum."""
    if how == "abs-sum":
        return maps.abs().sum(1)
    return maps.amax(1) if how == "max" else maps.sum(1)
