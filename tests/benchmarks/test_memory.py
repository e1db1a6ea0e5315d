"""Memory does not grow with rows; `python -m tests.benchmarks` compares 2,000 with 20,000."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.benchmarks.live import LiveBytes
from tests.benchmarks.memory import peak_memory
from tests.nets import ATTENTIVE, attentive_net, background_of_noise, judge_of, small_net, some_images
from xaicli.explain.block import Block
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.methods import names
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.specs import parse_spec

ROWS, SIDE = 4, 12  # of a block
SHORTER = {  # the same code with fewer questions
    "smoothgrad": "smoothgrad:n=5",
    "squaregrad": "squaregrad:n=5",
    "vargrad": "vargrad:n=5",
    "integrated-gradients": "integrated-gradients:steps=5",
    "expected-gradients": "expected-gradients:samples=5",
    "guided-ig": "guided-ig:steps=5",
    "blur-ig": "blur-ig:steps=5",
    "xrai": "xrai:steps=5",
    "deepshap": "deepshap:background=3",
    "occlusion": "occlusion:windows=3",
    "rise": "rise:masks=9",
    "feature-ablation": "feature-ablation:segments=9",
    "lime": "lime:segments=9,samples=9",
    "kernel-shap": "kernel-shap:segments=9,samples=9",
    "partition-shap": "partition-shap:evaluations=9",
    "shapley-sampling": "shapley-sampling:segments=9,permutations=1",
}


class Run:
    """Explains blocks one after the other, as a command does; `peak` is of the tensors alone, in bytes."""

    def __init__(self, text: str, net: Classifier) -> None:
        self.explainer, self.net = Explainer(parse_spec("explain", text)), net
        self.images = some_images(ROWS, net)
        self.calls, self.background = Calls(net, batch_size=ROWS), background_of_noise(net)
        self.judge = judge_of(net, ROWS)

    def peak(self, blocks: range) -> int:
        with LiveBytes() as live:
            for block in blocks:
                self.explain(range(block * ROWS, (block + 1) * ROWS))
        return live.peak

    def explain(self, index: range) -> None:
        unknown = torch.full((ROWS,), 65535)
        rule = Target("predicted")
        block = Block(self.calls, self.images.clone(), unknown, rule, "logit", self.background, self.judge)
        self.explainer.columns(Answers(EXPLAIN, {"block": block}, seed=0, index=tuple(index)))


def arrays_after(work: Callable[[], object]) -> int:
    """The bytes of numpy's arrays that were made meanwhile and are still held."""
    tracemalloc.start()
    try:
        work()
        gc.collect()
        taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)])
        return sum(trace.size for trace in taken.traces)
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", names("explain"))
def test_four_times_the_rows_take_no_more_memory(name: str) -> None:
    """To a byte for tensors. Of arrays, less is kept than a number a row."""
    net = (attentive_net if name in ATTENTIVE else small_net)(seed=2, side=SIDE)
    run = Run(SHORTER.get(name, name), net)
    run.peak(range(1))  # what is found once: layers, matrices, images of the background
    assert run.peak(range(1, 5)) == run.peak(range(5, 6))
    assert arrays_after(lambda: run.peak(range(6, 8))) < 2 * ROWS * 8


@pytest.mark.parametrize("kept", ["tensors", "arrays"])
def test_a_method_that_keeps_its_maps_is_found(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, held = Run("saliency", small_net(side=SIDE)), []
    plain = run.explainer.function

    def leaking(gradient: torch.Tensor) -> torch.Tensor:
        held.append(gradient if kept == "tensors" else gradient.numpy().copy())
        return plain(gradient)

    monkeypatch.setattr(run.explainer, "function", leaking)
    grown = run.peak(range(4)) - run.peak(range(1))
    left = arrays_after(lambda: run.peak(range(2)))
    size = ROWS * 2 * SIDE * SIDE * 8
    assert grown == (3 * size if kept == "tensors" else 0)
    assert (left >= 2 * size) == (kept == "arrays")


@pytest.mark.command
@pytest.mark.slow
def test_ten_times_the_rows_take_no_more_memory() -> None:
    """What 5,000 rows of two methods hold would be 120 MB, a sixth of the whole process."""
    methods = ("saliency", "random")
    assert peak_memory(5_000, methods) < 1.1 * peak_memory(500, methods)
