"""Feature visualisation: what a unit, a channel, a direction or a class inside a network responds to most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from xaicli.errors import UsageError
from xaicli.files.columns import Column
from xaicli.generate.ascend import Made
from xaicli.generate.objectives import ClassScore, Response
from xaicli.generate.observed import EXTREMES, observe
from xaicli.generate.parameters import Fourier, Phases, Pixels
from xaicli.generate.plan import Objective, Parameters, Plan, Rule, Task
from xaicli.generate.representation import Representation
from xaicli.generate.rules import Adam, Strides
from xaicli.generate.starts import Starts, make_starts, noise_draw
from xaicli.generate.statistics import Statistics
from xaicli.generate.subject import Order, Ready, Subject, plain_task, stride_at
from xaicli.generate.transforms import Transforms
from xaicli.run.blocks import Columns
from xaicli.run.calls import Calls
from xaicli.run.inputs import Inputs, Rows
from xaicli.run.random import Stream
from xaicli.signatures import Count, Positive, Share

NO_UNIT = 2**32 - 1
TINY = 1e-12  # of a direction's length
FIRST_UNITS = tuple(range(8))
EXTRA = (
    Column("unit", "<u4", fill=NO_UNIT),
    *(Column(name, "<u8", (EXTREMES,)) for name in ("top", "bottom")),
    *(Column(f"{name}_value", "<f4", (EXTREMES,)) for name in ("top", "bottom")),
)


@dataclass(frozen=True)
class Visualisation:
    """What is driven, and what images are made of; `steps` and `step` are set by the parameterisation if None."""

    objective: Literal["logit", "channel", "unit", "direction"]
    layer: str
    units: tuple[int, ...]
    parameterisation: Literal["pixel", "fourier", "maco"]
    steps: int
    step: float | None
    transforms: bool
    samples: int
    plateau: float

    of_classes = True

    @property
    def looks_inside(self) -> bool:
        """A logit can be that of the mean of several networks."""
        return self.objective != "logit"

    @property
    def by_class(self) -> bool:
        """Whether what is driven has a class."""
        return self.objective in ("logit", "direction")

    @property
    def forwards(self) -> int:
        """A forward a step, and one of the image as it is stored."""
        return self.steps + 1

    def order(self, subject: Subject, asked: str) -> Order:
        """Noise for every class, or for every unit."""
        if not self.by_class and not subject.every:
            raise UsageError(f"'{asked}' drives units, not classes; name them with units=, and leave --classes out.")
        recorded = {**dict(subject.meta.data or {}), "split": "train"}
        starts = make_starts(
            noise_draw(subject.meta.shape, subject.settings.seed, f"feature-visualisation:{self.objective}"),
            name="noise",
            digest="",
            classes=subject.meta.classes,
            driven=subject.wanted if self.by_class else self.units,
            each=subject.each,
            shape=subject.meta.shape,
            units=not self.by_class,
        )
        inputs = Inputs(starts, np.arange(len(starts)))
        return Order(inputs, dict(subject.meta.data or {}), columns=EXTRA, attributes={"training": recorded})

    def ready(self, subject: Subject, order: Order, calls: Calls) -> Ready:
        """With the data's statistics, and its images that drive the objective most and least."""
        starts = order.inputs.dataset
        assert isinstance(starts, Starts)  # as ordered
        response = Response(Representation(self.layer), "middle" if self.objective == "unit" else "mean")
        training = subject.training("train or import it with its data")
        driven = list(dict.fromkeys(starts.driven.tolist()))
        seen = observe(training, self.samples, calls, None if self.objective == "logit" else response)
        aims = self._aims(driven, seen.means(driven) if self.objective == "direction" else None, response, calls)
        values = seen.logits[:, driven] if aims is None else seen.pooled @ aims.T
        extremes = {unit: seen.extremes(values[:, n]) for n, unit in enumerate(driven)}
        objective = ClassScore() if aims is None else response
        plan = self.plan(max(subject.meta.shape[1:]), objective, seen.statistics)
        stream = f"feature-visualisation:{self.objective}:transforms"

        def task(rows: Rows) -> Task:
            unit = starts.driven[rows.positions]
            target = torch.as_tensor(unit).to(calls.device) if self.by_class else None
            places = [driven.index(int(one)) for one in unit]
            whole = plain_task(calls, rows, target=target, aim=None if aims is None else aims[places].to(calls.dtype))
            if plan.vary is None:
                return whole
            draws = [
                Stream(subject.settings.seed, f"{stream}:{one}", (int(number),)).uniform((self.steps, 4))
                for one, number in zip(unit, starts.number[rows.positions], strict=True)
            ]
            return replace(whole, draws=torch.as_tensor(np.concatenate(draws)).to(whole.start))

        def columns(rows: Rows, task: Task, made: Made) -> Columns:
            unit = starts.driven[rows.positions]
            found = [extremes[int(one)] for one in unit]
            numbers = np.full(len(unit), NO_UNIT) if self.by_class else unit
            return {
                "start": np.full(len(rows), -1),
                "unit": numbers.astype(np.uint32),
                **({"target": unit.astype(np.uint16)} if self.by_class else {}),
                **{name: np.stack([one[name] for one in found]) for name in found[0]},
            }

        return Ready(plan, task, columns)

    def _aims(self, driven: list[int], means: Tensor | None, response: Response, calls: Calls) -> Tensor | None:
        """What of the layer is driven, [number driven, D] in float64; None for a logit."""
        if self.objective == "logit":
            return None
        if means is not None:
            length: Tensor = means.norm(dim=1, keepdim=True)
            return means / length.clamp_min(TINY)
        width = response.inside.width(calls)
        if max(driven) >= width:
            raise UsageError(f"the layer '{self.layer}' has {width} units, numbered from 0; there is no {max(driven)}.")
        units: Tensor = torch.eye(width, dtype=torch.float64, device=calls.device)[driven]
        return units

    def plan(self, side: int, objective: Objective, statistics: Statistics) -> Plan:
        """For images of this side and data."""
        parameters: Parameters = Pixels()
        rule: Rule = Strides(stride_at(side, self.step))
        if self.parameterisation != "pixel":
            fourier = self.parameterisation == "fourier"
            parameters = Fourier(statistics) if fourier else Phases(statistics)
            rule = Adam((0.03 if fourier else 0.1) if self.step is None else self.step)
        vary = Transforms() if self.transforms else None
        folds = self.objective == "logit"
        return Plan(self.steps, parameters, objective, rule, self.plateau, vary, folds=folds)


