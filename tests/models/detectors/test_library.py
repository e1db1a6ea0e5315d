"""Every detector against pytorch-ood, whose scores are higher for what is less known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pytorch_ood import detector as library
from torch import Tensor

from tests.models.detectors.rows import CLASSES, asked, some_known
from tests.nets import small_net, some_images
from xaicli.models.detectors.known import Known
from xaicli.models.detectors.odin import odin
from xaicli.models.detectors.table import fit

KNOWN = some_known()
FEATURES, LOGITS = asked(KNOWN)


@pytest.fixture(autouse=True)
def in_double_precision() -> Iterator[None]:
    """The library sums in torch's default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def ours(name: str, known: Known = KNOWN, **options: object) -> Tensor:
    found = fit(name, known, options).score(FEATURES, LOGITS)
    assert found.dtype == torch.float64 and found.std() > 0.01
    return found


def agree(found: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(found, theirs.double(), rtol=1e-5, atol=1e-5)


def test_scores_of_logits() -> None:
    logits = LOGITS.double()
    agree(ours("msp"), -library.MaxSoftmax(None).predict_logits(logits))
    agree(ours("msp", temperature=7.0), -library.MaxSoftmax(None, t=7.0).predict_logits(logits))
    agree(ours("max-logit"), -library.MaxLogit(None).predict_logits(logits))
    agree(ours("energy"), -library.EnergyBased(None).predict_logits(logits))
    agree(ours("energy", temperature=3.0), -library.EnergyBased(None, t=3.0).predict_logits(logits))
    agree(ours("entropy"), -library.Entropy(None).predict_logits(logits))


def test_mahalanobis_is_per_row_and_the_library_halves_the_sum() -> None:
    theirs = library.Mahalanobis(None).fit_features(KNOWN.features.double(), KNOWN.labels)
    halved = theirs.predict_features(FEATURES.double())
    agree(ours("mahalanobis", ridge=0.0) / (2 * len(KNOWN.labels)), -halved)
    agree(ours("mahalanobis", ridge=0.0), -halved * 2 * len(KNOWN.labels))


def test_relative_mahalanobis_is_per_row() -> None:
    theirs = library.RMD(None).fit_features(KNOWN.features.double(), KNOWN.labels)
    agree(ours("relative-mahalanobis", ridge=0.0), -theirs.predict_features(FEATURES.double()) * len(KNOWN.labels))


@pytest.mark.parametrize("k", [1, 50])
def test_knn(k: int) -> None:
    theirs = library.KNN(None, k=k).fit_features(KNOWN.features, KNOWN.labels)
    agree(ours("knn", k=k), -theirs.predict_features(FEATURES))


@pytest.mark.parametrize("dimension", [1, 6, 11])
def test_vim(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # the library's own eigenvectors are good to 1e-4 only
    theirs = library.ViM(None, dimension, KNOWN.weight.double(), KNOWN.bias.double()).fit_features(
        KNOWN.features, KNOWN.labels
    )
    agree(ours("vim", dimension=dimension), -theirs.predict_features(FEATURES))


def head(features: Tensor) -> Tensor:
    """The library thinks of feature maps; these have one place."""
    return features.flatten(1) @ KNOWN.weight.T.double() + KNOWN.bias.double()


@pytest.mark.parametrize("percentile", [0.9, 0.5])
def test_react(percentile: float) -> None:
    theirs = library.ReAct(None, head, percentile=percentile)
    theirs.fit_feature_maps(KNOWN.features.double()[..., None, None], KNOWN.labels)
    agree(ours("react", percentile=percentile), -theirs.predict_feature_maps(FEATURES.double()[..., None, None]))


@pytest.mark.parametrize("percentile", [0.65, 0.9, 0.2])
@pytest.mark.parametrize(("kind", "variant"), [("scale", "ash-s"), ("binarise", "ash-b"), ("prune", "ash-p")])
def test_ash(kind: str, variant: str, percentile: float) -> None:
    theirs = library.ASH(None, head, variant, percentile)
    found = ours("ash", kind=kind, percentile=percentile)
    agree(found, -theirs.predict_feature_maps(FEATURES.double()[..., None, None]))


@pytest.mark.parametrize("alpha", [1, 3, 10])
def test_openmax_with_the_library_given_our_weibull_distributions(alpha: int) -> None:
    """Its own are a simplex search that stops early: test_weibull shows that ours are the likelier ones."""
    theirs = library.OpenMax(None, tailsize=25, alpha=alpha).fit_logits(KNOWN.logits.double(), KNOWN.labels)
    mine = fit("openmax", KNOWN, {"tail": 25, "alpha": alpha})
    for known in range(CLASSES):
        model = theirs._openmax.distributions[known]
        assert model.min_val == pytest.approx(float(mine.nearest[known]), abs=1e-6)
        assert model.c == pytest.approx(float(mine.shape[known]), rel=0.02)
        model.c, model.scale = float(mine.shape[known]), float(mine.scale[known])
    unknown = theirs.predict_logits(LOGITS.double())
    score = mine.score(FEATURES, LOGITS)
    agree(score.neg().sigmoid(), unknown)
    assert unknown.min() < 0.01 and unknown.max() > 0.3


@pytest.mark.parametrize(("temperature", "eps"), [(1000.0, 0.0014), (2.0, 0.1)])
def test_odin(temperature: float, eps: float) -> None:
    net = small_net()
    images = some_images(9, net)
    found = odin(net, images, temperature=temperature, eps=eps)
    theirs = library.ODIN(net, eps=eps, temperature=temperature).predict(images)
    torch.testing.assert_close(found, -theirs, rtol=0, atol=1e-12)
    assert not torch.allclose(found, odin(net, images, temperature=temperature, eps=0.0), rtol=0, atol=1e-7)
