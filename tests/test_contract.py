"""What every registered method promises, whatever it computes; a new line in the table is picked up by itself."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import torch

import xaicli
from tests.attack.runs import attacked
from tests.evaluate.questions import answers_of, costs_of
from tests.nets import ATTENTIVE, attentive_net, explain_answers, small_net, some_images
from xaicli.attack.engine import Engine
from xaicli.attack.library.borrowed import Borrowed
from xaicli.attack.plan import Search, Series, forwards_of, stages_of
from xaicli.attack.runner import AnyAttack, most_forwards
from xaicli.evaluate.direction import named_ways
from xaicli.evaluate.metric import name_metrics, planned_forwards
from xaicli.evaluate.queries import EVALUATE
from xaicli.explain.queries import EXPLAIN
from xaicli.explain.run import Explainer
from xaicli.files.record import MAP_KINDS
from xaicli.methods import TABLE, describe, names
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.run.calls import Calls
from xaicli.run.random import Stream
from xaicli.specs import parse_spec

EVERY = [(verb, name) for verb in TABLE for name in names(verb)]
SOURCE = re.compile(r"\([A-Z][^()]*\d{4}\)")  # (Madry et al., 2018)
PLAIN = {"accuracy"}  # what needs no source


def net_and_images(side: int = 12, *, attentive: bool = False) -> tuple[Classifier, torch.Tensor]:
    net = (attentive_net if attentive else small_net)(seed=2, side=side)
    return net, some_images(6, net)


class Counter:
    """Counts the model's calls and rows from the outside."""

    def __init__(self, net: Classifier) -> None:
        self.sizes: list[int] = []
        self.handle = net.register_forward_pre_hook(lambda module, inputs: self.sizes.append(len(inputs[0])))


def unchanged(net: Classifier, before: dict[str, torch.Tensor]) -> bool:
    state = net.state_dict()
    same = all(torch.equal(state[name], before[name]) for name in before)
    return same and not any(m.training or m._forward_hooks for m in net.network.modules())


@pytest.mark.parametrize(("verb", "name"), EVERY)
def test_signature_and_docstring_are_readable_and_true(verb: str, name: str) -> None:
    method = describe(verb, name)
    function = method.load()
    parameters = inspect.signature(function).parameters
    options = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {option.name: option.default for option in method.options} == options
    assert method.queries == tuple(p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY)
    assert method.summary == (function.__doc__ or "").splitlines()[0] and method.summary.endswith(".")
    assert (
        SOURCE.search(method.summary)
        or "control" in method.summary
        or name in PLAIN
        or method.summary.endswith("better.")
    )
    assert method.description  # shapes, range, units
    assert len(named_ways(method.summary)) == (verb == "evaluate")
    for option in method.options:
        if option.default is not None and not option.many:
            assert (
                option.parse(str(option.default).lower() if isinstance(option.default, bool) else str(option.default))
                == option.default
            )


@pytest.mark.parametrize(("verb", "name"), [(v, n) for v, n in EVERY if v in ("explain", "evaluate")])
def test_positional_parameters_are_queries_or_roots(verb: str, name: str) -> None:
    queries = EXPLAIN if verb == "explain" else EVALUATE
    for need in queries.below(describe(verb, name).load()):
        assert need in queries.roots or need in queries.functions


