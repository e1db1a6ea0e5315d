"""The same questions asked through captum, shap and lime: as many forwards and backwards, on the same segments.

A factor is how many times our seconds the library takes. Wherever it can, it works in batches of the same size.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import captum.attr
import lime.lime_image
import numpy as np
import numpy.typing as npt
import shap
import torch
from torch import Tensor

from tests.benchmarks.table import Line, ratio
from xaicli.explain.background import Background
from xaicli.explain.block import Block, Scored
from xaicli.explain.hiding import coalition_scores
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.explain.superpixels import segment, segment_means
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.specs import parse_spec

CLASSES = 10
SEGMENTS = 50
FREE = "lime: masks alone, for a classifier that costs nothing"

Pixels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """How much to do."""

    side: int
    rows: int  # what the libraries' perturbations explain one after the other, ours at once
    steps: int  # points on a path, noisy copies
    few: int  # points of what a library does for all classes
    samples: int  # coalitions; 1,000 and 2,148 by default
    pairs: int


WHOLE = Size(224, rows=4, steps=20, few=3, samples=64, pairs=2)
SMALL = Size(32, rows=1, steps=2, few=1, samples=4, pairs=1)


def lines(small: bool) -> Iterator[Line]:
    """A line for every pair of methods."""
    size = SMALL if small else WHOLE
    contest = Contest(size)
    for name, bar, ours, theirs in contest.pairs():
        what = f"{name}, ResNet-18 at {size.side} px" if name != FREE else f"{name}, {size.side} px"
        yield Line(what, f">= {bar}", lambda o=ours, t=theirs: ratio(o, lambda: _quietly(t), size.pairs))


def _quietly(function: Callable[[], object]) -> None:
    """They print to both streams, and warn of their own dependencies."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        function()


