"""Images as bytes: toward the clean image, inside the ball, and judged as they are stored."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attack.runs import attacked
from tests.nets import small_net
from xaicli.attack.library.distance import distance
from xaicli.attack.quantise import as_stored, to_levels
from xaicli.run.calls import Calls

NET = small_net(seed=1, classes=4, side=8, dtype=torch.float32)
CLEAN = torch.randint(0, 256, (24, 2, 8, 8), generator=torch.Generator().manual_seed(0)).float() / 255
LABELS = NET(CLEAN).argmax(1)


def levels(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1) / 255


def test_values_are_rounded_toward_the_clean_ones() -> None:
    clean = levels([100, 100, 100, 100, 0, 255, 7])
    moved = levels([103.7, 96.2, 100.4, 99.3, 0.9, 254.5, 7])
    assert (to_levels(moved, clean, "linf", None) * 255).round().flatten().tolist() == [103, 97, 100, 100, 0, 255, 7]


def test_a_whole_number_of_levels_stays_whole() -> None:
    """A step of 8/255 in float32 ends a little before or behind the eighth level, for some levels."""
    clean = levels(list(range(8, 248)))
    for sign in (1, -1):
        moved = clean + sign * torch.tensor(8 / 255)
        expected = torch.arange(8, 248) + sign * 8
        assert torch.equal((to_levels(moved, clean, "linf", 8 / 255) * 255).round().flatten().long(), expected)


@settings(max_examples=40, deadline=None)
@given(eps=st.floats(0.001, 0.3), norm=st.sampled_from(["linf", "l2"]), seed=st.integers(0, 2**31 - 1))
def test_no_rounding_leaves_the_ball_or_the_box(eps: float, norm: str, seed: int) -> None:
    noise = torch.randn(CLEAN.shape, generator=torch.Generator().manual_seed(seed)).sign() * 2 * eps
    delta = noise.clamp(-eps, eps) if norm == "linf" else noise * eps / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    moved = (CLEAN + delta).clamp(0, 1)
    found = to_levels(moved, CLEAN, norm, eps)
    level, centre = (found * 255).round().long(), (CLEAN * 255).round().long()
    torch.testing.assert_close(found, level / 255)
    assert found.min() >= 0 and found.max() <= 1
    if norm == "linf":
        assert (level - centre).abs().max().item() <= (eps + 1e-6) * 255
    assert (distance(found.double() - CLEAN.double(), norm) <= eps + 1e-6).all()
    assert ((level - centre).abs() <= (moved - CLEAN).abs() * 255 + 2e-3).all()  # never away from the clean one


@pytest.mark.parametrize("text", ["pgd:eps=0.03", "pgd:norm=l2,eps=0.5", "deepfool", "pgd:eps=0.03,targeted=true"])
def test_the_outcome_is_that_of_the_rounded_images(text: str) -> None:
    done = attacked(text, NET, CLEAN, LABELS, batch_size=8)
    norm, eps = ("l2" if "l2" in text or text == "deepfool" else "linf"), {"p": 0.03, "d": None}[text[0]]
    eps = 0.5 if "l2" in text else eps
    calls = Calls(NET, batch_size=8)
    stored = as_stored(done, CLEAN, LABELS, norm, eps, calls)
    level = (stored.images * 255).round()
    torch.testing.assert_close(stored.images, level / 255, rtol=0, atol=0)
    torch.testing.assert_close(stored.logits, NET(stored.images), rtol=0, atol=1e-5)
    goal = stored.logits.argmax(1) == done.target if "targeted" in text else NET(stored.images).argmax(1) != LABELS
    assert torch.equal(stored.success, goal & (NET(CLEAN).argmax(1) == LABELS))
    torch.testing.assert_close(stored.distance, distance(stored.images - CLEAN, norm))
    if eps is not None:
        assert (stored.distance <= eps + 1e-6).all()
        assert torch.equal(stored.broken_at.isfinite(), stored.success)
    assert torch.equal(stored.stage > 0, stored.success)
    # a change that ended just behind the border is made longer, so that little is lost
    assert done.success.sum() >= 4 and stored.success.sum() >= 0.7 * done.success.sum()
    plain = NET(to_levels(done.images, CLEAN, norm, eps)).argmax(1) != LABELS
    assert (plain & ~stored.success).sum() == 0 or "targeted" in text


def test_rows_that_were_left_alone_and_rows_that_failed_stay_so() -> None:
    labels = LABELS.clone()
    labels[:3] = (labels[:3] + 1) % 4
    done = attacked("pgd:eps=0.03", NET, CLEAN, labels, batch_size=8)
    done.logits[5] = torch.nan
    stored = as_stored(done, CLEAN, labels, "linf", 0.03, Calls(NET, batch_size=8))
    assert torch.equal(stored.images[:3], CLEAN[:3]) and not stored.success[:3].any()
    assert torch.equal(stored.images[5], CLEAN[5]) and stored.logits[5].isnan().all() and not stored.success[5]


def test_a_security_curve_keeps_each_row_in_its_own_ball() -> None:
    done = attacked("pgd:eps=0.01,0.02,0.05", NET, CLEAN, LABELS, batch_size=8)
    stored = as_stored(done, CLEAN, LABELS, "linf", 0.05, Calls(NET, batch_size=8))
    assert stored.success.any() and len(set(stored.broken_at[stored.success].tolist())) > 1
    assert (stored.distance <= stored.broken_at.nan_to_num(nan=0.05) + 1e-6).all()
