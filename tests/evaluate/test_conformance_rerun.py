"""Defects of Quantus 0.6 in metrics that ask the explainer again, each shown and not shared."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from tests.evaluate.questions import answers_of, ask, value
from tests.evaluate.test_sanity import IMAGES, NET, RANDOM, TARGET, correlation, product
from xaicli.run.calls import Calls


@pytest.fixture(scope="module")
def quantus() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("quantus")


def explain(model, inputs, targets, **_) -> np.ndarray:
    x, classes = torch.as_tensor(np.asarray(inputs), dtype=torch.float64), torch.as_tensor(np.asarray(targets))
    return product(model, x, classes).unsqueeze(1).numpy()


def asked(metric) -> object:
    maps = product(NET, IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=NET, x_batch=IMAGES.numpy(), y_batch=TARGET.numpy(), a_batch=maps.unsqueeze(1).numpy(),
            explain_func=explain,
        )  # fmt: skip


def test_defect_3_random_logit_works_below_a_thousand_classes(quantus) -> None:
    with pytest.raises((IndexError, ValueError, RuntimeError)):
        asked(quantus.RandomLogit(normalise=False, disable_warnings=True, return_aggregate=False))
    maps = product(NET, IMAGES)
    answers = answers_of(NET, IMAGES, maps)
    found = value("random-logit", answers)
    other = answers.ask("other_class", {})
    assert found == pytest.approx(correlation(maps, product(NET, IMAGES, other)), abs=1e-12)


def test_defect_7_mprt_never_averages_the_model_itself_in(quantus, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [("top", next(RANDOM.stages(Calls(NET), 2)).classifier), ("all", RANDOM.wholly(Calls(NET)).classifier)]
    wrapper = quantus.helpers.model.pytorch_model.PyTorchModel
    monkeypatch.setattr(wrapper, "get_random_layer_generator", lambda self, **_: iter(stages))
    monkeypatch.setattr(wrapper, "random_layer_generator_length", 2)
    theirs = asked(
        quantus.MPRT(
            similarity_func=quantus.similarity_func.correlation_spearman, return_average_correlation=True,
            normalise=False, abs=False, disable_warnings=True, return_aggregate=False,
        )
    )  # fmt: skip
    ours = ask("mprt:stages=2", answers_of(NET, IMAGES, product(NET, IMAGES)))["mprt"]
    # they average a correlation of 1, the model with itself, in with the two of random models
    assert np.array(theirs) == pytest.approx((1 + 2 * ours) / 3, abs=1e-9)
    assert np.abs(ours - theirs).max() > 0.2
