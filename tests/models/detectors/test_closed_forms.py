"""Scores that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import weibull_min
from torch import Tensor

from tests.models.detectors.rows import CLASSES, some_known
from tests.nets import linear
from xaicli.errors import InputError
from xaicli.models.detectors.gaussian import mahalanobis, relative_mahalanobis
from xaicli.models.detectors.logits import energy, entropy, max_logit, msp
from xaicli.models.detectors.neighbours import knn
from xaicli.models.detectors.odin import odin
from xaicli.models.detectors.open_max import openmax
from xaicli.models.detectors.reshaped import ash, react
from xaicli.models.detectors.virtual_logit import vim
from xaicli.models.detectors.weibull import fit_weibull

KNOWN = some_known()


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_logits_that_are_logarithms() -> None:
    logits = rows([math.log(6), math.log(3), math.log(1)])
    assert msp().score(logits, logits).item() == pytest.approx(0.6)
    assert msp(temperature=0.5).score(logits, logits).item() == pytest.approx(36 / 46)
    assert max_logit().score(logits, logits).item() == pytest.approx(math.log(6))
    assert energy().score(logits, logits).item() == pytest.approx(math.log(10))
    assert energy(temperature=0.5).score(logits, logits).item() == pytest.approx(0.5 * math.log(46))
    nats = 0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1)
    assert entropy().score(logits, logits).item() == pytest.approx(nats)


def test_large_logits_neither_overflow_nor_lose_their_order() -> None:
    logits = rows([1e4, -1e4, 0], [1e4 + 1, -1e4, 0])
    for detector in (max_logit(), energy(), energy(temperature=3)):
        assert detector.score(logits, logits).tolist() == [1e4, 1e4 + 1]
    assert msp().score(logits, logits).tolist() == [1, 1] and entropy().score(logits, logits).tolist() == [0, 0]


def test_distances_in_units_of_the_variance() -> None:
    """Two classes around (0, 0) and (10, 0), each with variance 1/2 in x and 2 in y, and 25.5 in x together."""
    cross = rows([1, 0], [-1, 0], [0, 2], [0, -2])
    features = torch.cat([cross, cross + rows([10.0, 0])])
    labels = torch.tensor([0] * 4 + [1] * 4)
    asked = rows([0, 0], [2, 0], [10, 4], [5, 0])
    found = mahalanobis(features, torch.zeros(8, 2), labels, ridge=0.0).score(asked, asked)
    assert found.tolist() == pytest.approx([0, -8, -8, -50])
    relative = relative_mahalanobis(features, torch.zeros(8, 2), labels, ridge=0.0).score(asked, asked)
    background = [25 / 25.5, 9 / 25.5, 25 / 25.5 + 8, 0]
    assert relative.tolist() == pytest.approx([b - d for b, d in zip(background, [0, 8, 8, 50], strict=True)])


def test_the_ridge_is_a_share_of_the_mean_variance_and_makes_constant_features_harmless() -> None:
    features, labels = rows([1, 3], [-1, 3], [1, 3], [-1, 3]), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match="singular"):
        mahalanobis(features, torch.zeros(4, 1), labels, ridge=0.0)
    found = mahalanobis(features, torch.zeros(4, 1), labels, ridge=0.1)  # variances 1 + .05 and 0 + .05
    assert found.score(rows([2, 3], [0, 4]), features).tolist() == pytest.approx([-4 / 1.05, -1 / 0.05])
    with pytest.raises(InputError, match="equal"):
        mahalanobis(torch.full((4, 2), 3.0), torch.zeros(4, 1), labels)


def test_neighbours_on_the_circle() -> None:
    """Known rows at 0, 90 and 180 degrees; chords of 60, 30 and 120 degrees, whatever the length."""
    known = rows([1, 0], [0, 2], [-3, 0])
    asked = 7 * rows([math.cos(math.pi / 3), math.sin(math.pi / 3)])
    chords = sorted(2 * math.sin(math.radians(angle) / 2) for angle in (60, 30, 120))
    for k in (1, 2, 3):
        assert knn(known, k=k).score(asked, asked).item() == pytest.approx(-chords[k - 1])
    assert knn(known, k=1).score(known, known).tolist() == pytest.approx([0, 0, 0], abs=1e-15)
    assert knn(known, k=3).score(torch.zeros(1, 2), asked).item() == -1
    with pytest.raises(InputError, match="the 4 nearest of 3"):
        knn(known, k=4)


def test_the_virtual_logit_is_what_the_principal_direction_leaves_out() -> None:
    """Features (x, y) with x from -3 to 3 and y = 1 or -1; logits (x - 1, 1 - x), zero at the origin (1, 0)."""
    features = rows(*([x, y] for x in (-3.0, -1.0, 1.0, 3.0) for y in (1.0, -1.0)))
    weight, bias = rows([1, 0], [-1, 0]), torch.tensor([-1.0, 1.0], dtype=torch.float64)
    logits = features @ weight.T + bias
    found = vim(features, logits, weight, bias, dimension=1)
    assert found.origin.tolist() == pytest.approx([1, 0]) and found.scale.item() == pytest.approx((4 + 2 + 0 + 2) / 4)
    asked = rows([2, 5])
    expected = math.log(math.exp(1) + math.exp(-1)) - 2 * 5
    assert found.score(asked, asked @ weight.T + bias).item() == pytest.approx(expected)
    with pytest.raises(InputError, match="leaves nothing of 2 features"):
        vim(features, logits, weight, bias, dimension=2)
    with pytest.raises(InputError, match="lie in a space of 1 dimensions"):
        vim(features * rows([1, 0]), logits, weight, bias, dimension=1)


@pytest.mark.parametrize(("width", "left_out"), [(13, 7), (512, 256), (768, 256), (2048, 1048)])
def test_the_papers_dimensions(width: int, left_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (None, torch.eye(len(matrix), dtype=torch.float64)))
    found = vim(torch.ones(2, width), torch.ones(2, 3), torch.ones(3, width), torch.zeros(3))
    assert found.residual.shape == (width, left_out)


def test_large_activations_are_cut_off_at_their_percentile() -> None:
    features = torch.arange(12, dtype=torch.float32).view(3, 4)  # of 0 to 11 the ninth decile is 9.9
    weight, bias = rows([1, 0, 0, 0], [0, 0, 0, 1]), rows([0, 0.5])[0]
    found = react(features, weight, bias, percentile=0.9)
    assert found.ceiling.item() == pytest.approx(9.9, abs=1e-6)
    asked = rows([4, 0, 0, 100])
    assert found.score(asked, asked).item() == pytest.approx(math.log(math.exp(4) + math.exp(9.9 + 0.5)), abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "shaped"),
    [("prune", [0, 0, 3, 5]), ("binarise", [0, 0, 5, 5]), ("scale", [0, 0, 3 * math.exp(1.25), 5 * math.exp(1.25)])],
)
def test_the_largest_activations_of_each_row_are_shaped(kind: str, shaped: list[float]) -> None:
    weight, bias = rows([0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]), torch.zeros(3, dtype=torch.float64)
    found = ash(weight, bias, kind=kind, percentile=0.5)
    asked = rows([1, 1, 3, 5], [0, 0, 0, 0])
    expected = math.log(math.exp(shaped[2]) + math.exp(shaped[3]) + 1)
    assert found.score(asked, asked).tolist() == pytest.approx([expected, math.log(3)])


def test_two_values_have_their_weibull_distribution_in_closed_form() -> None:
    """For exp(-a) and exp(a) the equation is t tanh t = 1 with t = shape * a, and the scale is cosh(t)^(1 / shape)."""
    root = 1.199678640257734
    for a in (0.01, 1.0, 30.0):
        shape, scale = fit_weibull(np.exp([-a, a]))
        assert shape == pytest.approx(root / a, rel=1e-9)
        assert scale == pytest.approx(math.cosh(root) ** (1 / shape), rel=1e-9)


@pytest.mark.parametrize(("shift", "count"), [(0.0, 20), (0.0, 3000), (10_000.0, 20)])
def test_no_weibull_distribution_makes_the_values_likelier(shift: float, count: int) -> None:
    values = shift + 2 * np.random.default_rng(4).weibull(1.7, count)
    shape, scale = fit_weibull(values)
    best = weibull_min.logpdf(values, shape, scale=scale).sum()
    theirs, _, their_scale = weibull_min.fit(values, floc=0)
    assert best >= weibull_min.logpdf(values, theirs, scale=their_scale).sum() - 1e-9
    assert shape == pytest.approx(theirs, rel=1e-3)
    for other, size in ((shape * 1.001, scale), (shape / 1.001, scale), (shape, scale * (1 + 1e-4 / shape))):
        assert weibull_min.logpdf(values, other, scale=size).sum() < best
    if count == 3000:
        assert (shape, scale) == (pytest.approx(1.7, rel=0.05), pytest.approx(2, rel=0.05))


def test_equal_values_have_none() -> None:
    for values in ([3.0, 3.0, 3.0], [2.0], [1e4, 1e4 + 2e-12]):
        with pytest.raises(ValueError, match="all equal"):
            fit_weibull(np.array(values))


def test_openmax_is_fitted_on_right_rows_and_never_saturates() -> None:
    wrong = KNOWN.logits.clone()
    wrong[:40] = -wrong[:40]
    labels = KNOWN.labels
    right = (wrong.argmax(1) == labels).nonzero().squeeze(1)
    assert 340 <= len(right) < len(labels)
    found, expected = openmax(wrong, labels), openmax(wrong[right], labels[right])
    assert torch.equal(found.means, expected.means) and torch.equal(found.shape, expected.shape)
    far = 100.0 * torch.arange(1, 5, dtype=torch.float64).unsqueeze(1) * torch.eye(CLASSES, dtype=torch.float64)[0]
    scores = found.score(far, far)
    assert (scores.neg().sigmoid() == 1).all() and (scores.diff() < 0).all()  # the probability itself is 1 for all


def test_a_class_of_two_rows_has_no_tail() -> None:
    """Both are equally far from their mean."""
    logits = torch.cat([rows([5, 0], [4, 1]), KNOWN.logits.double()[KNOWN.labels == 1][:, :2]])
    labels = torch.tensor([0, 0] + [1] * (len(logits) - 2))
    with pytest.raises(InputError, match="class 0 at two distances or more from their mean, but there are 2 such"):
        openmax(logits, labels)


def test_odin_moves_a_linear_model_towards_its_prediction() -> None:
    """Logits (x + 2 y, -x): the step adds eps (1 + 2) to the first and takes eps from the second."""
    net = linear(rows([1, 2], [-1, 0]).view(2, 1, 1, 2))
    images = rows([0.3, 0.4]).view(1, 1, 1, 2).requires_grad_()
    found = odin(net, images, temperature=10.0, eps=0.01)
    margin = (0.3 + 0.8 + 0.03) - (-0.3 - 0.01)
    assert found.item() == pytest.approx(1 / (1 + math.exp(-margin / 10)), abs=1e-12)
    assert images.grad is None and not found.requires_grad and found.dtype == torch.float64
    with torch.no_grad():
        assert torch.equal(odin(net, images, temperature=10.0, eps=0.01), found)


def test_the_step_does_not_depend_on_the_number_of_rows() -> None:
    """Slopes so small that a mean over many rows would round those of float32 to zero."""
    asked: list[Tensor] = []

    def model(images: Tensor) -> Tensor:
        asked.append(images.detach())
        return 1e-12 * images.flatten(1) @ torch.tensor([[1.0, -1], [2, 0]])

    images = torch.tensor([[0.3, 0.4]]).view(1, 1, 1, 2).repeat(4096, 1, 1, 1)
    odin(model, images, temperature=1e30, eps=0.1)
    assert asked[1].flatten(1).unique(dim=0).tolist() == torch.tensor([[0.4, 0.5]]).tolist()
