"""A row's map depends on its job alone: not on batch size, neighbours, order, block cut or companions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nets import ATTENTIVE, EXPLAINERS, explain_answers, maps_of, small_net, some_images

NET = small_net(side=7)
IMAGES = some_images(9, NET)
SHORTER = {  # the same code with fewer samples: thousands of forwards show nothing more
    "guided-ig": "guided-ig:steps=13",
    "blur-ig": "blur-ig:steps=9",
    "xrai": "xrai:steps=7",
    "rise": "rise:masks=50",
    "lime": "lime:samples=50",
    "kernel-shap": "kernel-shap:samples=50",
    "partition-shap": "partition-shap:evaluations=60",
    "shapley-sampling": "shapley-sampling:permutations=2,segments=9",
}
TEXTS = [
    *(SHORTER.get(name, name) for name in EXPLAINERS if name not in ATTENTIVE),
    *(f"lrp:rule={rule}" for rule in ("epsilon", "gamma", "alpha-beta", "z-plus")),
    "ig:baseline=blur",
    "ig:baseline=uniform,steps=7",
    "ig:baseline=mean,steps=5",
    "ig:baseline=data,trials=2,steps=5",
    "ig:steps=2,tolerance=1e-4,max-steps=32",
    "guided-ig:baseline=data,steps=7,spread=0.2",
    "gradcam:layer=0",
    "kernel-shap:segments=6",
    "partition-shap:evaluations=40,baseline=inpaint",
]
WHOLE = {text: maps_of(text, explain_answers(NET, IMAGES, index=range(20, 29))) for text in TEXTS}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batch_size_does_not_matter_to_1e_9(text: str, batch_size: int) -> None:
    maps = maps_of(text, explain_answers(NET, IMAGES, index=range(20, 29), batch_size=batch_size))
    assert (maps - WHOLE[text]).abs().max().item() <= 1e-9


@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.integers(0, 8), min_size=1, max_size=9, unique=True))
@pytest.mark.parametrize("text", TEXTS)
def test_neighbours_order_and_block_cut_do_not_change_a_bit(text: str, rows: list[int]) -> None:
    maps = maps_of(text, explain_answers(NET, IMAGES[rows], index=[20 + row for row in rows]))
    assert torch.equal(maps, WHOLE[text][rows])


@settings(max_examples=12, deadline=None)
@given(texts=st.permutations(TEXTS))
def test_companions_do_not_change_a_bit(texts: list[str]) -> None:
    together = explain_answers(NET, IMAGES, index=range(20, 29))
    for text in texts:
        assert torch.equal(maps_of(text, together), WHOLE[text])


def test_methods_that_share_a_pass_ask_it_once() -> None:
    answers = explain_answers(NET, IMAGES)
    calls = answers.ask("block", {}).calls
    for text in ("saliency", "input-x-gradient"):
        maps_of(text, answers)
    assert calls.forwards == 9  # one gradient pass
    for text in ("gradcam", "gradcam:relu=false"):
        maps_of(text, answers)
    assert calls.forwards == 18  # and one layer pass
    for text in ("ig:steps=5", "ig:steps=5,baseline=white"):
        maps_of(text, answers)
    assert calls.forwards == 18 + 9 * (1 + 2 * (5 + 1))  # the prediction once; steps and baseline of each