@pytest.mark.parametrize("name", names("explain"))
def test_explainers(name: str) -> None:
    net, images = net_and_images(attentive=name in ATTENTIVE)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    explainer = Explainer(parse_spec("explain", name))
    answers = explain_answers(net, images, batch_size=4)
    answers.ask("block", {}).calls.find("auto")  # looking for it is no question about the rows
    given, counter = images.clone(), Counter(net)
    columns = explainer.columns(answers)
    counter.handle.remove()
    calls = answers.ask("block", {}).calls
    if explainer.has_maps:
        assert columns["attribution"].shape == (6, explainer.channels(2), 12, 12)
        assert np.isfinite(columns["attribution"]).all()
        assert (np.ptp(columns["attribution"]) == 0) == explainer.spec.method.summary.startswith("The same everywhere")
    assert explainer.has_maps == (explainer.kind in MAP_KINDS)
    assert columns["status"].tolist() == [1] * 6
    added = explainer.figures((2, 12, 12), lambda: net)
    for figure in added:
        assert figure.encode(columns[figure.name], 6).shape == (6, *figure.shape)
    assert explainer.has_maps or {figure.name for figure in added} == columns.keys() - {
        "prediction",
        "target",
        "against",
        "status",
        "known_score",
        "refused",
    }
    if explainer.has_target:
        assert np.array_equal(columns["target"], net(images).argmax(1).numpy())
    assert columns["prediction"] == pytest.approx(net(images).numpy(), abs=1e-6)
    assert ("completeness" in columns) == explainer.promises_sum
    assert calls.forwards == 6 * explainer.forwards(144, lambda layer: find_layer(net, layer).channels)
    assert set(counter.sizes) <= {4}  # LRP runs the canonical form alone
    assert sum(counter.sizes) - calls.forwards < 4 * len(EXPLAIN.functions)  # padding: less than a batch a query
    assert torch.equal(images, given) and not images.requires_grad and unchanged(net, before)
    again = explainer.columns(explain_answers(net, images, batch_size=4))
    assert all(np.array_equal(columns[key], again[key], equal_nan=True) for key in columns)


@pytest.mark.parametrize("name", names("evaluate"))
def test_metrics(name: str) -> None:
    net, images = net_and_images()
    for parameter in net.network[-1].parameters():
        parameter.data.neg_()  # black has large logits; now every image has larger ones, and shares are defined
    before = {k: v.clone() for k, v in net.state_dict().items()}
    (metric,) = name_metrics([parse_spec("evaluate", name)])
    maps = torch.rand(6, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) + 0.01
    mask = maps.roll(3, 1) > 0.6

    def answers():
        return answers_of(net, images, maps, mask=mask, clean=images.flip(2), other=maps.flip(2))

    asked = answers()
    given, counter = images.clone(), Counter(net)
    columns, curves = metric.evaluate(asked)
    counter.handle.remove()
    assert list(columns) == metric.columns
    for figure in columns.values():
        assert figure.shape == (6,) and figure.dtype == np.float32 and np.isfinite(figure).all()
    if metric.is_proportion:
        assert {value for figure in columns.values() for value in figure} <= {0.0, 1.0}
    assert {*getattr(metric.function, "better", {})} <= {*getattr(metric.function, "parts", ())}
    assert {key: curve.shape for key, curve in curves.items()} == (
        {metric.label: (6, metric.points(144))} if metric.points(144) else {}
    )
    planned = planned_forwards([metric], 1, 144, facts=costs_of(net))
    assert asked.ask("subject", {}).calls.forwards == 6 * planned
    assert set(counter.sizes) <= {4, 1, 2}  # 1, 2: what looks for layers, which is no question about the rows
    assert torch.equal(images, given) and unchanged(net, before)
    again, _ = metric.evaluate(answers())
    assert all(np.array_equal(columns[key], again[key], equal_nan=True) for key in columns)