class Contest:
    """ResNet-18 with random weights, and rows of noise in squares, as many as there are segments."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.batch = size.rows

    def pairs(self) -> Iterator[tuple[str, int, Callable[[], object], Callable[[], object]]]:
        """(name, bar, ours, theirs)."""
        steps, samples = self.size.steps, self.size.samples
        ours, few = self._ours, self.size.few
        expected = ours(f"expected-gradients:samples={steps},background={self.batch}")
        fewer = ours(f"expected-gradients:samples={few},background={self.batch}")
        yield "shap: GradientExplainer, top class", 1, expected, lambda: self.gradient_shap(steps, 1)
        yield f"shap: GradientExplainer, all {CLASSES} classes", 5, fewer, lambda: self.gradient_shap(few, None)
        yield "shap: KernelExplainer", 1, ours(f"kernel-shap:samples={samples}"), self.kernel_shap
        yield "lime: LimeImageExplainer", 1, ours(f"lime:samples={samples}"), self.lime
        yield FREE, 3, self.masks, self.lime_masks
        yield "captum: IntegratedGradients", 1, ours(f"ig:steps={steps}"), self.captum_ig
        yield "captum: GradientShap", 1, expected, self.captum_gradient_shap
        yield "captum: NoiseTunnel(Saliency)", 1, ours(f"smoothgrad:n={steps}"), self.captum_noise
        yield "captum: GuidedBackprop", 1, ours("guided-backprop"), self.captum_guided
        yield "captum: Occlusion", 1, ours("occlusion:windows=4"), self.captum_occlusion
        yield "captum: FeatureAblation", 1, ours("feature-ablation"), self.captum_ablation
        yield "captum: KernelShap", 1, ours(f"kernel-shap:samples={samples}"), self.captum_kernel
        yield "captum: Lime", 1, ours(f"lime:samples={samples}"), self.captum_lime

    @cached_property
    def net(self) -> Classifier:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self._classifier(build_network(parse_arch("torchvision:resnet18"), CLASSES, 3, self.shape[1:]))

    @cached_property
    def hooked(self) -> Classifier:
        """The same without ReLUs in place, which captum's hooks cannot follow."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch("torchvision:resnet18"), CLASSES, 3, self.shape[1:])
        for module in network.modules():
            if isinstance(module, torch.nn.ReLU):
                module.inplace = False
        return self._classifier(network)

    @cached_property
    def images(self) -> Tensor:
        cells = 8
        coarse = torch.rand(self.size.rows, 3, cells, cells, generator=torch.Generator().manual_seed(0))
        scale = self.size.side // cells
        return coarse.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    @cached_property
    def target(self) -> Tensor:
        with torch.no_grad():
            return self.net(self.images).argmax(1)

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size.side, self.size.side)

    def _classifier(self, network: torch.nn.Module) -> Classifier:
        names = [str(number) for number in range(CLASSES)]
        return Classifier(network, [0.5] * 3, [0.25] * 3, names, self.shape).eval().requires_grad_(False)

    # ours

    def _ours(self, text: str) -> Callable[[], object]:
        return lambda: self.ours(text)

    def ours(self, text: str) -> object:
        answers = Answers(EXPLAIN, {"block": self.block(self.net)}, seed=0, index=tuple(range(self.size.rows)))
        return Explainer(parse_spec("explain", text)).attribution(answers)

    def block(self, net: Classifier) -> Block:
        calls = Calls(net, batch_size=self.batch)
        training = Background(lambda count: self.images.repeat(-(-count // len(self.images)), 1, 1, 1)[:count])
        return Block(calls, self.images, torch.zeros_like(self.target), Target("predicted"), "logit", training)

    def masks(self) -> object:
        """Superpixels are given, and nothing is fitted."""
        block = self.block(Free(torch.nn.Linear(1, 1), [0.5] * 3, [0.25] * 3, ["0", "1", "2"], self.shape))
        labels = torch.as_tensor(np.stack(self.labels))
        present = torch.rand(len(labels), self.size.samples, int(labels.max()) + 1) < 0.5
        zeros = torch.zeros(len(labels))
        scored = Scored(zeros.unsqueeze(1), zeros.long(), torch.full((len(labels),), 65535), zeros)
        return coalition_scores(block, scored, labels, segment_means(self.images, labels), present)

    # theirs

    def pixels(self) -> list[Pixels]:
        return [image.permute(1, 2, 0).double().numpy() for image in self.images]

    @cached_property
    def labels(self) -> list[npt.NDArray[np.int64]]:
        return [self.segments(image) for image in self.pixels()]

    def segments(self, pixels: Pixels) -> npt.NDArray[np.int64]:
        return segment(np.moveaxis(pixels, -1, 0), SEGMENTS, "slic")

    def probabilities(self, pixels: Pixels) -> Pixels:
        batches = torch.as_tensor(pixels).permute(0, 3, 1, 2).float().split(self.batch)
        with torch.no_grad():
            return torch.cat([self.net(part).softmax(1) for part in batches]).double().numpy()

    def gradient_shap(self, steps: int, ranked: int | None) -> object:
        explainer = shap.GradientExplainer(self.net, self.images, batch_size=self.batch)
        return explainer.shap_values(self.images, nsamples=steps, ranked_outputs=ranked, rseed=0)

    def kernel_shap(self) -> object:
        found = []
        for image, target in zip(self.pixels(), self.target.tolist(), strict=True):
            labels = self.segments(image)

            def ask(present: Pixels, image: Pixels = image, labels: Pixels = labels, target: int = target) -> Pixels:
                return self.probabilities(image * present[:, labels][..., None])[:, target]

            count = labels.max() + 1
            explainer = shap.KernelExplainer(ask, np.zeros((1, count)))
            values = explainer.shap_values(np.ones(count), nsamples=self.size.samples, l1_reg=False, silent=True)
            found.append(values)
        return found

    def lime(self) -> object:
        explainer = lime.lime_image.LimeImageExplainer(random_state=0)
        return [
            explainer.explain_instance(
                image,
                self.probabilities,
                top_labels=1,
                num_features=SEGMENTS,
                num_samples=self.size.samples,
                batch_size=self.batch,
                segmentation_fn=self.segments,
            )
            for image in self.pixels()
        ]

    def lime_masks(self) -> object:
        explainer = lime.lime_image.LimeImageExplainer(random_state=0)
        free = lambda images: np.zeros((len(images), CLASSES))  # noqa: E731
        found = []
        for image, labels in zip(self.pixels(), self.labels, strict=True):
            hidden = image.copy()
            for number in np.unique(labels):
                hidden[labels == number] = image[labels == number].mean(0)
            arguments = (image, hidden, labels, free, self.size.samples)
            found.append(explainer.data_labels(*arguments, batch_size=self.batch))
        return found

    def captum_ig(self) -> object:
        method = captum.attr.IntegratedGradients(self.net)
        return method.attribute(
            self.images.clone(),
            target=self.target,
            n_steps=self.size.steps,
            internal_batch_size=self.batch,
            return_convergence_delta=True,
        )

    def captum_gradient_shap(self) -> object:
        method = captum.attr.GradientShap(self.net)
        return [  # it has no batch size: all samples of what it is given go in one batch
            method.attribute(image[None], self.images, n_samples=self.size.steps, target=target)
            for image, target in zip(self.images, self.target, strict=True)
        ]

    def captum_noise(self) -> object:
        method = captum.attr.NoiseTunnel(captum.attr.Saliency(self.net))
        return method.attribute(
            self.images.clone(),
            nt_samples=self.size.steps,
            nt_samples_batch_size=1,
            stdevs=0.15,
            target=self.target,
            abs=False,
        )

    def captum_guided(self) -> object:
        return captum.attr.GuidedBackprop(self.hooked).attribute(self.images.clone(), target=self.target)

    def captum_occlusion(self) -> object:
        window, stride = -(-self.size.side // 4), -(-self.size.side // 4) // 2
        return captum.attr.Occlusion(self.net).attribute(
            self.images, (3, window, window), strides=(3, stride, stride), target=self.target
        )

    def captum_ablation(self) -> object:
        return self._captum_segments(captum.attr.FeatureAblation(self.net))

    def captum_kernel(self) -> object:
        return self._captum_segments(captum.attr.KernelShap(self.net), n_samples=self.size.samples)

    def captum_lime(self) -> object:
        return self._captum_segments(captum.attr.Lime(self.net), n_samples=self.size.samples)

    def _captum_segments(self, method: object, **options: int) -> object:
        return [
            method.attribute(
                image[None],
                target=target,
                feature_mask=torch.as_tensor(self.segments(pixels))[None, None],
                perturbations_per_eval=self.batch,
                **options,
            )
            for image, pixels, target in zip(self.images, self.pixels(), self.target, strict=True)
        ]


class Free(Classifier):
    """Logits that cost nothing: the first pixel."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels[:, :, 0, 0]
