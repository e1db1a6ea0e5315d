"""The canonical form of every torchvision classifier family and of our own: the same logits, whatever the weights."""

from __future__ import annotations

import pytest
import torch

from tests.models.families import FAMILIES, lively
from xaicli.models.canonical import canonical


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_form_has_the_logits_of_the_network(family: str) -> None:
    network, size = lively(family)
    network = network.double()  # so that nothing but a difference in kind can show
    images, others = torch.randn(5, 3, size, size, dtype=torch.float64).split([2, 3])
    with torch.no_grad():
        expected = network(others)
        assert expected.std(0).max() > 1e-2 * expected.abs().max()  # or equality would say nothing
        for fold in (False, True):
            form = canonical(network, images, fold=fold)
            error = (form(others) - expected).abs().max() / expected.abs().max()
            assert error < 1e-10
    modules = [node.target for node in form.graph.nodes if node.op == "call_module"]
    assert len(set(modules)) == len(modules)
    assert not any(getattr(module, "inplace", False) for module in form.modules())
    assert not any("Dropout" in type(module).__name__ for module in form.modules())
