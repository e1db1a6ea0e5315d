"""Per-row scores of models: the open models of one run, which answer for every source and metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.attack.judging import FRESH
from xaicli.data.dataset import Dataset, to_float
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.companions import Companions
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.neighbours import TrainingRows
from xaicli.evaluate.queries import EVALUATE
from xaicli.evaluate.refusals import Refusals
from xaicli.evaluate.subject import Source
from xaicli.evaluate.temperature import HeldOut
from xaicli.evaluate.trained import Seen
from xaicli.files.columns import Status
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.cases import Case
from xaicli.run.device import prepare
from xaicli.run.inputs import Rows, match_rows
from xaicli.run.plan import Answers
from xaicli.run.posterior import STREAM, open_calls
from xaicli.run.settings import Settings


class ModelScorer:
    """The open models of one run."""

    def __init__(
        self,
        sources: Sequence[Source],
        metrics: Sequence[Metric],
        original: Dataset | None,
        settings: Settings,
        training: Callable[[Case], TrainingRows] | None,
        seen: Seen | None,
        held: Mapping[str, HeldOut],
        beside: Companions | Refusals | None,
    ) -> None:
        device = prepare(settings)
        self.seen, self.held, self.beside = seen, held, beside
        self.sources, self.metrics, self.original, self.seed = sources, metrics, original, settings.seed
        self.index = sources[0].inputs.index
        self.calls: dict[str, Calls] = {}
        for source in sources:
            checkpoint = source.case.checkpoint
            if checkpoint.id not in self.calls:
                self.calls[checkpoint.id] = open_calls(
                    checkpoint.path, device=device, settings=settings, stream=_stream(source.case)
                )
        self.training: dict[str, TrainingRows] = {}
        if training is not None and any("training" in metric.needs for metric in metrics):
            self.training = {source.case.checkpoint.id: training(source.case) for source in sources}

    def score(self, rows: Rows) -> Columns:
        """Columns of some rows over all sources and metrics."""
        columns: Columns = {}
        status = np.full(len(rows), Status.OK, dtype=np.uint8)
        start = int(np.searchsorted(self.index, rows.index[0]))
        for number, source in enumerate(self.sources):
            if source.of:
                columns |= self._worst(number, source.of, columns)
                continue
            here = rows if source.inputs is self.sources[0].inputs else source.inputs.load(start, start + len(rows))
            status = np.where(status == Status.OK, here.status, status)
            answers = self._answers(source, here)
            logits = answers.ask("logits", {})
            status[~torch.isfinite(logits).all(1).cpu().numpy()] = Status.NON_FINITE
            for metric in self.metrics:
                found, _ = metric.evaluate(answers)
                columns |= {f"sources/{number}/{label}": values for label, values in found.items()}
        return {**columns, "status": status.astype(np.uint8)}

    def _answers(self, source: Source, rows: Rows) -> Answers:
        calls = self.calls[source.case.checkpoint.id]
        images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
        labels = torch.as_tensor(rows.labels).to(calls.device)
        nothing = torch.full_like(labels, 65535)
        roots: dict[str, Any] = {"subject": Subject(calls, images, labels, nothing), "labels": labels}
        if self.original is not None:
            roots["clean"] = self._clean(rows, images)
        if self.training:
            roots["training"] = self.training[source.case.checkpoint.id]
        if self.held:
            roots["held_out"] = self.held[source.case.checkpoint.id]
        if self.seen is not None:
            roots["trained"] = self.seen.rows[source.case.checkpoint.id].of(rows.index, calls.device)
        if self.beside is not None:
            roots |= self.beside.roots(source.case, roots["subject"], rows)
        return Answers(EVALUATE, roots, seed=self.seed, index=tuple(int(number) for number in rows.index))

    def _clean(self, rows: Rows, images: Tensor) -> Tensor:
        assert self.original is not None
        positions = match_rows(self.original, rows.index, "the images").positions
        return torch.as_tensor(to_float(self.original.read(positions).pixels)).to(images)

    def _worst(self, number: int, members: Sequence[int], columns: Columns) -> Columns:
        """Robust accuracy where a row counts only if it is right under every attack; other metrics are undefined."""
        found: Columns = {}
        for metric in self.metrics:
            for label in metric.columns:
                parts = np.stack([columns[f"sources/{member}/{label}"] for member in members])
                worst = parts.min(0) if metric.spec.name == "robust-accuracy" else np.full_like(parts[0], np.nan)
                found[f"sources/{number}/{label}"] = worst
        return found


def _stream(case: Case) -> str:
    """The random stream of an uncertain checkpoint's draws: attacked images are judged by others than were attacked."""
    return FRESH if case.images is not None and case.images.job.get("verb") == "attack" else STREAM
