"""What some metrics say of all rows together, where a mean over rows would say nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from xaicli.evaluate.direction import Better
from xaicli.evaluate.statistics import Estimate, Values


@dataclass(frozen=True)
class Figure:
    """One figure of one source. part: its name below the metric's, empty for the metric's own.

    against: what else was judged beside the rows that are meant, such as a data set of unknown ones. detector: whose
    scores it is about, if not the source's own. details: what else its record says.
    """

    part: str
    estimate: Estimate
    better: Better
    proportion: bool = False
    against: str = ""
    detector: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


Bits: TypeAlias = npt.NDArray[np.bool_]
Columns: TypeAlias = Mapping[str, Values]
"""A source's values of all rows by part, its own under the empty name."""
Facts: TypeAlias = Mapping[str, Any]
"""What a source's training says of itself."""
Together: TypeAlias = Callable[[Sequence[Columns], Sequence[Facts], Mapping[str, Any], int], list[list[Figure]]]
"""From the sources' columns and facts, the metric's options and the seed to each source's figures."""


def known(value: float | None, n: int) -> Estimate:
    """A figure that is no mean of its n rows."""
    return Estimate(value, None, None, n, 0)
