"""One report command: any artifacts become one page, or one picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from xaicli.attack.figures import figures as attack_metrics
from xaicli.errors import ExistsError, UsageError
from xaicli.explain.figures import figures
from xaicli.files.artifact import Artifact
from xaicli.files.atomic import publish
from xaicli.files.checkpoint import read_meta
from xaicli.files.parents import Parents
from xaicli.files.record import MAP_KINDS, Record, artifact_record
from xaicli.files.sources import Sources
from xaicli.files.store import Store, open_store
from xaicli.generate.figures import figures as generate_metrics
from xaicli.report.attacks import CAPTION, CURVE_CAPTION, attack_facts, attack_picture
from xaicli.report.budget import CAPTION as BUDGETS
from xaicli.report.budget import budget_facts, budget_picture, budgets
from xaicli.report.card import card_table
from xaicli.report.clusters import CAPTION as CLUSTERS
from xaicli.report.clusters import clusterings, gallery, judged_images
from xaicli.report.contact import checkpoints_of, contact_sheet, same_rows, stacked
from xaicli.report.detectors import CAPTION as DETECTORS
from xaicli.report.detectors import detectors_picture
from xaicli.report.explained import explained_images, training_images
from xaicli.report.generated import CAPTION as GENERATED
from xaicli.report.generated import OTHER, generated_picture
from xaicli.report.history import CAPTION as HISTORY
from xaicli.report.history import history_picture
from xaicli.report.page import Section, page
from xaicli.report.pictures import chosen_rows, maps_picture, neighbours_picture
from xaicli.report.reliability import CAPTION as RELIABILITY
from xaicli.report.reliability import reliability_picture
from xaicli.report.risk import CAPTION as RISK
from xaicli.report.risk import risk_picture
from xaicli.report.sheet import png
from xaicli.run.settings import Settings
from xaicli.signatures import show
from xaicli.train.private.statement import statement

DEFAULT = "report.html"
ROWS = 10
EXPLAINED = "The explained class below each image (red: not the true one)"
SAID = "What the model says below each image, UNKNOWN where it refuses to answer (red: wrong)"
DEVIATION = "Maps are means over networks drawn from the model; their standard deviation stands beside them."
SHEET = f"{EXPLAINED}, and its maps."
CAPTIONS = {
    "attributions": f"{EXPLAINED}, and its map.",
    "influence": f"{EXPLAINED}; the map of the most influential units, which are named below it, the strongest first.",
    "representer": f"{EXPLAINED}, then the training images that excite and inhibit it: their classes, and what each "
    "adds to the logit.",
}
SEVERAL = "The true class below each image; below each map the class that its model explains (red: not the true one)."


def report(sources: Sources, settings: Settings) -> Iterator[Record]:
    """Write the page and yield its record."""
    if not sources.artifacts:
        raise UsageError("there is nothing to report on among the sources; name a checkpoint or a store.")
    parents = Parents(sources, settings.parents)
    path = _place(settings)
    alone = path.suffix == ".png"
    sections = _sections(sources.artifacts, parents, settings, histories=not alone)
    said = _pictures_alone(sections) if alone else page("xaicli report", sections).encode()
    if path.exists() and not settings.force and path.read_bytes() != said:
        raise ExistsError(f"'{path}' exists and says something else; choose another -o or add --force.")
    with publish(path) as file:
        file.write(said)
    yield artifact_record(
        kind="report",
        path=str(path),
        id=hashlib.sha256(said).hexdigest(),
        verb="report",
        method="",
        options={},
        rows=len(sections),
        failed=0,
        parents={"sources": [{"id": one.id, "path": str(one.path)} for one in sources.artifacts]},
        metrics={},
    )


def _place(settings: Settings) -> Path:
    output = settings.output or DEFAULT
    path = Path(output)
    return path / DEFAULT if output.endswith("/") or path.is_dir() else path


def _sections(artifacts: Sequence[Artifact], parents: Parents, settings: Settings, *, histories: bool) -> list[Section]:
    """A section for each artifact; maps of the same images are drawn beside each other, in one that comes first.

    histories: draw how each checkpoint was trained.
    """
    with ExitStack() as opened:
        maps = [opened.enter_context(open_store(one.path)) for one in artifacts if one.kind == "attributions"]
        groups = [group for group in same_rows(maps) if len(group) > 1]
        together = {store.id for group in groups for store in group}
        sheets = [_sheet(group, parents, settings) for group in groups]
        together |= set() if histories else {one.id for one in artifacts if one.kind == "checkpoint"}
    each = [
        section
        for one in artifacts
        for section in (_section(one, parents, settings, drawn=one.id in together), *_unknowns(one, parents, settings))
    ]
    return [*_budgets(artifacts), *sheets, *each]


def _unknowns(artifact: Artifact, parents: Parents, settings: Settings) -> Iterator[Section]:
    """What scores say of unknown rows and of refusing them, a picture each."""
    if artifact.kind != "scores":
        return
    with open_store(artifact.path) as store:
        scores = json.loads(store.aggregates()["scores"])
        for title, metric, picture, caption in (
            ("detectors", "open-set", detectors_picture(scores), DETECTORS),
            ("risk and coverage", "selective", risk_picture(scores), RISK),
        ):
            if picture is not None:
                yield Section(f"{artifact.stem}: {title}", _said_of(scores, metric), picture, caption)
        for entry in clusterings(scores):
            facts = {"checkpoint": store.sources[entry["source"]]["checkpoint"], **entry["options"]}
            picture = gallery(store, entry, judged_images(store, parents, settings), settings.limit or ROWS)
            yield Section(f"{artifact.stem}: {entry['metric']}", _shown(facts), picture, CLUSTERS)


def _said_of(scores: Sequence[Mapping[str, Any]], metric: str) -> dict[str, str]:
    """The figures of a metric by name, those of several sources one after the other; those of detectors are drawn."""
    found: dict[str, list[str]] = {}
    for entry in scores:
        own = entry["metric"].partition("@")[0]
        if "detector" not in entry and (own == metric or own.startswith(f"{metric}-")) and entry["value"] is not None:
            factor, unit = (100, " %") if entry["proportion"] else (1, "")
            value, *bounds = (
                f"{factor * entry[key]:.4g}" for key in ("value", "low", "high") if entry[key] is not None
            )
            said = f"{value}{unit} ({' to '.join(bounds)})" if bounds else f"{value}{unit}"
            found.setdefault(entry["metric"], []).append(said)
    return {name: "; ".join(values) for name, values in found.items()}


def _budgets(artifacts: Sequence[Artifact]) -> list[Section]:
    """What privacy has cost, if private models of different epsilon are among the artifacts."""
    found = budgets([read_meta(one.path)[0] for one in artifacts if one.kind == "checkpoint"])
    return [Section("Accuracy against epsilon", budget_facts(found), budget_picture(found), BUDGETS)] if found else []


def _sheet(stores: Sequence[Store], parents: Parents, settings: Settings) -> Section:
    first = stores[0]
    images, rows = explained_images(first, parents, settings), chosen_rows(first, settings.limit or ROWS)
    checkpoints = checkpoints_of(stores)
    methods = {str(store.job["method"]): None for store in stores}
    facts = {"checkpoint": ", ".join(checkpoints), "methods": ", ".join(methods), "images": first.rows}
    caption = _caption(first, SHEET) if len(checkpoints) == 1 else SEVERAL
    return Section("Maps of the same images", facts, contact_sheet(stores, images, rows), caption)


def _caption(store: Store, usual: str) -> str:
    """What stands below a picture; the models that refuse rows say so themselves."""
    caption = usual.replace(EXPLAINED, SAID) if "refused" in store.columns else usual
    return f"{caption} {DEVIATION}" if "deviation" in store.columns else caption


def _pictures_alone(sections: Sequence[Section]) -> bytes:
    pictures = [section.picture for section in sections if section.picture is not None]
    if not pictures:
        raise UsageError("none of these sources is drawn as a picture; name a page with -o FILE.html.")
    return png(stacked(pictures))


def _section(artifact: Artifact, parents: Parents, settings: Settings, *, drawn: bool) -> Section:
    """What an artifact was made by, its figures, and, unless it is drawn elsewhere, the picture of its kind."""
    made = f"{artifact.job.get('verb')} {artifact.job.get('method') or ''}".strip()
    given = dict(artifact.job.get("options") or {})
    options = ", ".join(f"{k}={show(tuple(v) if isinstance(v, list) else v)}" for k, v in given.items())
    facts: dict[str, Any] = {"kind": artifact.kind, "made by": made, "options": options or "none", "id": artifact.id}
    if artifact.kind == "checkpoint":
        meta, _ = read_meta(artifact.path)
        facts |= {"architecture": meta.arch["name"], **_shown(meta.metrics)}
        if meta.privacy is not None:
            facts["privacy"] = " ".join(statement(meta.privacy))
        return Section(artifact.stem, facts, None if drawn else history_picture(meta.history), HISTORY)
    with open_store(artifact.path) as store:
        facts["rows"] = store.rows
        if artifact.job.get("verb") == "attack":
            metrics = attack_metrics(store)
            caption = CAPTION + (CURVE_CAPTION if "security_curve" in metrics else "")
            return Section(artifact.stem, facts | attack_facts(metrics), attack_picture(metrics), caption)
        if store.kind == "scores":
            scores = json.loads(store.aggregates()["scores"])
            table = card_table(store, parents)
            return Section(artifact.stem, facts, reliability_picture(scores), RELIABILITY, table)
        if artifact.job.get("verb") == "generate":
            facts |= _shown(generate_metrics(store))
            caption = GENERATED.get(str(artifact.job["method"]), OTHER)
            return Section(artifact.stem, facts, generated_picture([store], parents, settings), caption)
        if artifact.job.get("verb") == "explain":
            if artifact.job.get("target", "predicted") != "predicted":
                facts["target"] = artifact.job["target"]
            facts |= _shown(figures(store))
        picture = None if drawn else _picture(store, parents, settings.limit or ROWS, settings)
        return Section(artifact.stem, facts, picture, _caption(store, CAPTIONS.get(artifact.kind, "")))


def _picture(store: Store, parents: Parents, most: int, settings: Settings) -> Image.Image | None:
    if store.kind not in CAPTIONS:
        return None
    images = explained_images(store, parents, settings)
    rows = chosen_rows(store, most)
    if store.kind in MAP_KINDS:
        return maps_picture(store, images, rows)
    _, channels, height, width = images(rows[:1]).shape
    return neighbours_picture(store, images, training_images(store, (channels, height, width), parents, settings), rows)


def _shown(metrics: dict[str, Any]) -> dict[str, Any]:
    """Figures as a reader takes them in."""
    return {
        name.replace("_", " "): f"{value:.4g}" if isinstance(value, float) else value for name, value in metrics.items()
    }
