from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xaicli.train.private.gradients import Dense, Product, added, is_small, product


def matrices(places: int, outer: int, inner: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return tuple(  # type: ignore[return-value]
        torch.randn(4, places, width, dtype=torch.float64, generator=random) for width in (outer, inner)
    )


@pytest.mark.parametrize("places", [1, 2, 7])
def test_a_product_has_the_norms_and_sums_of_what_it_multiplies_out_to(places: int) -> None:
    outer, inner = matrices(places, 3, 6)
    found = Product(outer, inner, (2, 3), (0, 2, 1))
    by_hand = torch.stack(
        [sum(torch.outer(g, a) for g, a in zip(outer[i], inner[i], strict=True)) for i in range(4)]  # type: ignore[misc]
    )
    by_hand = by_hand.view(4, 3, 2, 3).transpose(2, 3)
    factors = torch.tensor([0.5, 1.0, 0.0, 0.25], dtype=torch.float64)
    for one in (found, found.dense(), Dense(by_hand)):
        torch.testing.assert_close(one.norms(), by_hand.flatten(1).norm(dim=1), rtol=1e-12, atol=0)
        torch.testing.assert_close(one.total(factors), (factors.view(-1, 1, 1, 1) * by_hand).sum(0))
        torch.testing.assert_close(one.multiplied(), by_hand)


def test_the_cheaper_form_is_chosen() -> None:
    """T places cost T^2 (p + d) operations as they are and T p d multiplied out."""
    for places, outer, inner in [(1, 3, 3), (2, 3, 6), (4, 8, 8), (5, 8, 8), (100, 16, 64)]:
        kind = Dense if places**2 * (outer + inner) >= places * outer * inner else Product
        assert type(product(*matrices(places, outer, inner), (inner,))) is kind
        assert is_small(places, outer, inner) == (kind is Dense)


def test_gradients_of_a_weight_in_two_places_are_added_before_their_norm() -> None:
    there, back = Product(*matrices(2, 3, 3), (3,)), Dense(-Product(*matrices(2, 3, 3), (3,)).multiplied())
    assert there.norms().min() > 1
    assert added([there, back]).norms().tolist() == [0.0] * 4
    assert added([there]) is there


def test_rounding_never_makes_a_norm_too_small() -> None:
    """Two places whose outer products all but cancel: a (g + d) - a g = a d, lost among inner products of a and g."""
    a, g, d = 3000.0, 3000.0, 2.0**-6
    inner = torch.full((1, 2, 1), a)
    outer = torch.tensor([[[g + d], [-g]]])
    exact = Product(outer.double(), inner.double(), (1,)).multiplied().abs().item()
    assert exact == a * d
    squares = (torch.bmm(inner, inner.mT) * torch.bmm(outer, outer.mT)).sum()
    assert squares.clamp(min=0).sqrt().item() < 0.9 * exact  # what is to be mended
    assert Product(outer, inner, (1,)).norms().item() >= exact
