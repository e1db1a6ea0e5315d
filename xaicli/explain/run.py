"""One explain command: every checkpoint with its rows, every method a store, all methods sharing one plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from xaicli.explain.background import Background, background_of
from xaicli.explain.block import Block
from xaicli.explain.explainer import STORAGE
from xaicli.explain.explainer import Explainer as Explainer
from xaicli.explain.figures import figures
from xaicli.explain.quantity import Target, check_quantity, parse_target
from xaicli.explain.queries import EXPLAIN
from xaicli.files.columns import Column, attribution_columns, finding_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.sources import Sources
from xaicli.methods import Spec
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.models.load import load_classifier
from xaicli.run.blocks import Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, gather_cases
from xaicli.run.device import memory_guard, prepare, steady_sums
from xaicli.run.inputs import Rows
from xaicli.run.job import Job, make_job
from xaicli.run.plan import Answers
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.settings import Settings

DEFAULTS = {"target": "predicted", "quantity": "logit", "dtype": "float32"}
TAILS = 32  # passes above a layer that count as one forward, or Ablation-CAM's blocks would be less than a batch


@dataclass(frozen=True)
class Request:
    """What the user asked of `explain`."""

    sources: Sources
    methods: Sequence[Spec]
    data: str | None = None
    target: str = "predicted"
    quantity: str = "logit"
    save_inputs: bool = False
    dtype: str = "float32"


def explain(request: Request, settings: Settings) -> Iterator[Record]:
    """Explain and yield one record per store."""
    parents = Parents(request.sources, settings.parents)
    cases = gather_cases(_with_checkpoints(request.sources, parents), parents, request.data, settings)
    yield from produce([_group(case, request, parents, settings) for case in cases], settings)


def _with_checkpoints(sources: Sources, parents: Parents) -> Sources:
    """The sources; stores of features that come alone bring the checkpoints they were made with."""
    if sources.of_kind("checkpoint", "images"):
        return sources
    made = [(str(store.parents.get("checkpoint")), store) for store in sources.of_kind("features")]
    found = {id: parents.find("checkpoint", id, store) for id, store in made}
    return replace(sources, artifacts=[*sources.artifacts, *found.values()])


def _group(case: Case, request: Request, parents: Parents, settings: Settings) -> Group:
    target = parse_target(request.target, case.meta.classes)
    check_quantity(request.quantity, target)

    @cache
    def network() -> Classifier:
        steady_sums()  # before the network is asked anything
        return load_classifier(case.checkpoint.path, arch=settings.arch)

    planned = [_plan(case, spec, request, settings, network) for spec in request.methods]
    explainers = [Explainer(spec, request.dtype) for spec in request.methods]

    def ready() -> Compute:
        device = prepare(settings)
        classifier = load_classifier(case.checkpoint.path, device=device, arch=settings.arch)
        calls = Calls(classifier, batch_size=settings.call_rows)
        features = request.sources.of_kind("features")
        background = background_of(case, parents, settings, calls, features)

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            with memory_guard(settings.call_rows):
                answers = answers_for(rows, calls, target, request.quantity, settings.seed, background)
                results = {}
                for number in wanted:
                    columns = explainers[number].columns(answers)
                    if request.save_inputs:
                        columns["data"] = rows.stored
                    results[number] = Result(columns)
                return results

        return compute

    names = ", ".join(spec.name for spec in request.methods)
    return Group(case.inputs, planned, ready, f"explain {case.stem} ({names})")


def _plan(case: Case, spec: Spec, request: Request, settings: Settings, network: Callable[[], Classifier]) -> Planned:
    explainer = Explainer(spec)
    height, width = case.meta.shape[1:]
    channels = lambda layer: find_layer(network(), layer).channels  # noqa: E731
    forwards = explainer.forwards(height * width, channels)
    block = auto_block(explainer.forwards(height * width, channels, tails=TAILS), settings.block)
    job = _job(case, explainer, request, settings, block)
    layout = StoreLayout(
        kind=explainer.kind,
        job=job.document,
        history=(*case.lineage, job.document),
        rows=len(case.inputs),
        block=block,
        columns=_columns(case, explainer, request, network),
        attributes={"classes": list(case.meta.classes), "forwards": forwards, **_attributes(case, explainer, request)},
    )
    return Planned(job, f"{case.stem}.{spec.name}", layout, forwards, case.record_parents, metrics=figures)


def _job(case: Case, explainer: Explainer, request: Request, settings: Settings, block: int) -> Job:
    extra: dict[str, Any] = {"save_inputs": request.save_inputs}
    if explainer.has_target:
        extra |= {"target": request.target, "quantity": request.quantity}
    if explainer.has_maps:
        extra["dtype"] = request.dtype
    defaults = {name: value for name, value in DEFAULTS.items() if name in extra}
    return make_job("explain", explainer.spec, case.job_parents, settings, block=block, extra=extra, defaults=defaults)


def _columns(
    case: Case, explainer: Explainer, request: Request, network: Callable[[], Classifier]
) -> tuple[Column, ...]:
    dataset, classes = case.inputs.dataset, len(case.meta.classes)
    inputs = (dataset.shape, case.inputs.load(0, 1).stored.dtype.str) if request.save_inputs else None
    shared: dict[str, Any] = {"classes": classes, "key_length": case.inputs.longest_key, "inputs": inputs}
    extra = explainer.figures(case.meta.shape, network)
    if not explainer.has_maps:
        return finding_columns(**shared, explained=explainer.has_target, extra=extra)
    return attribution_columns(
        **shared,
        shape=(explainer.channels(case.meta.shape[0]), *case.meta.shape[1:]),
        dtype=STORAGE[request.dtype],
        completeness=explainer.promises_sum,
        extra=extra,
    )


def _attributes(case: Case, explainer: Explainer, request: Request) -> dict[str, Any]:
    """What a reader of this kind of store has to know; `training`: the data whose rows representer points are."""
    found: dict[str, Any] = {"quantity": request.quantity} if explainer.has_target else {}
    if explainer.has_maps:
        found["reduce"] = explainer.reduce
    if explainer.kind == "representer":
        data = dict(case.meta.data or {})
        found["training"] = {"name": data.get("name"), "split": "train", "digest": data.get("digest")}
    return found


def answers_for(
    rows: Rows, calls: Calls, target: Target, quantity: str, seed: int, background: Background | None = None
) -> Answers:
    """The planner's answers for some rows; queries are asked when the first method needs them."""
    images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
    labels = torch.as_tensor(rows.labels).to(calls.device)
    block = Block(calls, images, labels, target, quantity, background or Background())
    return Answers(EXPLAIN, {"block": block}, seed=seed, index=tuple(int(number) for number in rows.index))
