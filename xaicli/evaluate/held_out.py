"""Opening the rows that a checkpoint's training has held out, and asking the model about them once a run."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from xaicli.data.dataset import UNKNOWN, Dataset
from xaicli.errors import InputError, MissingError, UnavailableError, UsageError
from xaicli.evaluate.temperature import HeldOut, fit_temperature
from xaicli.files.columns import Status
from xaicli.files.parents import Parents
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, describe_data, reopen_known
from xaicli.run.inputs import Inputs
from xaicli.run.progress import Progress, warn
from xaicli.run.selection import select
from xaicli.run.settings import Settings

MOST_ROWS = 5000  # as Guo et al. (2017) fit on, on CIFAR


def held_out(case: Case, parents: Parents, settings: Settings) -> HeldOut:
    """The temperature of a checkpoint, fitted when it is first asked for; without held-out rows a warning says why."""
    try:
        inputs = _inputs(case, parents, settings)
    except (InputError, MissingError, UnavailableError, UsageError) as error:
        warn(f"no temperature is fitted for '{case.checkpoint.path.name}': {error}")
        return HeldOut(lambda calls: math.nan, {})

    @cache
    def temperature(calls: Calls) -> float:
        return _temperature(inputs, calls)

    return HeldOut(temperature, {**describe_data(inputs.dataset), "rows": len(inputs)})


def _inputs(case: Case, parents: Parents, settings: Settings) -> Inputs:
    """At most 5,000 rows of the validation split, fewer where fewer are judged."""
    recorded = case.meta.data_of("val")
    if not recorded or case.meta.recipe is None:
        raise UsageError("nothing says which images its training has not seen; judge one that was trained here.")
    dataset = reopen_known(recorded, case.meta.shape, parents, settings)
    chosen = select(dataset, replace(settings, limit=min(settings.limit or MOST_ROWS, MOST_ROWS)))
    inputs = Inputs(dataset, chosen)
    if _share_rows(inputs, case.inputs):
        raise UsageError("the rows that were held out are themselves judged; judge the test split.")
    return inputs


def _share_rows(one: Inputs, other: Inputs) -> bool:
    same = _source(one.dataset) == _source(other.dataset)
    return same and bool(np.isin(one.index, other.index).any())


def _source(dataset: Dataset) -> tuple[str, str]:
    return dataset.name, dataset.digest


def _temperature(inputs: Inputs, calls: Calls) -> float:
    """The temperature for all of these rows that are usable; none is a forward of any row that is judged."""
    asking, dataset = calls.apart(), inputs.dataset
    logits, labels = [], []
    with Progress(f"temperature ({dataset.name}:{dataset.split})", len(inputs)) as progress:
        for rows in inputs.pieces():
            found = asking.logits(torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)).cpu()
            usable = torch.as_tensor((rows.status == Status.OK) & (rows.labels != UNKNOWN)) & found.isfinite().all(1)
            logits.append(found[usable])
            labels.append(torch.as_tensor(rows.labels)[usable])
            progress.advance(len(rows))
    whole = torch.cat(logits)
    return fit_temperature(whole, torch.cat(labels)) if len(whole) else math.nan
