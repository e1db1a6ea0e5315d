"""What a store of generated images says of them: the class that each was driven to, and what they have in common."""

from __future__ import annotations

import numpy as np

from xaicli.data.dataset import UNKNOWN
from xaicli.evaluate.gallery import Positions
from xaicli.run.cases import Case
from xaicli.run.stored import StoredImages


def stored(case: Case) -> StoredImages:
    """The store of a case as a data set: it was gathered from one."""
    assert isinstance(case.inputs.dataset, StoredImages)
    return case.inputs.dataset


def kinds(images: StoredImages) -> Positions:
    """What images of one kind have in common, int64 [N]: their class, or the unit shown, counted after all classes."""
    classes = targets(images)
    if "unit" not in images.store.columns:
        return classes
    return np.where(classes < UNKNOWN, classes, UNKNOWN + 1 + images.store.column("unit").astype(np.int64))


def targets(images: StoredImages) -> Positions:
    """The class that each image was driven to, int64 [N]; of one that was driven to none, its original's."""
    driven = images.store.column("target").astype(np.int64)
    return np.where(driven < len(images.classes), driven, images.labels)
