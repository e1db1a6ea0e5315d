"""Representer points: the training images that a logit is a sum over, against sums written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.nets import BACKGROUND, classify, explain_answers, linear, small_net, some_images
from xaicli.errors import UsageError
from xaicli.explain import representers as module
from xaicli.explain.background import Background
from xaicli.explain.figures import correlation
from xaicli.explain.refit import augmented, refit
from xaicli.explain.run import Explainer
from xaicli.run.features import Training
from xaicli.specs import parse_spec


def columns_of(text: str, net, images, training: Training | None = None, **how) -> dict[str, np.ndarray]:
    answers = explain_answers(net, images, **how)
    if training is not None:
        object.__setattr__(answers.ask("block", {}), "background", Background(load_training=lambda calls: training))
    return Explainer(parse_spec("explain", text)).columns(answers)


def noise_training(net, count: int = 40) -> Training:
    images = some_images(count, net, seed=5)
    logits = net(images)
    return Training(torch.arange(count) * 3, logits.argmax(1), logits, net.network[:-1](images))


@pytest.mark.parametrize(
    ("target", "dtype"), [("predicted", torch.float64), ("2,0", torch.float64), ("1", torch.float32)]
)
def test_values_are_those_written_out(target: str, dtype: torch.dtype) -> None:
    net = small_net(dtype=dtype)
    images, training = some_images(6, net), noise_training(net)
    columns = columns_of("representer:k=4,regularisation=0.01", net, images, training, target=target)
    solved = refit(training.features, training.logits.double().softmax(1), 0.01)
    ones = torch.ones(40, 1, dtype=torch.float64)
    f = torch.cat([training.features.double(), ones], 1).numpy()
    for row in range(6):
        x = np.append(net.network[:-1](images)[row].double().numpy(), 1.0)
        alpha = solved.alpha.numpy()
        c = int(columns["target"][row])
        a = alpha[:, c] - (alpha[:, 0] if target == "2,0" else 0)
        value = a * (f @ x)
        order = np.argsort(-value)
        assert columns["exciting"][row].tolist() == (3 * order[:4]).tolist()
        assert columns["inhibiting"][row].tolist() == (3 * order[::-1][:4]).tolist()
        np.testing.assert_allclose(columns["exciting_value"][row], value[order[:4]], rtol=1e-5)
        np.testing.assert_allclose(columns["inhibiting_value"][row], value[order[::-1][:4]], rtol=1e-5)
        assert columns["exciting_label"][row].tolist() == training.labels.numpy()[order[:4]].tolist()
        refitted = solved.weights.numpy() @ x
        np.testing.assert_allclose(columns["refitted"][row], refitted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alpha.T @ (f @ x), refitted, rtol=1e-6)  # the identity
        assert value.sum() == pytest.approx(refitted[c] - (refitted[0] if target == "2,0" else 0), rel=1e-6)
    assert columns["identity_error"].max() < 1e-9
    theirs, ours = (x - x.mean(1, keepdims=True) for x in (training.logits.numpy(), f @ solved.weights.numpy().T))
    assert columns["training_fidelity"] == pytest.approx(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1], abs=1e-6)


def test_conformance_seed_002_features_come_after_the_activation_and_with_a_constant() -> None:
    """Features before the ReLU, or without a constant for the bias, do not make the logits; ours do."""
    generator = torch.Generator().manual_seed(3)
    first, last = nn.Linear(8, 6, dtype=torch.float64), nn.Linear(6, 3, dtype=torch.float64)
    for parameter in [*first.parameters(), *last.parameters()]:
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    net = classify(nn.Sequential(nn.Flatten(), first, nn.ReLU(), last), (2, 2, 2), 3)
    images = some_images(4, net)
    features, logits = columns_of("features", net, images)["features"], net(images)
    assert (features >= 0).all() and (features == 0).any()
    x = augmented(torch.as_tensor(features))
    weights = torch.cat([last.weight, last.bias[:, None]], 1)
    torch.testing.assert_close(x @ weights.T, logits, rtol=0, atol=1e-5)
    before = first(images.flatten(1))
    assert (before @ last.weight.T - logits).abs().max() > 1 and (x[:, :-1] @ last.weight.T - logits).abs().max() > 1
    found = columns_of("representer:regularisation=1e-4", net, images, noise_training(net, 300))
    assert found["identity_error"].max() < 1e-6


def test_one_training_image_for_each_class_by_hand() -> None:
    """Features 1 and -1, targets of a linear net: each image excites its own class and inhibits the other."""
    net = linear(torch.tensor([[[[3.0]]], [[[-3.0]]]], dtype=torch.float64))
    training = Training(
        torch.tensor([10, 20]),
        torch.tensor([0, 1]),
        torch.tensor([[3.0, -3.0], [-3.0, 3.0]], dtype=torch.float64),
        torch.tensor([[1.0], [-1.0]], dtype=torch.float64),
    )
    columns = columns_of("representer:k=1,regularisation=0.05", net, torch.full((1, 1, 1, 1), 0.5).double(), training)
    # T = ((w, 0), (-w, 0)), alpha_1 = (w / 2, -w / 2), alpha_2 = -alpha_1; <f_1, f_x> = 1.5, <f_2, f_x> = 0.5
    w = 2 * float(columns["refitted"][0, 0])  # of the image 0.5
    assert columns["exciting"].tolist() == [[10]] and columns["inhibiting"].tolist() == [[20]]
    assert columns["exciting_value"][0, 0] == pytest.approx(0.75 * w, rel=1e-6)
    assert columns["inhibiting_value"][0, 0] == pytest.approx(-0.25 * w, rel=1e-6)
    s = 1 / (1 + np.exp(-2 * w))
    p = 1 / (1 + np.exp(-6.0))
    assert 4 * 0.05 * (w / 2) == pytest.approx(p - s, abs=1e-6)  # alpha = (p - s) / (2 lambda n)


def test_a_layer_that_nothing_pulls_is_found_again() -> None:
    """Without a penalty to speak of it is the network's own, less what is common to all classes of an image."""
    net = small_net()
    training = noise_training(net, 200)
    columns = columns_of("representer:regularisation=1e-8", net, some_images(5, net), training)
    assert columns["training_fidelity"][0] == pytest.approx(1, abs=5e-4)
    centred = columns["prediction"] - columns["prediction"].mean(1, keepdims=True)
    np.testing.assert_allclose(columns["refitted"] - columns["refitted"].mean(1, keepdims=True), centred, atol=0.1)


