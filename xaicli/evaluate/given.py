"""What a generation was given: the seeds its images began from, or the images that they invert or change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xaicli.errors import XaicliError
from xaicli.evaluate.gallery import NONE, Gallery
from xaicli.files.artifact import Artifact
from xaicli.files.parents import Parents
from xaicli.generate.subject import Subject
from xaicli.run.cases import Case
from xaicli.run.inputs import Inputs
from xaicli.run.progress import warn
from xaicli.run.settings import Settings
from xaicli.run.stored import StoredImages
from xaicli.specs import recorded_spec

KINDS = ("attributions", "images")
CHECKED = 16  # rows that are compared with the store's digests


def given_to(case: Case, images: StoredImages, parents: Parents, settings: Settings) -> Gallery:
    """One image for each that is judged, made or read again as the store's job says; none, and a warning, if it fails.

    images: the store that is judged, all rows of it.
    """
    assert case.images is not None
    try:
        inputs = _ordered(case, case.images, parents, settings)
        rows = inputs.load(0, min(CHECKED, len(inputs)))
        if len(inputs) == len(images) and np.array_equal(rows.samples, images.store.column("sample")[: len(rows)]):
            return Gallery(inputs.dataset, inputs.positions[case.inputs.positions])
        reason = "they are not what they were any more."
    except XaicliError as error:
        reason = str(error)
    warn(f"the images that '{case.images.path.name}' was made from cannot be compared with it: {reason}")
    return Gallery(images, np.full(len(case.inputs), NONE, dtype=np.int64))


def _ordered(case: Case, store: Artifact, parents: Parents, settings: Settings) -> Inputs:
    """The rows that the generator was asked for."""
    job = store.job
    found = {role: parents.find(role, str(id), store) for role, id in store.parents.items() if role in KINDS}
    chosen = dict(job.get("selection") or {})
    subject = Subject(
        case.checkpoint,
        case.meta,
        found.get("attributions"),
        found.get("images"),
        [int(label) for label in job.get("classes") or ()],
        parents,
        replace(settings, limit=chosen.get("limit"), per_class=chosen.get("per_class"), seed=int(job["seed"])),
    )
    spec = recorded_spec("generate", str(job["method"]), job["options"])
    inputs: Inputs = spec.method.load()(**spec.options).order(subject, str(spec)).inputs
    return inputs
