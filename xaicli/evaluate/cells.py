"""The cells of a grid, removed one by one: what each piece of the image does to the model's answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaicli.evaluate.asked import Subject
from xaicli.evaluate.perturbed import drops, perturbed_logits, replaced
from xaicli.run.plan import forwards
from xaicli.run.random import Stream


@dataclass(frozen=True)
class Grid:
    """An image cut into cells of nearly equal size."""

    places: Tensor  # int64 [H * W], the number of the cell that each pixel lies in
    cells: int
    size: tuple[int, int]  # height and width

    def sums(self, maps: Tensor) -> Tensor:
        """The sum of each map [n, H, W] over each cell, float64 [n, cells]."""
        flat = maps.double().flatten(1)
        if self.cells == flat.shape[1]:
            return flat
        return flat.new_zeros((len(flat), self.cells)).scatter_add_(1, self.places.expand_as(flat), flat)

    def paint(self, chosen: Tensor) -> Tensor:
        """Masks [k, H, W] from masks over the cells [k, cells]."""
        return chosen.index_select(1, self.places).view(-1, *self.size)


def cut(images: Tensor, grid: int | None) -> Grid:
    """Cut images [n, C, H, W] into `grid` x `grid` cells (no more than pixels), or into single pixels (None)."""
    height, width = images.shape[2:]
    down, across = (min(grid or length, length) for length in (height, width))
    rows = torch.arange(height, device=images.device) * down // height
    columns = torch.arange(width, device=images.device) * across // width
    return Grid((rows.unsqueeze(1) * across + columns).flatten(), down * across, (height, width))


def count_cells(grid: int | None, size: int) -> int:
    """Cells of an image of so many pixels (of narrow ones, at most so many)."""
    return min(grid**2, size) if grid else size


@dataclass(frozen=True)
class CellResponses:
    """Logits [n, cells, K] with each cell alone replaced, or [n, cells, draws, K] with draws of noise."""

    grid: Grid
    logits: Tensor


@forwards(lambda grid, size: count_cells(grid, size))
def cell_removal(subject: Subject, baseline_image: Tensor, *, grid: int | None = 16) -> CellResponses:
    """Every cell alone replaced by the baseline."""
    cells = cut(subject.images, grid)
    one = torch.eye(cells.cells, dtype=torch.bool, device=subject.images.device)

    def perturb(row: int, numbers: Tensor) -> Tensor:
        return replaced(subject.images[row], baseline_image[row], cells.paint(one[numbers]))

    return CellResponses(cells, perturbed_logits(subject, cells.cells, perturb))


@forwards(lambda grid, draws, size: count_cells(grid, size) * draws)
def cell_noise(subject: Subject, stream: Stream, *, grid: int | None = 16, draws: int = 5) -> CellResponses:
    """Every cell alone replaced by uniform noise, several times; a draw's noise is one image, shared by the cells."""
    images, cells = subject.images, cut(subject.images, grid)
    held: dict[int, Tensor] = {}

    def noise(row: int) -> Tensor:
        if row not in held:  # rows come in order, and one row's noise at a time is enough
            held.clear()
            drawn = stream.row(row, "noise").uniform((draws, *images.shape[1:]))[0]
            held[row] = torch.as_tensor(drawn).to(images)
        return held[row]

    def perturb(row: int, numbers: Tensor) -> Tensor:
        chosen = cells.places.view(1, *cells.size) == (numbers // draws).view(-1, 1, 1)
        return replaced(images[row], noise(row)[numbers % draws], chosen)

    logits = perturbed_logits(subject, cells.cells * draws, perturb)
    return CellResponses(cells, logits.view(len(images), cells.cells, draws, -1))


def noise_changes(cell_noise: CellResponses, subject: Subject, image_score: Tensor, quantity: str) -> Tensor:
    """How much of the quantity each draw of noise takes away, float64 [n, cells, draws]."""
    logits = cell_noise.logits
    return drops(subject, image_score, logits.flatten(1, 2), quantity).view(logits.shape[:3])


QUERIES = (cell_removal, cell_noise)
