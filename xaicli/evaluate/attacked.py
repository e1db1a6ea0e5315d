"""Judging attacked images under their models, and their worst case."""

from __future__ import annotations

from collections.abc import Sequence

from xaicli.errors import InputError
from xaicli.evaluate.judged import judge_rows
from xaicli.evaluate.metric import Metric
from xaicli.evaluate.subject import Judged, Request, Source
from xaicli.files.artifact import Artifact
from xaicli.files.parents import Parents
from xaicli.files.sources import Sources
from xaicli.run.cases import Case, gather_cases, reopen_data
from xaicli.run.settings import Settings

WORST = "worst-case"


def judge_images(
    artifacts: Sequence[Artifact], request: Request, metrics: Sequence[Metric], parents: Parents, settings: Settings
) -> Judged:
    """Plan the scores of attacked images under the checkpoints given, or under their own."""
    cases = gather_cases(Sources(request.sources.artifacts, request.sources.hints), parents, request.data, settings)
    sources = [_images_source(case) for case in cases]
    groups: dict[str, list[int]] = {}
    for number, source in enumerate(sources):
        groups.setdefault(source.case.checkpoint.id, []).append(number)
    if any(metric.spec.name == "robust-accuracy" for metric in metrics):
        sources += [
            Source(WORST, {}, sources[members[0]].case, sources[members[0]].inputs, tuple(members))
            for members in groups.values()
            if len(members) > 1
        ]
    original = None
    if any("clean" in metric.needs for metric in metrics):
        images = cases[0].images
        recorded = dict(images.parents.get("data") or {}) if images is not None else {}
        if not recorded.get("name"):
            raise InputError("the images do not name the data they come from, so their change cannot be measured.")
        original = reopen_data(recorded, cases[0].inputs.dataset.shape, parents, settings)
    return judge_rows(sources, request, metrics, original, settings)


def _images_source(case: Case) -> Source:
    assert case.images is not None
    return Source(str(case.images.job["method"]), case.images.job["options"], case, case.inputs)
