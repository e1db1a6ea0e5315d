"""What judging generated images takes from outside their store: another model, and images to compare them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaicli.data.dataset import Dataset
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.company import Beside, Company, Split
from xaicli.evaluate.gallery import Gallery
from xaicli.evaluate.made import stored, targets
from xaicli.evaluate.neighbours import read_pieces
from xaicli.files.artifact import Artifact
from xaicli.run.calls import Calls
from xaicli.run.cases import Case
from xaicli.run.features import compute_training
from xaicli.run.inputs import Rows
from xaicli.run.once import Once
from xaicli.run.posterior import open_calls
from xaicli.run.settings import Settings


@dataclass(frozen=True, eq=False)
class Sets:
    """What the images of one store stand beside; classes: int64 [N]; facts: which images those are."""

    galleries: Mapping[Beside, Gallery]
    splits: Mapping[Split, Dataset]
    classes: Tensor
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Companions:
    """All that the metrics of generated images ask for.

    beside: by the store's id, if any of them looks beside the images; clean: whether any looks at what was given;
    facts: by source.
    """

    judge: Artifact | None
    beside: Mapping[str, Sets]
    facts: Sequence[Mapping[str, Any]]
    settings: Settings
    clean: bool = False
    once: Once = field(default_factory=Once)
    """What is opened and computed once a run."""

    def roots(self, case: Case, subject: Subject, rows: Rows) -> dict[str, Any]:
        """The roots of some rows of one store."""
        images, calls = stored(case), subject.calls
        target = torch.as_tensor(targets(images)[rows.positions]).to(calls.device)
        reached = torch.as_tensor(images.store.column("score")[rows.positions]).to(calls.device)
        roots: dict[str, Any] = {"subject": replace(subject, target=target), "reached": reached}
        if "top_value" in images.store.columns:
            best = images.store.read(rows.positions, ["top_value"])["top_value"][:, 0]
            roots["best"] = torch.as_tensor(best).to(calls.device)
        if self.judge is not None:
            roots["judge"] = self._opened(self.judge, calls, None)
        if self.beside:
            places = torch.as_tensor(np.searchsorted(case.inputs.positions, rows.positions))
            company = self._company(case, self.beside[images.digest], calls, places)
            roots["company"] = company
            if self.clean:
                roots["clean"] = company.images("given", places).to(subject.images)
        return roots

    def _company(self, case: Case, sets: Sets, calls: Calls, places: Tensor) -> Company:
        measuring = self._measuring(case, calls)

        def features(name: Beside | Split) -> Tensor:
            if name == "test" or name == "training":
                return self._split(sets.splits[name], measuring)
            gallery = sets.galleries[name]
            return self.once((id(gallery), id(measuring)), lambda: gallery.features(measuring))

        def images(name: Beside, rows: Tensor) -> Tensor:
            return sets.galleries[name].images(rows)

        def pieces() -> Iterator[Tensor]:
            return (piece.values for piece in read_pieces(sets.splits["training"]))

        common = self.once(("common", id(sets)), Once)
        return Company(features, images, pieces, sets.classes, places, common)

    def _split(self, dataset: Dataset, measuring: Calls) -> Tensor:
        """The features of all usable images of a split, which the judge sees once for all stores."""
        key = (id(dataset), id(measuring))
        return self.once(key, lambda: compute_training(dataset, measuring).features.double())

    def _measuring(self, case: Case, calls: Calls) -> Calls:
        """The model whose features are measured: one plain function, of the judge if there is one."""
        measuring = self.judge or case.checkpoint
        if measuring is case.checkpoint and case.meta.posterior is None:
            return calls
        return self._opened(measuring, calls, 0)

    def _opened(self, checkpoint: Artifact, calls: Calls, draws: int | None) -> Calls:
        """A checkpoint; draws: 0 for one plain function of an uncertain one."""

        def opened() -> Calls:
            return open_calls(checkpoint.path, device=calls.device, settings=self.settings, draws=draws)

        return self.once((checkpoint.id, draws), opened)
