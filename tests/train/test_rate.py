"""Learning rates, step by step."""

from __future__ import annotations

import pytest
import torch

from xaicli.errors import UsageError
from xaicli.train.rate import learning_rate


def rates(name: str, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    schedule = learning_rate(name, optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return found


def test_the_schedules() -> None:
    assert rates("constant", 3) == [0.2] * 3
    assert rates("cyclic", 4) == pytest.approx([0.05, 0.15, 0.15, 0.05])
    assert rates("cyclic", 5) == pytest.approx([0.04, 0.12, 0.2, 0.12, 0.04])
    assert rates("piecewise", 8) == pytest.approx([0.2] * 4 + [0.02] * 2 + [0.002] * 2)
    assert rates("cosine", 4) == pytest.approx([0.2, 0.1 + 0.1 * 2**-0.5, 0.1, 0.1 - 0.1 * 2**-0.5])
    assert max(rates("one-cycle", 10)) == pytest.approx(0.2)
    with pytest.raises(UsageError, match="at least two training steps"):
        rates("one-cycle", 1)
