"""Whether models take generated images for the class that they were driven to."""

from __future__ import annotations

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.models import right
from xaicli.evaluate.scores import Hits
from xaicli.run.calls import Calls
from xaicli.run.plan import forwards


@forwards(1)
def judge_logits(subject: Subject, judge: Calls) -> Tensor:
    """Logits of another model for the images, [n, K]."""
    return judge.logits(subject.images)


@forwards(1)
def judge_logits_before(clean: Tensor, judge: Calls) -> Tensor:
    """Logits of another model for what the generation was given, [n, K]."""
    return judge.logits(clean)


def target_accuracy(logits: Tensor, subject: Subject) -> Hits:
    """Share of generated images that their own model takes for the class they were driven to, higher is better.

    It says how well the generation did its work, not how good the images are: `judge-accuracy` says that. Undefined for
    images that were driven to no class.
    """
    return Hits(right(logits, subject.target))


def judge_accuracy(judge_logits: Tensor, subject: Subject) -> Hits:
    """Share of generated images that another model takes for the class they were driven to, higher is better.

    The judge is a checkpoint of the same classes that did not make the images: --judge, or a further SOURCE. Undefined
    for images that were driven to no class.
    """
    return Hits(right(judge_logits, subject.target))


def judge_accuracy_floor(judge_logits_before: Tensor, subject: Subject) -> Hits:
    """Share of images as the generation was given them that another model takes for their class; neither is better.

    What `judge-accuracy` would be if the generation had changed nothing: seeds may look like their class already, and
    a model that spoils them scores below. Of an inversion or a counterfactual it is that of the originals. Undefined
    as `judge-accuracy` is.
    """
    known = judge_logits_before.isfinite().all(1)
    return Hits(torch.where(known, right(judge_logits_before, subject.target), torch.nan))


QUERIES = (judge_logits, judge_logits_before)
