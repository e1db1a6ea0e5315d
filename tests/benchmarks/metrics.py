"""Ten metrics over five explainers: one plan beside Quantus 0.6, with plain loops for the metrics it lacks.

Both judge the same maps of the same digits. Forwards are the rows that reach the classifier, or a copy of it with
random weights, seen by a hook: padding and the questions of explainers that are asked again are among them. Digits have
one channel and fit into one batch, as Quantus scores nothing else right (ROAD, SensitivityN and pixel flipping).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import captum.attr
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tests.benchmarks.table import Line, seconds
from tests.evaluate.questions import answers_of, ask
from xaicli.data.dataset import to_float
from xaicli.data.open import open_data
from xaicli.evaluate.metric import name_metrics
from xaicli.evaluate.reduce import reduce_maps
from xaicli.evaluate.signed import Signed
from xaicli.explain.block import Block
from xaicli.explain.explainer import Explainer
from xaicli.explain.quantity import Target
from xaicli.explain.queries import EXPLAIN
from xaicli.models.arch import build_network, parse_arch
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Calls
from xaicli.run.plan import Answers
from xaicli.specs import parse_spec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantus

Maps = npt.NDArray[np.float32]
Options = Mapping[str, Mapping[str, Any]]  # of metrics by Quantus' name

STEPS = 20
METRICS = (
    "deletion", "insertion", "aopc", "n-ord", "s-ord",
    "sensitivity-n", "faithfulness-correlation", "infidelity", "mprt", "road",
)  # fmt: skip
EXPLAINERS = ("saliency", "input-x-gradient", f"integrated-gradients:steps={STEPS}", "guided-backprop", "gradcam")
PLAIN = {"disable_warnings": True, "normalise": False}
AS_IT_COMES: Options = {
    "PixelFlipping": {},
    "RegionPerturbation": {},
    "SensitivityN": {},
    "FaithfulnessCorrelation": {},
    "Infidelity": {},
}
AS_OURS: Options = {  # as many steps and draws as ours, or the next number below
    "PixelFlipping": {"features_in_step": 16},
    "RegionPerturbation": {"patch_size": 4},
    "SensitivityN": {"features_in_step": 2},
    "FaithfulnessCorrelation": {},
    "Infidelity": {"n_perturb_samples": 1},
}


def lines(small: bool) -> Iterator[Line]:
    """Forwards and seconds of both, and how far their scores are apart where both can be asked for the same."""
    contest = Contest(rows=2, explainers=2, quick=True) if small else Contest(rows=16, explainers=len(EXPLAINERS))
    what = f"{len(METRICS)} metrics of {contest.explainers} explainers on digits: Quantus"
    for how, bar, options in (("as it comes", 5, AS_IT_COMES), ("with our steps", 1, AS_OURS)):
        yield Line(f"{what} {how}, times our forwards", f">= {bar}", lambda o=options: contest.factor(o, "forwards"))
        yield Line(f"{what} {how}, times our seconds", f">= {bar}", lambda o=options: contest.factor(o, "seconds"))
    for name, function in (
        ("deletion in steps of 8 pixels", contest.flipping),
        ("aopc on patches of 8", contest.regions),
        ("selectivity on patches of 8", contest.selectivity),
    ):
        yield Line(f"{name}: largest difference from Quantus", "<= 1e-5", function)


class Contest:
    """A small net that was trained for a moment, rows of digits, and some maps of each."""

    def __init__(self, rows: int, explainers: int, quick: bool = False) -> None:
        self.rows, self.explainers, self.quick = rows, explainers, quick
        self.known: dict[str, Cost] = {}

    def factor(self, options: Options, what: str) -> float:
        """How many times our forwards, or seconds of process time, theirs are."""
        if str(options) not in self.known:
            self.known[str(options)] = cost(lambda: self.theirs(options))
        return getattr(self.known[str(options)], what) / getattr(self.own, what)

    @cached_property
    def own(self) -> Cost:
        _ = self.maps
        return cost(self.ours)

    def ours(self) -> None:
        """All ten metrics of all maps, from one plan."""
        answers = answers_of(
            self.net,
            self.images,
            self.maps[0],
            labels=self.labels,
            batch_size=self.rows,
            again=EXPLAINERS[: self.explainers],
        )
        metrics = name_metrics([parse_spec("evaluate", name) for name in METRICS])
        for number, maps in enumerate(self.maps):
            root = {"attribution": maps, "signed": Signed(maps.unsqueeze(1)), "explainer": number}
            seen = answers.within(root)
            for metric in metrics:
                metric.evaluate(seen)

    def theirs(self, options: Options) -> None:
        """Quantus explainer by explainer, and loops for insertion, N-Ord, S-Ord and ROAD's other order."""
        explain = (self.captum_saliency, self.captum_product, self.captum_ig, self.captum_guided, self.captum_gradcam)
        for maps, again in zip(self.maps, explain[: self.explainers], strict=True):
            for name, settings in options.items():
                self.asked(getattr(quantus, name)(**PLAIN, **settings), maps)
            self.asked(quantus.MPRT(**PLAIN), maps, explain_func=again)
            for each in (maps, maps.max() - maps):  # all below zero is refused
                self.asked(quantus.ROAD(percentages=list(range(10, 100, 10)), **PLAIN), each)
            whole = torch.full((len(maps),), maps[0].numel())
            positive = (maps > 0).flatten(1).sum(1)
            self.loop(maps, whole, 100, onto_black=True)
            for onto_black in (False, True):
                self.loop(maps, positive, 50, onto_black=onto_black)

    def asked(self, metric: Any, maps: Tensor, **more: object) -> Any:
        """A metric of Quantus on all rows, with probabilities."""
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return metric(
                model=self.net,
                x_batch=self.images.numpy().copy(),
                y_batch=self.labels.numpy(),
                a_batch=maps.unsqueeze(1).numpy().copy(),
                softmax=True,
                batch_size=self.rows,
                **more,
            )

    def loop(self, maps: Tensor, counts: Tensor, steps: int, *, onto_black: bool) -> None:
        """The curve of each row on its own: its first pixels alone on black, or black in the image."""
        for image, map, label, count in zip(self.images, maps, self.labels.tolist(), counts.tolist(), strict=True):
            place = map.flatten().argsort(descending=True).argsort().view_as(map)
            shown = [place < round(step * count / steps) for step in range(steps + 1)]
            curve = torch.stack([image * (part if onto_black else ~part) for part in shown])
            with torch.no_grad():
                torch.cat([self.net(part).softmax(1)[:, label] for part in curve.split(self.rows)])

    # where both are right: curves of the same cells in the same order, of one channel and one batch

    def flipping(self) -> float:
        """Theirs leaves out the image itself and says `black` for the smallest value of what it is given."""
        theirs = self.asked(quantus.PixelFlipping(features_in_step=8, perturb_baseline=0.0, **PLAIN), self.maps[1])
        found = ask("deletion:steps=128", self.answers())["curve"][:, 1:]
        return float(np.abs(found - np.array(theirs)).max())

    def regions(self) -> float:
        """Both are the drop of the probability after every patch."""
        theirs = self.asked(quantus.RegionPerturbation(patch_size=8, perturb_baseline=0.0, **PLAIN), self.maps[1])
        curve = ask("aopc:grid=4,quantity=probability", self.answers())["curve"][:, 1:]
        return float(np.abs(curve - np.array(theirs)).max())

    def selectivity(self) -> float:
        """Theirs is the curve over patches, without the image itself."""
        theirs = self.asked(quantus.Selectivity(patch_size=8, perturb_baseline=0.0, **PLAIN), self.maps[1])
        curve = ask("selectivity:grid=4,quantity=probability", self.answers())["curve"][:, 1:]
        return float(np.abs(curve - np.array(theirs)).max())

    def answers(self) -> Answers:
        return answers_of(self.net, self.images, self.maps[1], labels=self.labels, batch_size=self.rows)

    @cached_property
    def net(self) -> Classifier:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = build_network(parse_arch("cnn"), 10, 1, (32, 32))
        net = Classifier(network, [0.5], [0.25], [str(number) for number in range(10)], (1, 32, 32))
        images, labels = _digits("fit", 64 if self.quick else 1024)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for _ in range(1 if self.quick else 3):
            for part, truth in zip(images.split(32), labels.split(32), strict=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(part), truth).backward()
                optimizer.step()
        return net.eval().requires_grad_(False)

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        images, _ = _digits("test", self.rows)
        with torch.no_grad():
            return images, self.net(images).argmax(1)

    @property
    def images(self) -> Tensor:
        return self._rows[0]

    @property
    def labels(self) -> Tensor:
        """The predicted classes, which are those that are explained."""
        return self._rows[1]

    @cached_property
    def maps(self) -> list[Tensor]:
        calls = Calls(self.net, batch_size=self.rows)
        block = Block(calls, self.images, self.labels, Target("predicted"), "logit")
        answers = Answers(EXPLAIN, {"block": block}, seed=0, index=tuple(range(self.rows)))
        explainers = [Explainer(parse_spec("explain", text)) for text in EXPLAINERS[: self.explainers]]
        return [reduce_maps(one.attribution(answers).attribution, one.reduce) for one in explainers]

    # explainers that MPRT asks again; each one's model is the same network with random layers

    def captum_saliency(self, model: nn.Module, inputs: Any, targets: Any, **_: object) -> Maps:
        return _attribute(captum.attr.Saliency(model), inputs, targets)

    def captum_product(self, model: nn.Module, inputs: Any, targets: Any, **_: object) -> Maps:
        return _attribute(captum.attr.InputXGradient(model), inputs, targets)

    def captum_ig(self, model: nn.Module, inputs: Any, targets: Any, **_: object) -> Maps:
        method = captum.attr.IntegratedGradients(model)
        return _attribute(method, inputs, targets, n_steps=STEPS, internal_batch_size=self.rows)

    def captum_guided(self, model: nn.Module, inputs: Any, targets: Any, **_: object) -> Maps:
        return _attribute(captum.attr.GuidedBackprop(model), inputs, targets)

    def captum_gradcam(self, model: nn.Module, inputs: Any, targets: Any, **_: object) -> Maps:
        last = [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]
        small = _attribute(captum.attr.LayerGradCam(model, last), inputs, targets)
        return nn.functional.interpolate(torch.as_tensor(small), (32, 32), mode="bilinear").numpy()


def _attribute(method: Any, inputs: Any, targets: Any, **options: object) -> Maps:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = method.attribute(torch.as_tensor(inputs), target=torch.as_tensor(targets), **options)
    return found.detach().numpy()


def _digits(split: str, count: int) -> tuple[Tensor, Tensor]:
    rows = open_data("digits", split=split)
    positions = np.arange(min(count, len(rows)))
    return torch.as_tensor(to_float(rows.read(positions).pixels)), torch.as_tensor(rows.labels[positions].copy())


@dataclass(frozen=True)
class Cost:
    """What something took: rows that classifiers were asked about, and process time."""

    forwards: int
    seconds: float


def cost(function: Callable[[], object]) -> Cost:
    """Run it once."""
    asked = 0

    def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal asked
        if isinstance(module, Classifier):
            asked += len(inputs[0])

    with nn.modules.module.register_module_forward_pre_hook(count):
        took = seconds(function)
    return Cost(asked, took)
