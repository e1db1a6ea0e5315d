"""What is removed: subsets, cells and squares, what they cost, and that no explainer decides over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, value
from tests.nets import linear, small_net, some_images
from xaicli.evaluate.cells import cut
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.evaluate.patches import Patches
from xaicli.evaluate.subsets import Subsets
from xaicli.specs import parse_spec

NET = small_net(5, side=8)
IMAGES = some_images(3, NET)
MAPS = torch.randn(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_cells_are_a_partition_of_nearly_equal_size() -> None:
    for height, width, grid in [(8, 8, 3), (7, 10, 4), (3, 9, 5), (1, 1, 9), (6, 6, 6)]:
        cells = cut(torch.zeros(1, 1, height, width), grid)
        assert cells.cells == min(grid, height) * min(grid, width)
        sizes = np.bincount(cells.places.numpy(), minlength=cells.cells)
        assert sizes.min() >= 1 and sizes.max() <= (height // min(grid, height) + 1) * (width // min(grid, width) + 1)
        maps = torch.rand(2, height, width, dtype=torch.float64)
        by_hand = [[m.flatten()[cells.places == c].sum() for c in range(cells.cells)] for m in maps]
        assert cells.sums(maps).numpy() == pytest.approx(np.array(by_hand), abs=1e-14)
    assert cut(torch.zeros(1, 1, 4, 5), None).places.tolist() == list(range(20))


@pytest.mark.parametrize(("share", "grid", "size"), [(0.2, None, 13), (0.001, None, 1), (1.0, None, 63), (0.5, 3, 4)])
def test_subsets_have_their_size_and_hit_every_cell_equally(share: float, grid: int | None, size: int) -> None:
    options = {"share": share, "grid": grid, "draws": 400}
    subsets: Subsets = answers_of(NET, IMAGES).ask("subset_removal", options)
    masks = [subsets.removed(row) for row in range(3)]
    assert all((mask.sum(1) == size).all() for mask in masks)
    assert not torch.equal(masks[0], masks[1])
    chance = size / subsets.grid.cells
    hits = torch.cat(masks).double().mean(0)
    assert ((hits - chance).abs() < 5 * np.sqrt(chance * (1 - chance) / 1200)).all()  # five standard deviations


def test_the_asked_images_are_the_drawn_ones() -> None:
    answers = answers_of(NET, IMAGES)
    options = {"draws": 9, "baseline": "noise"}
    black = answers.ask("baseline_image", options)
    subsets: Subsets = answers.ask("subset_removal", {**options, "grid": 3})
    patches: Patches = answers.ask("patch_removal", options)
    cells = answers.ask("cell_removal", {**options, "grid": 3})
    for row, image in enumerate(IMAGES):
        for draw in range(9):
            mask = subsets.removed(row)[draw][subsets.grid.places].view(8, 8)
            assert torch.allclose(NET(torch.where(mask, black[row], image)[None])[0], subsets.logits[row, draw])
            mask = cells.grid.places.view(8, 8) == draw
            assert torch.allclose(NET(torch.where(mask, black[row], image)[None])[0], cells.logits[row, draw])
            seen, (y, x, s) = (
                image.clone(),
                (int(part[row, draw]) for part in (patches.top, patches.left, patches.side)),
            )
            seen[:, y : y + s, x : x + s] = black[row, :, y : y + s, x : x + s]
            assert torch.allclose(NET(seen[None])[0], patches.logits[row, draw])
            inside = MAPS[row, y : y + s, x : x + s].sum()
            assert patches.sums(MAPS)[row, draw].item() == pytest.approx(inside.item(), abs=1e-13)


def test_squares_lie_inside_and_have_every_side_equally_often() -> None:
    patches: Patches = answers_of(NET, IMAGES).ask("patch_removal", {"draws": 900, "largest": 0.5})
    assert (patches.top >= 0).all() and (patches.top + patches.side <= 8).all()
    assert (patches.left >= 0).all() and (patches.left + patches.side <= 8).all()
    counts = np.bincount(patches.side.flatten().numpy(), minlength=5)[1:]
    assert len(counts) == 4 and np.abs(counts - 675).max() < 5 * np.sqrt(2700 * 3 / 16)
    single = answers_of(NET, IMAGES).ask("patch_removal", {"draws": 400, "largest": 0.0})
    assert (single.side == 1).all() and len((8 * single.top + single.left).unique()) == 64


def test_noise_in_a_cell_is_uniform_and_changes_nothing_else() -> None:
    first_pixel = torch.zeros(2, 2, 8, 8, dtype=torch.float64)
    first_pixel[0, 0, 0, 0] = first_pixel[1, 0, 7, 7] = 1
    answers = answers_of(linear(first_pixel), IMAGES)
    logits = answers.ask("cell_noise", {"grid": None, "draws": 150}).logits
    assert logits.shape == (3, 64, 150, 2)
    same = IMAGES[:, 0, 0, 0].view(3, 1, 1)
    assert torch.equal(logits[:, 1:, :, 0], same.expand(3, 63, 150))
    drawn = logits[:, 0, :, 0].flatten()
    assert drawn.min() >= 0 and drawn.max() < 1 and abs(drawn.mean() - 0.5) < 5 / np.sqrt(12 * 450)
    assert len(drawn.unique()) > 445 and (logits[:, 63, :, 1] != drawn.view(3, 150)).all()


def test_explainers_and_metrics_share_what_is_asked() -> None:
    """Ancona's sizes hold Bhatt's; the estimate and non-sensitivity have cells of their own; squares are asked once."""
    names = ["sensitivity-n:draws=20", "faithfulness-correlation:draws=20", "infidelity:draws=20", "gini",
             "faithfulness-estimate:grid=3", "non-sensitivity:grid=3",
             "monotonicity-correlation:grid=3,draws=1"]  # fmt: skip
    metrics = name_metrics([parse_spec("evaluate", name) for name in names])
    outer = answers_of(NET, IMAGES)
    for maps in (MAPS, -MAPS, MAPS.flip(0)):
        inner = outer.within({"attribution": maps, "signed": answers_of(NET, IMAGES, maps).ask("signed", {})})
        for metric in metrics:
            metric.evaluate(inner)
    # image, six sizes of subsets, squares, cells in black, cells in noise
    assert planned_forwards(metrics, 3, 64) == 1 + 6 * 20 + 20 + 9 + 9
    assert outer.ask("subject", {}).calls.forwards == 3 * planned_forwards(metrics, 3, 64)


def test_a_map_does_not_decide_over_its_perturbations() -> None:
    answers = [answers_of(NET, IMAGES, maps) for maps in (MAPS, -MAPS)]
    for metric in ("infidelity", "mu-fidelity", "sensitivity-n", "non-sensitivity"):
        assert value(metric, answers[0]).shape == value(metric, answers[1]).shape
    for query in ("patch_removal", "subset_removal", "cell_noise"):
        assert torch.equal(*(found.ask(query, {"draws": 5}).logits for found in answers))
