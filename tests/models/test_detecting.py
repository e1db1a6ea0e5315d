"""A classifier with its refusal as a further output: the same logits, and the detector's score with its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.nets import classify, small_net, some_images
from xaicli.errors import InputError
from xaicli.models.detecting import detecting
from xaicli.models.detectors.detector import Detector
from xaicli.models.detectors.known import Known, known_rows
from xaicli.models.detectors.table import DETECTORS, fit
from xaicli.models.head import Head, find_head
from xaicli.run.calls import Calls

NET = small_net(side=6, classes=3)
HEAD = find_head(NET)


def known(rows: int = 200) -> Known:
    logits, features = Calls(NET, batch_size=32).features(some_images(rows, NET, seed=7))
    return known_rows(features, logits, logits.argmax(1), HEAD)


KNOWN = known()


def fitted(name: str) -> Detector:
    return fit(name, KNOWN, {"k": 5} if name == "knn" else {})


@pytest.mark.parametrize("name", DETECTORS)
def test_the_last_output_is_the_threshold_less_the_score_and_the_others_are_the_logits(name: str) -> None:
    detector, images = fitted(name), some_images(5, NET)
    head = HEAD if detector.needs_features else None
    made = detecting(NET, head, detector, 0.25, "UNKNOWN")
    logits, features = Calls(NET, batch_size=5).features(images)
    assert made.class_names == (*NET.class_names, "UNKNOWN") and NET.class_names == ("class0", "class1", "class2")
    assert torch.equal(made(images)[:, :3], logits)
    assert torch.equal(made(images)[:, 3], 0.25 - detector.score(features, logits))


@pytest.mark.parametrize("name", ["mahalanobis", "energy", "vim", "knn"])
def test_its_gradient_is_the_slope_of_the_score_in_the_image(name: str) -> None:
    """Through the features, which a score from stored numbers would not have."""
    detector, images = fitted(name), some_images(2, NET)
    made = detecting(NET, HEAD if detector.needs_features else None, detector, 1.0, "UNKNOWN")
    direction = some_images(2, NET, seed=5) - 0.5
    asked = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(made(asked)[:, 3].sum(), asked)

    def refusal(pixels: Tensor) -> Tensor:
        logits, features = Calls(NET, batch_size=2).features(pixels)
        return -detector.score(features, logits)

    step = 1e-6
    slope = (refusal(images + step * direction) - refusal(images - step * direction)) / (2 * step)
    found = (gradient * direction).flatten(1).sum(1)
    assert found.tolist() == pytest.approx(slope.tolist(), rel=1e-5, abs=1e-7)


def test_it_shares_the_weights_and_leaves_the_network_as_it_was() -> None:
    before = dict(NET.network.named_modules())
    made = detecting(NET, HEAD, fitted("mahalanobis"), 0.0, "UNKNOWN")
    assert dict(NET.network.named_modules()) == before
    own = {tensor.data_ptr() for tensor in NET.parameters()}
    assert {tensor.data_ptr() for tensor in made.parameters()} == own and not made.training


class Shaped(nn.Module):
    """A network that counts on as many logits as it has classes."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1)).unflatten(1, (3, 1)).flatten(1)


def test_a_network_that_goes_on_behind_its_last_layer_is_refused() -> None:
    net = classify(Shaped(), (1, 2, 2), 3)
    with pytest.raises(InputError, match="does more with its last layer's output"):
        detecting(net, Head("last", net.network.last), fitted("mahalanobis"), 0.0, "UNKNOWN")


def test_a_network_that_is_one_linear_layer_has_its_images_for_features() -> None:
    layer = nn.Linear(4, 3).double()
    net = classify(nn.Sequential(nn.Flatten(), layer), (1, 2, 2), 3)
    images = some_images(50, net)
    logits, features = Calls(net, batch_size=50).features(images)
    detector = fit("mahalanobis", known_rows(features, logits, torch.arange(50) % 3, find_head(net)), {})
    made = detecting(net, find_head(net), detector, 0.0, "UNKNOWN")
    assert torch.allclose(made(images)[:, 3], -detector.score(images.flatten(1), logits), rtol=1e-12)