def feature_visualisation(
    *,
    objective: Literal["logit", "channel", "unit", "direction"] = "logit",
    layer: str = "auto",
    units: tuple[int, ...] | None = None,
    parameterisation: Literal["pixel", "fourier", "maco"] = "fourier",
    steps: Count = 200,
    step: Positive | None = None,
    transforms: bool = True,
    samples: Count = 1024,
    plateau: Share = 0.0,
) -> Visualisation:
    """Images that drive a part of the network as far as it goes (Olah et al., 2017; Fel et al., 2023).

    objective: a class's `logit`; a `channel` of `layer`, in the mean of its places; a `unit`, its place in the middle;
    or a `direction` in the layer, from the mean of all training images to that of a class's. layer: auto is the last
    with a spatial map, `features` what the last linear layer is given. units: channels by number, such as 3,17; auto
    takes the first eight. Of each class or unit --per-class images are made, from different noise.

    parameterisation=pixel: the pixels, by normalised l2 steps in [0, 1].
    parameterisation=fourier: Fourier coefficients divided by their frequency, in colours that do not correlate in the
    training data, by Adam.
    parameterisation=maco: phases alone by Adam; the magnitudes are the training data's means.

    transforms: before every step the image is moved by up to a sixteenth of its side, scaled by up to 1.1 and turned by
    up to 10 degrees, by numbers that belong to the image and the step. samples: training images that colours,
    magnitudes and directions are taken from, and among which are the three that drive the objective most and least:
    `top` and `bottom`, rows of the training split, with their values. step: auto is 0.5 of pixels at 32 pixels, in
    proportion to the side, and Adam's 0.03 and 0.1 for fourier and maco. plateau: an image is finished when ten steps
    have brought no more than this share of all it has gained; 0 makes all steps.
    """
    chosen = FIRST_UNITS if units is None else units
    if min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise UsageError("feature-visualisation:units= names every unit once, by a number from 0 on.")
    return Visualisation(objective, layer, chosen, parameterisation, steps, step, transforms, samples, plateau)
