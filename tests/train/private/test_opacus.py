"""Against Opacus, whose hooks hold the gradient of every sample of layers that they know."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.train.private.one_by_one import add
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.models.group_norm import group_norms
from xaicli.models.load import lay_out
from xaicli.train.private.clipped import Clipped


def network(arch: str, shape: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    built = build_network(parse_arch(arch), 10, shape[0], shape[1:])
    group_norms(built)
    return built


@pytest.mark.filterwarnings("ignore")  # of hooks
@pytest.mark.parametrize(("arch", "shape"), [("dp-cnn", (1, 28, 28)), ("cnn", (3, 32, 32))])
def test_norms_and_sums_are_those_of_its_gradients_per_sample(arch: str, shape: tuple[int, int, int]) -> None:
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    images, labels = torch.rand(16, *shape), torch.randint(0, 10, (16,))
    theirs = GradSampleModule(network(arch, shape))
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1)
    optimizer = DPOptimizer(sgd, noise_multiplier=0.0, max_grad_norm=1.0, expected_batch_size=16)
    cross_entropy(theirs((images - 0.5) / 0.25), labels).backward()
    norms = torch.stack([one.grad_sample.flatten(1).norm(dim=1) for one in theirs.parameters()]).norm(dim=0)
    optimizer.max_grad_norm = norms.median().item()
    optimizer.clip_and_accumulate()

    names = [str(number) for number in range(10)]
    ours = Classifier(network(arch, shape), [0.5] * shape[0], [0.25] * shape[0], names, shape)
    clipped = Clipped(lay_out(ours, "cpu"), norms.median().item())
    torch.testing.assert_close(add(clipped, images, labels), norms, rtol=1e-5, atol=0)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(
            own.grad, other.summed_grad, rtol=1e-4, atol=1e-6 * other.summed_grad.norm().item() + 1e-7
        )
