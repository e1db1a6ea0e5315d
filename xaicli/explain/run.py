"""One explain command: every checkpoint with its rows, every method a store, all methods sharing one plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch

from xaicli.errors import UsageError
from xaicli.explain.averaged import Draw, averaged, check_draws
from xaicli.explain.background import Background, background_of
from xaicli.explain.block import Block, Scored
from xaicli.explain.explainer import STORAGE
from xaicli.explain.explainer import Explainer as Explainer
from xaicli.explain.figures import figures
from xaicli.explain.model import Judge, Opened, Question, example, refuses_nothing
from xaicli.explain.quantity import REFUSAL, Target, check_quantity, parse_target
from xaicli.explain.queries import EXPLAIN
from xaicli.files.columns import JUDGED, Column, attribution_columns, finding_columns
from xaicli.files.layout import StoreLayout
from xaicli.files.parents import Parents
from xaicli.files.record import Record
from xaicli.files.sources import Sources
from xaicli.models.classifier import Classifier
from xaicli.models.layers import find_layer
from xaicli.run.blocks import Columns, Result, auto_block
from xaicli.run.calls import Calls
from xaicli.run.cases import Case, gather_cases
from xaicli.run.device import memory_guard, prepare
from xaicli.run.inputs import Rows
from xaicli.run.job import Job, make_job
from xaicli.run.plan import Answers
from xaicli.run.posterior import usual_draws
from xaicli.run.produce import Compute, Group, Planned, produce
from xaicli.run.rejection import UNKNOWN
from xaicli.run.settings import Settings
from xaicli.specs import Spec

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
    refusal = target.rule == REFUSAL
    explainers = [Explainer(_resolved(case, spec, refusal), request.dtype) for spec in request.methods]
    questions = [Question(one.spec.draws, refusal and one.has_target) for one in explainers]
    path = case.checkpoint.path
    network = cache(lambda question: example(path, settings, question))
    planned = [
        _plan(case, explainer, question, request, settings, partial(network, question))
        for explainer, question in zip(explainers, questions, strict=True)
    ]

    def ready() -> Compute:
        opened = Opened(path, settings, prepare(settings))
        models = {question: opened.model(question) for question in questions}
        data = background_of(case, parents, settings, models[questions[0]].calls, request.sources.of_kind("features"))
        seen = {question: data.apart() for question in models}
        draws = {question: [Draw(one, data.apart()) for one in model.draws] for question, model in models.items()}

        def answers(rows: Rows, wanted: Sequence[int], question: Question) -> Iterator[tuple[int, Columns]]:
            asked = answers_for(
                rows, models[question].calls, target, request.quantity, settings.seed, seen[question], opened.judge
            )
            if not question.averages:
                yield from ((number, explainers[number].columns(asked)) for number in wanted)
                return
            scored: Scored = asked.ask("prediction", {})
            found = averaged([explainers[number] for number in wanted], asked, scored.target, draws[question])
            yield from ((n, explainers[n].columns(asked, one)) for n, one in zip(wanted, found, strict=True))

        def compute(rows: Rows, wanted: Sequence[int]) -> Mapping[int, Result]:
            more = {"data": rows.stored} if request.save_inputs else {}
            with memory_guard(settings.call_rows):
                return {
                    number: Result({**columns, **more})
                    for question in dict.fromkeys(questions[number] for number in wanted)
                    for number, columns in answers(rows, [n for n in wanted if questions[n] == question], question)
                }

        return compute

    names = ", ".join(spec.name for spec in request.methods)
    return Group(case.inputs, planned, ready, f"explain {case.stem} ({names})")


def _resolved(case: Case, spec: Spec, refusal: bool) -> Spec:
    """The method with the draws that this checkpoint gets; UsageError for what cannot be asked of it."""
    explainer, name, usual = Explainer(spec), case.checkpoint.path.name, usual_draws(case.meta)
    if case.meta.rejection is None and (refusal or explainer.asks_judge):
        raise refuses_nothing(name)
    if refusal and explainer.asks_judge:
        raise UsageError(f"'{spec.name}' is itself about refusals; leave --target {REFUSAL} out.")
    if usual and not explainer.averages:
        if spec.draws:
            raise UsageError(
                f"'{spec.name}' looks into one network, and several have no mean; leave draws={spec.draws} out."
            )
        return replace(spec, draws=0, usual=0)
    found = spec.drawn(usual, name)
    if not refusal:
        check_draws(found.draws)
    return found


def _plan(
    case: Case,
    explainer: Explainer,
    question: Question,
    request: Request,
    settings: Settings,
    network: Callable[[], Classifier],
) -> Planned:
    height, width = case.meta.shape[1:]
    forwards, blocked = (
        _forwards(case, question, partial(explainer.forwards, height * width, _channels(network), tails))
        for tails in (1, TAILS)
    )
    block = auto_block(blocked, settings.block)
    job = _job(case, explainer, request, settings, block)
    layout = StoreLayout(
        kind=explainer.kind,
        job=job.document,
        history=(*case.lineage, job.document),
        rows=len(case.inputs),
        block=block,
        columns=_columns(case, explainer, question, request, network),
        attributes={"forwards": forwards, **_attributes(case, explainer, question, request)},
    )
    return Planned(job, f"{case.stem}.{explainer.spec.name}", layout, forwards, case.record_parents, metrics=figures)


def _channels(network: Callable[[], Classifier]) -> Callable[[str], int]:
    return lambda layer: find_layer(network(), layer).channels


def _forwards(case: Case, question: Question, planned: Callable[..., int]) -> int:
    """Forwards per row of all networks together, those that decide what is refused included."""
    judging = 0 if case.meta.rejection is None else usual_draws(case.meta) or 1
    if question.averages:
        return planned(draws=question.draws) + judging
    return planned() * (question.draws or 1) + judging


def _job(case: Case, explainer: Explainer, request: Request, settings: Settings, block: int) -> Job:
    extra: dict[str, Any] = {"save_inputs": request.save_inputs}
    if explainer.has_target:
        extra |= {"target": request.target, "quantity": request.quantity}
    if explainer.has_maps:
        extra["dtype"] = request.dtype
    defaults = {name: value for name, value in DEFAULTS.items() if name in extra}
    return make_job("explain", explainer.spec, case.job_parents, settings, block=block, extra=extra, defaults=defaults)


def _columns(
    case: Case, explainer: Explainer, question: Question, request: Request, network: Callable[[], Classifier]
) -> tuple[Column, ...]:
    dataset, classes = case.inputs.dataset, len(case.meta.classes) + question.refusal
    inputs = (dataset.shape, case.inputs.load(0, 1).stored.dtype.str) if request.save_inputs else None
    shared: dict[str, Any] = {"classes": classes, "key_length": case.inputs.longest_key, "inputs": inputs}
    judged = () if case.meta.rejection is None else JUDGED
    extra = (*judged, *explainer.figures(case.meta.shape, network, several=question.averages))
    if not explainer.has_maps:
        return finding_columns(**shared, explained=explainer.has_target, extra=extra)
    return attribution_columns(
        **shared,
        shape=(explainer.channels(case.meta.shape[0]), *case.meta.shape[1:]),
        dtype=STORAGE[request.dtype],
        completeness=explainer.promises_sum,
        deviation=question.averages,
        extra=extra,
    )


def _attributes(case: Case, explainer: Explainer, question: Question, request: Request) -> dict[str, Any]:
    """What a reader of this kind of store has to know.

    training: the data whose rows representer points are. known: the classes in the data's own numbering where rows of
    others have no label.
    """
    found: dict[str, Any] = {"classes": [*case.meta.classes, *([UNKNOWN] if question.refusal else [])]}
    if case.inputs.dataset.known:
        found["known"] = list(case.inputs.dataset.known)
    if explainer.has_target:
        found["quantity"] = request.quantity
    if explainer.has_maps:
        found["reduce"] = explainer.reduce
    if explainer.kind == "representer":
        data = dict(case.meta.data or {})
        found["training"] = {"name": data.get("name"), "split": "train", "digest": data.get("digest")}
    return found


def answers_for(
    rows: Rows,
    calls: Calls,
    target: Target,
    quantity: str,
    seed: int,
    background: Background | None = None,
    judge: Judge | None = None,
) -> Answers:
    """The planner's answers for some rows; queries are asked when the first method needs them."""
    images = torch.as_tensor(rows.pixels).to(calls.device, calls.dtype)
    labels = torch.as_tensor(rows.labels).to(calls.device)
    block = Block(calls, images, labels, target, quantity, background or Background(), judge)
    return Answers(EXPLAIN, {"block": block}, seed=seed, index=tuple(int(number) for number in rows.index))
