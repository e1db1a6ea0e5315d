"""How uncertain the predictions of a distribution over networks are, and how far its networks disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.open_rows import KNOWN
from xaicli.evaluate.open_set import unknown_rows
from xaicli.evaluate.scores import Scores, reports
from xaicli.evaluate.statistics import mean_estimate
from xaicli.evaluate.whole import Columns, Facts, Figure
from xaicli.models.predictive import Predictive, predictive
from xaicli.run.plan import forwards

PARTS = ("", "mutual-information")


@forwards(1)
def draws(subject: Subject) -> Predictive:
    """What the networks that are drawn say of each row, every one asked itself."""
    return predictive(torch.stack([member.logits(subject.images) for member in subject.calls.members()]))


def figures(
    columns: Sequence[Columns], facts: Sequence[Facts], options: Mapping[str, Any], seed: int
) -> list[list[Figure]]:
    """Means over the known rows, and over each source of unknown ones."""
    return [[*_figures(own, one, seed)] for own, one in zip(columns, facts, strict=True)]


def _figures(own: Columns, facts: Facts, seed: int) -> Iterator[Figure]:
    for name, rows in (("", own["origin"] == KNOWN), *unknown_rows(own, facts)):
        for part in PARTS:
            yield Figure(part, mean_estimate(own[part][rows], seed=seed), "neither", against=name)


@reports(parts=("mutual-information", "origin"), together=figures)
def uncertainty(draws: Predictive, origin: Tensor) -> Scores:
    """Entropy of the mean prediction over draws, in nats; neither is better (Depeweg et al., 2018).

    From 0 to log K: all uncertainty that there is. Beside it stands the mutual information of class and network, the
    part of it by which the networks differ, which more data could take away; the rest is in the data. Means over the
    rows of known classes, over those of the classes that --known has left out (`@left-out`), and over each data set
    named with --unknown (`@DATA`). Needs a checkpoint that is a distribution over networks: of the recipe `bayesian`,
    `mc-dropout` or `ensemble`.
    """
    return Scores(draws.entropy, {"mutual-information": draws.mutual_information, "origin": origin.double()})


QUERIES = (draws,)
