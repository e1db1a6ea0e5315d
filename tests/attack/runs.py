"""Short ways to run an attack without files."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xaicli.attack.engine import Attacked
from xaicli.attack.runner import runner
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.specs import parse_spec


def attacked(
    text: str,
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    index: Sequence[int] | None = None,
    batch_size: int = 4,
    seed: int = 0,
) -> Attacked:
    spec = parse_spec("attack", text)
    index = tuple(index) if index is not None else tuple(range(len(images)))
    calls = Calls(classifier, batch_size=batch_size)
    return runner(spec.method.load()(**spec.options), calls, Stream(seed, "attack", index)).run(images, labels)