def test_all_metrics_and_several_explainers_cost_what_was_planned() -> None:
    net, images = net_and_images()
    metrics = name_metrics(
        [parse_spec("evaluate", name) for name in ("deletion", "insertion", "average-drop", "increase-in-confidence")]
    )
    outer = answers_of(net, images)
    for seed in range(3):
        maps = torch.rand(6, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 0.5
        inner = outer.within({"attribution": maps})
        for metric in metrics:
            metric.evaluate(inner)
    # image and two baselines once; 99 + 99 + 1 for each of three explainers
    assert planned_forwards(metrics, 3, 144) == 3 + 3 * 199
    assert outer.ask("subject", {}).calls.forwards == 6 * planned_forwards(metrics, 3, 144)


QUICK = {
    "square": "square:queries=300",
    "autoattack": "autoattack:steps=20,queries=300",
    "eadl1": "eadl1:max-iterations=20",
    "eaden": "eaden:max-iterations=20",
    "torchattacks-square": "torchattacks-square:n-queries=300",
}
BORROWED = [name for name in names("attack") if isinstance(describe("attack", name).load()(), Borrowed)]


@pytest.mark.parametrize("name", names("attack"))
def test_attacks(name: str) -> None:
    text = QUICK.get(name, name)
    spec = parse_spec("attack", text)
    attack: AnyAttack = spec.method.load()(**spec.options)
    net = small_net(seed=2, side=12, channels=getattr(attack, "channels", None) or 2, classes=4)
    images = some_images(6, net)
    labels = net(images).argmax(1)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    given, counter = images.clone(), Counter(net)
    done, again = (attacked(text, net, images, labels) for _ in range(2))
    counter.handle.remove()
    assert name in BORROWED or set(counter.sizes) == {4}
    assert torch.equal(done.images, again.images) and torch.equal(done.logits, again.logits)
    assert done.images.shape == images.shape and done.images.isfinite().all()
    assert done.images.min() >= 0 and done.images.max() <= 1
    if attack.eps is not None:
        assert (done.distance <= attack.eps + 1e-12).all()
    assert torch.equal(images, given) and not images.requires_grad and unchanged(net, before)


@pytest.mark.parametrize("name", [name for name in names("attack") if name not in BORROWED])
def test_attacks_on_rows_that_nothing_breaks_cost_what_was_planned(name: str) -> None:
    net, images = net_and_images()
    net.network[-1].bias.data += torch.tensor([1e4, 0.0, 0.0])
    spec = parse_spec("attack", QUICK.get(name, name))
    attack: Search | Series = spec.method.load()(**spec.options)
    calls = Calls(net, batch_size=4)
    done = Engine(attack, calls, Stream(0, "attack", (0, 1, 2, 3))).run(images[:4], torch.zeros(4, dtype=torch.int64))
    steps = sum(stage.search.steps * stage.search.tries(3) for stage in stages_of(attack))
    assert not done.success.any() and done.steps.tolist() == [steps] * 4
    assert calls.forwards == 4 * forwards_of(attack, 3)


@pytest.mark.parametrize("name", BORROWED)
def test_borrowed_attacks_cost_at_most_what_was_planned(name: str) -> None:
    text = QUICK.get(name, name)
    spec = parse_spec("attack", text)
    attack: Borrowed = spec.method.load()(**spec.options)
    net = small_net(seed=2, side=12, channels=attack.channels or 2, classes=4)
    net.network[-1].bias.data += torch.tensor([20.0, 0.0, 0.0, 0.0])
    counter = Counter(net)
    done = attacked(text, net, some_images(1, net), torch.zeros(1, dtype=torch.int64))
    verdicts, padded = divmod(sum(counter.sizes) - int(done.steps.sum()), 4)  # and the clean image, in whole batches
    assert padded == 0 and done.steps.item() + verdicts <= most_forwards(attack, net.shape, 4)


@pytest.mark.parametrize("name", names("generate"))
def test_generators(name: str, files, call, here, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    own = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda self, x: (asked.append(len(x)), own(self, x))[1])
    common = ("--per-class", "1", "--classes", "0,1,2", "--batch-size", "4")
    once = call("generate", files.checkpoint, "-g", f"{name}:steps=3", *common, "-o", "made.h5").record
    assert {size for size in asked if size not in (1, 2)} == {4}  # 1, 2: what looks for layers
    again = call("generate", files.checkpoint, "-g", f"{name}:steps=3", *common, "-o", "again.h5").record
    assert (again["id"], again["kind"], again["failed"]) == (once["id"], "images", 0)
    store = xaicli.open_store("made.h5")
    images, loss, steps = store["data"][:], store["loss"][:], store["steps"][:]
    assert (
        images.shape[1:] == (1, 32, 32)
        and images.min() >= 0
        and images.max() <= (255 if images.dtype.kind == "u" else 1)
    )
    assert np.isfinite(store["score"][:]).all() and steps.max() <= 3
    assert (np.isfinite(loss).sum(1) == steps + 1).all()
