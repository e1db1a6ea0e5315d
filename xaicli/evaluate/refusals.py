"""Who refuses which rows of a run: detectors fitted once, the checkpoint's own, and the rows that it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from xaicli.data.dataset import Rows as Places
from xaicli.errors import InputError, MissingError, UnavailableError, UsageError
from xaicli.evaluate.asked import Subject
from xaicli.evaluate.clustering import Refused
from xaicli.evaluate.clusters import Features, cluster
from xaicli.evaluate.known_scores import Detectors
from xaicli.evaluate.open_rows import KNOWN, OpenRows
from xaicli.files.checkpoint import read_checkpoint
from xaicli.files.columns import Status
from xaicli.files.parents import Parents
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.known import known_rows
from xaicli.models.detectors.table import DETECTORS, fit, is_fitted
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, reopen_known
from xaicli.run.features import compute_training
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.once import Once
from xaicli.run.posterior import open_calls
from xaicli.run.progress import Progress, warn
from xaicli.run.rejection import Rejector, rejector_of
from xaicli.run.settings import Settings

OF_THE_MEAN = ("msp", "entropy")  # of log probabilities the energy is 0, and the largest one says what msp does


@dataclass(frozen=True, eq=False)
class Refusals:
    """The rows of one run by the checkpoint's id; what its checkpoints are asked about, once each."""

    rows: dict[str, OpenRows]
    parents: Parents
    settings: Settings
    once: Once = field(default_factory=Once)

    def document(self, cases: Sequence[Case]) -> dict[str, Any]:
        """What the job says of the rows, and of the cases' own detectors."""
        detectors = [(case.meta.rejection or {}).get("detector") for case in cases]
        return {**self.rows[cases[0].checkpoint.id].document, "detectors": detectors}

    def roots(self, case: Case, subject: Subject, rows: Rows) -> dict[str, Any]:
        """The roots of some rows of one checkpoint."""
        id, judged, calls = case.checkpoint.id, self.rows[case.checkpoint.id], subject.calls

        def own(calls: Calls) -> Rejector | None:
            return self.once((id, "own"), lambda: rejector_of(read_checkpoint(case.checkpoint.path), calls))

        def fitted(calls: Calls) -> dict[str, Detector]:
            return self.once((id, "fitted"), lambda: self._fitted(case, calls))

        return {
            "origin": torch.as_tensor(judged.origin[judged.of(rows.index)]).to(calls.device),
            "detectors": Detectors(fitted, own),
            "refused": self.once((id, "refused"), lambda: self._refused(case, judged, calls, own)),
        }

    def _fitted(self, case: Case, calls: Calls) -> dict[str, Detector]:
        """All detectors that can be fitted; a warning says why another one is left out."""
        if case.meta.posterior is not None:
            return {name: DETECTORS[name]() for name in OF_THE_MEAN}
        name, recorded = case.checkpoint.path.name, case.meta.data_of("fit")
        try:
            if not recorded:
                raise UsageError("nothing says what it was trained on.")
            dataset = reopen_known(recorded, case.meta.shape, self.parents, self.settings)
            training = compute_training(dataset, calls)
            known = known_rows(training.features, training.logits, training.labels, calls.head()).on_cpu()
        except (InputError, MissingError, UnavailableError, UsageError) as error:
            warn(f"'{name}' is judged by those detectors alone that need no fit: {error}")
            return {name: DETECTORS[name]() for name in DETECTORS if not is_fitted(name)}
        found = {}
        for detector in DETECTORS:
            try:
                found[detector] = fit(detector, known, {}).to(calls.device)
            except InputError as error:
                warn(f"{detector} is left out for '{name}': {error}")
        return found

    def _refused(self, case: Case, judged: OpenRows, calls: Calls, own: Callable[[Calls], Rejector | None]) -> Refused:
        id = case.checkpoint.id

        def places(rows: str) -> Places:
            if rows == "unknown":
                return np.flatnonzero(judged.origin != KNOWN)
            return self.once((id, "places"), lambda: _refused_places(judged.inputs, calls, own))

        def features(rows: str) -> Features:
            return self.once((id, "features", rows), lambda: self._features(case, judged, calls, places(rows)))

        def grouped(rows: str, algorithm: str, clusters: int | None, seed: int) -> Places:
            key = (id, rows, algorithm, clusters, seed)
            return self.once(key, lambda: cluster(algorithm, features(rows), clusters=clusters, seed=seed))

        return Refused(judged.inputs.index, judged.truth, places, grouped)

    def _features(self, case: Case, judged: OpenRows, calls: Calls, places: Places) -> Features:
        """The features of rows at these places, [n, D]; of an uncertain checkpoint those of its one plain network."""
        if case.meta.posterior is None:
            asking = calls.apart()
        else:
            asking = open_calls(case.checkpoint.path, device=calls.device, settings=self.settings, draws=0)
        return compute_features(Inputs(judged.inputs.dataset, judged.inputs.positions[places]), asking)


def _refused_places(inputs: Inputs, calls: Calls, own: Callable[[Calls], Rejector | None]) -> Places:
    """Which of the rows the checkpoint's own detector refuses; none is a forward of any row."""
    asking, rejector = calls.apart(), own(calls)
    assert rejector is not None  # clustering is refused without one
    refused = []
    with Progress("rows that are refused", len(inputs)) as progress:
        for rows in inputs.pieces():
            images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
            kept = rejector.keeps(rejector.scores(asking, images))
            refused.append(~kept & (rows.status == Status.OK))
            progress.advance(len(rows))
    return np.flatnonzero(np.concatenate(refused))


def compute_features(inputs: Inputs, calls: Calls) -> Features:
    """The features of all these rows."""
    parts = []
    for rows in inputs.pieces():
        parts.append(calls.features(torch.as_tensor(rows.pixels).to(calls.device, calls.dtype))[1].cpu().numpy())
    return np.concatenate(parts)
