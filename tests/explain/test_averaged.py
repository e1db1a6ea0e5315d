"""Maps of an uncertain model: mean and spread over its draws, all of them about one class and with one noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.nets import background_of_noise, classify, explain_answers, small_net, some_images
from xaicli.errors import UsageError
from xaicli.explain.averaged import Draw, averaged, check_draws
from xaicli.explain.explanation import Averaged, Explanation
from xaicli.explain.run import Explainer
from xaicli.models.classifier import Classifier
from xaicli.models.ensemble import Ensemble
from xaicli.run.plan import Answers
from xaicli.specs import parse_spec

MEMBERS = [small_net(seed, side=12) for seed in (3, 4, 5)]
NET = MEMBERS[0].around(Ensemble([member.network for member in MEMBERS]))
IMAGES = some_images(5, NET)
CLASSES = NET(IMAGES).argmax(1)


def answers_of(net: Classifier = NET, images: Tensor = IMAGES, **how: object) -> tuple[Answers, list[Draw]]:
    """What the mean prediction is asked, and its draws; what training images are is the same for all."""
    answers = explain_answers(net, images, **how)  # type: ignore[arg-type]
    members = answers.ask("block", {}).calls.members()
    return answers, [Draw(calls, background_of_noise(calls.classifier)) for calls in members]


def mean_of(text: str, answers: Answers, draws: list[Draw]) -> Averaged:
    target = answers.ask("prediction", {}).target
    return averaged([Explainer(parse_spec("explain", text))], answers, target, draws)[0]


TEXTS = (
    "saliency", "gradcam", "smoothgrad:n=3", "integrated-gradients:steps=4", "lime:samples=20", "xrai:steps=4",
    "expected-gradients:samples=3", "ablationcam", "rise:masks=20", "lrp", "deeplift", "fullgrad",
    "ig:steps=2,tolerance=1e-3,max-steps=16", "random", "open-set:scale=image",
)  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_mean_and_deviation_are_those_of_each_draw_explained_by_itself(text: str) -> None:
    """For the class that the mean prediction names, which a draw alone might not."""
    answers, draws = answers_of()
    found = mean_of(text, answers, draws)
    explainer = Explainer(parse_spec("explain", text))
    alone = []
    for member in MEMBERS:
        asked = explain_answers(member, IMAGES, target="label", labels=CLASSES)
        same = {"block": asked.ask("block", {}), "judged": answers.ask("judged", {})}
        alone.append(explainer.attribution(asked.anew(same)))
    maps = torch.stack([one.attribution for one in alone])
    assert torch.allclose(found.found.attribution, maps.mean(0), rtol=1e-10, atol=1e-12)
    assert torch.allclose(found.deviation, maps.std(0), rtol=1e-10, atol=1e-12)
    assert isinstance(found.found, Explanation) == explainer.promises_sum
    if isinstance(found.found, Explanation):
        gaps = torch.stack([one.completeness for one in alone if isinstance(one, Explanation)])
        assert torch.allclose(found.found.completeness, gaps.double().mean(0), rtol=1e-10, atol=1e-12)
    for name, values in found.found.figures.items():
        figures = torch.stack([one.figures[name] for one in alone])
        if figures.is_floating_point():
            assert torch.allclose(values, figures.mean(0), rtol=1e-9, atol=1e-12, equal_nan=True)
        else:
            assert torch.equal(values, figures.amax(0))


def test_draws_do_disagree_about_the_class() -> None:
    """So that the test above would fail if each draw explained its own."""
    assert any((member(IMAGES).argmax(1) != CLASSES).any() for member in MEMBERS)


def test_gradients_of_linear_networks_in_closed_form() -> None:
    weights = torch.randn(4, 3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    networks = []
    for weight in weights:
        layer = nn.Linear(4, 3, bias=False).double()
        layer.weight.data.copy_(weight.flatten(1))
        networks.append(nn.Sequential(nn.Flatten(), layer))
    net = classify(Ensemble(networks), (1, 2, 2), 3)
    images = some_images(6, net)
    found = mean_of("saliency", *answers_of(net, images, target="1"))
    assert torch.allclose(found.found.attribution, weights[:, 1].mean(0).expand(6, 1, 2, 2), rtol=1e-12)
    assert torch.allclose(found.deviation, weights[:, 1].std(0).expand(6, 1, 2, 2), rtol=1e-12)


def test_the_mean_gradient_of_probabilities_is_that_of_the_mean_prediction() -> None:
    found = mean_of("saliency", *answers_of(quantity="probability"))
    asked = IMAGES.clone().requires_grad_()
    chosen = NET(asked).softmax(1)[torch.arange(5), CLASSES].sum()
    assert torch.allclose(found.found.attribution, torch.autograd.grad(chosen, asked)[0], rtol=1e-9, atol=1e-12)


def test_methods_share_the_questions_of_a_draw_and_cost_what_was_planned() -> None:
    answers, draws = answers_of()
    explainers = [Explainer(parse_spec("explain", text)) for text in ("saliency", "ixg", "gradcam", "layercam")]
    together = averaged(explainers, answers, answers.ask("prediction", {}).target, draws)
    assert [draw.calls.forwards for draw in draws] == [5 * 2] * 3  # a pass to the image, and one to the layer
    assert explainers[0].forwards(144, draws=3) == 3 * (1 + 1)  # and before that the mean prediction
    for text, one in zip(("saliency", "ixg", "gradcam", "layercam"), together, strict=True):
        assert torch.equal(mean_of(text, *answers_of()).found.attribution, one.found.attribution)


def test_columns_have_the_mean_prediction_and_no_figure_that_belongs_to_one_map() -> None:
    answers, draws = answers_of()
    explainer = Explainer(parse_spec("explain", "xrai:steps=4"))
    columns = explainer.columns(answers, mean_of("xrai:steps=4", answers, draws))
    assert columns["prediction"] == pytest.approx(NET(IMAGES).numpy(), abs=1e-6)
    assert columns["target"].tolist() == CLASSES.tolist() and columns["deviation"].shape == (5, 1, 12, 12)
    assert "regions" not in columns and columns.keys() >= {"attribution", "completeness", "known_score", "refused"}
    assert "regions" not in {column.name for column in explainer.figures(NET.shape, several=True)}


def test_one_draw_has_no_spread() -> None:
    for draws in (None, 0, 2, 20):
        check_draws(draws)
    with pytest.raises(UsageError, match="draws=1 has no spread"):
        check_draws(1)
