"""A map is read from a layer's output and put back, whatever the order of its axes."""

from __future__ import annotations

import pytest
import torch

from xaicli.models.grids import Grid

MAPS = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)  # every number says which image, channel, row and column it is
EXTRA = -1 - torch.arange(2 * 3 * 2).view(2, 3, 2)


def tokens(extra: int) -> torch.Tensor:
    rows = [
        [EXTRA[n, :, e] for e in range(extra)] + [MAPS[n, :, i, j] for i in range(4) for j in range(5)] for n in (0, 1)
    ]
    return torch.stack([torch.stack(row) for row in rows])


@pytest.mark.parametrize(
    ("grid", "output"),
    [
        (Grid(), MAPS),
        (Grid("channels-last"), MAPS.permute(0, 2, 3, 1)),
        (Grid("tokens", 4, 5), tokens(0)),
        (Grid("tokens", 4, 5, 2), tokens(2)),
    ],
)
def test_there_and_back(grid: Grid, output: torch.Tensor) -> None:
    assert torch.equal(grid.maps(output), MAPS)
    assert torch.equal(grid.beside(output), EXTRA[:, :, : grid.extra])
    assert torch.equal(grid.output(grid.maps(output), grid.beside(output)), output)
    assert grid.maps(output).untyped_storage().data_ptr() == output.untyped_storage().data_ptr()  # nothing is copied
