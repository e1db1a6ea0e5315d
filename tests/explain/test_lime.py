"""LIME against the lime package on the same neighbourhood, and on a function that is linear in its superpixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.nets import Function, classify, explain_answers, linear, small_net, some_images
from xaicli.explain.lime import cosine_weights, ridge
from xaicli.explain.run import Explainer
from xaicli.explain.superpixels import segment_means
from xaicli.specs import parse_spec


def test_a_linear_network_is_found_but_for_the_penalty() -> None:
    w = torch.randn(3, 2, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    net = linear(w)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    found = Explainer(parse_spec("explain", "lime:segments=9,samples=300,alpha=1e-9")).attribution(answers)
    labels, coefficients = found.figures["segments"], found.figures["coefficients"]
    own = (w[net(images).argmax(1)] * (images - segment_means(images, labels))).sum(1)
    for row in range(3):
        for number in range(int(labels[row].max()) + 1):
            inside = labels[row] == number
            assert coefficients[row, number].item() == pytest.approx(own[row][inside].sum().item(), abs=1e-8)
            assert (found.attribution[row, 0][inside] == coefficients[row, number]).all()
    assert found.figures["r2"].numpy() == pytest.approx(1, abs=1e-9)


def test_what_does_not_depend_on_the_image_has_no_r2() -> None:
    net = classify(Function(lambda x: torch.stack([x.sum((1, 2, 3)) * 0 + 2, x.sum((1, 2, 3)) * 0], 1)), (2, 6, 6), 2)
    found = Explainer(parse_spec("explain", "lime:segments=9,samples=30")).attribution(
        explain_answers(net, some_images(2, net))
    )
    assert found.figures["r2"].isnan().all() and (found.attribution == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["slic", "quickshift"])
def test_the_lime_package_on_the_same_samples(algorithm: str) -> None:
    import sklearn.metrics
    from lime.lime_base import LimeBase

    net = small_net(2, side=16)
    images = some_images(3, net)
    answers = explain_answers(net, images)
    options = {"segments": 20, "samples": 400, "algorithm": algorithm}
    text = ",".join(f"{key}={value}" for key, value in options.items())
    found = Explainer(parse_spec("explain", f"lime:{text}")).attribution(answers)
    asked = answers.ask("neighbourhood", options)
    base = LimeBase(lambda distance: np.sqrt(np.exp(-(distance**2) / 0.25**2)))
    target = net(images).argmax(1)
    for row in range(3):
        count = int(found.figures["segments"][row].max()) + 1
        data = asked.present[row, :, :count].double().numpy()
        assert data[0].all() and 0.4 < data[1:].mean() < 0.6
        hidden = segment_means(images, found.figures["segments"])[row]
        labels = found.figures["segments"][row].numpy()
        pictures = np.stack([np.where(z[labels] == 1, images[row], hidden) for z in data])
        scores = net(torch.as_tensor(pictures)).numpy()
        distances = sklearn.metrics.pairwise_distances(data, data[:1], metric="cosine").ravel()
        _, pairs, r2, _ = base.explain_instance_with_data(data, scores, distances, int(target[row]), 100, "none")
        expected = np.array([dict(pairs)[number] for number in range(count)])
        assert found.figures["coefficients"][row, :count].numpy() == pytest.approx(expected, abs=1e-9)
        assert found.figures["coefficients"][row, count:].isnan().all()
        assert found.figures["r2"][row].item() == pytest.approx(r2, abs=1e-9)


def test_another_fit_of_the_same_neighbourhood_asks_nothing() -> None:
    net = small_net()
    answers = explain_answers(net, some_images(3, net))
    calls = answers.ask("block", {}).calls
    for text in ("lime:samples=20", "lime:samples=20,alpha=3", "lime:samples=20,kernel-width=1"):
        Explainer(parse_spec("explain", text)).attribution(answers)
    assert calls.forwards == 3 * (1 + 20)
    Explainer(parse_spec("explain", "lime:samples=20,segments=5")).attribution(answers)
    assert calls.forwards == 3 * (1 + 20 + 20)


def test_the_regression_is_scikit_learns() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    z, y = (rng.random((50, 6)) < 0.5).astype(float), rng.normal(size=50)
    z[3] = 0
    weights = cosine_weights(torch.as_tensor(z), 0.25)
    assert weights[3].item() == pytest.approx(np.exp(-8))  # nothing seen: distance 1
    model = Ridge(alpha=0.7).fit(z, y, weights.numpy())
    fit = ridge(torch.as_tensor(z), torch.as_tensor(y), weights, 0.7)
    assert fit.coefficients.numpy() == pytest.approx(model.coef_, abs=1e-10)
    assert fit.r2.item() == pytest.approx(model.score(z, y, weights.numpy()), abs=1e-10)