def test_chunks_of_training_images_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small_net()
    images = some_images(5, net)
    whole = columns_of("representer:k=3", net, images)
    monkeypatch.setattr(module, "CHUNK", 2)
    cut = columns_of("representer:k=3", net, images)
    assert np.array_equal(whole["exciting"], cut["exciting"]) and np.array_equal(whole["inhibiting"], cut["inhibiting"])
    np.testing.assert_allclose(whole["exciting_value"], cut["exciting_value"], rtol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    net = small_net(dtype=torch.float32)
    images = some_images(7, net)
    whole, part = columns_of("representer", net, images), columns_of("representer", net, images[4:6], index=[4, 5])
    assert all(np.array_equal(whole[name][4:6], part[name]) for name in part)


def test_the_layer_is_fitted_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    monkeypatch.setattr(module, "refit", lambda *asked: (fitted.append(asked[2]), refit(*asked))[1])
    net = small_net()
    answers = explain_answers(net, some_images(3, net))
    for text in ("representer:k=2", "representer:k=3", "representer:k=3,regularisation=0.1"):
        Explainer(parse_spec("explain", text)).columns(answers)
    assert fitted == [0.003, 0.1]


def test_what_it_cannot_explain_is_refused() -> None:
    net = small_net()
    with pytest.raises(UsageError, match=f"k={BACKGROUND + 1} is more than the {BACKGROUND} training images"):
        columns_of(f"representer:k={BACKGROUND + 1}", net, some_images(2, net))
    with pytest.raises(UsageError, match="explains logits, not --quantity probability"):
        columns_of("representer", net, some_images(2, net), quantity="probability")
    with pytest.raises(UsageError, match="does not say what data"):
        answers = explain_answers(net, some_images(2, net))
        object.__setattr__(answers.ask("block", {}), "background", Background())
        Explainer(parse_spec("explain", "representer")).columns(answers)


def test_rows_whose_label_is_unknown_fail_alone() -> None:
    net = small_net()
    labels = torch.tensor([0, 65535, 1])
    columns = columns_of("representer", net, some_images(3, net), target="label", labels=labels)
    assert columns["status"].tolist() == [1, 4, 1] and columns["target"].tolist() == [0, 65535, 1]


def test_correlation_is_numpys_but_for_what_is_common_to_all_classes() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9, 4)).astype(np.float32)
    b = a + b
    centred = [(x - x.mean(1, keepdims=True)).ravel() for x in (a, b)]
    assert correlation(a, b) == pytest.approx(np.corrcoef(*centred)[0, 1], abs=1e-6)
    assert correlation(a, 2 * a + np.arange(9)[:, None]) == pytest.approx(1)
    assert np.isnan(correlation(a, np.ones_like(a)))
