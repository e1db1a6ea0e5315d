"""What a page says of attacked images: figures with intervals, verdicts on the attack, and a picture by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from xaicli.report.comparison import FOOLED, HELD, INK
from xaicli.report.figure import blank, drawn

CAPTION = "Accuracy by class: on clean images (pale) and under attack (full, with its 95 % interval)."
CURVE_CAPTION = " Left of it, what is held at each radius."
UNCHECKED = "not asked for: attack again with --sanity before you trust these figures"
MOST_CLASSES = 40  # bars that can be told apart
PALE = "#bfd8d2"


def attack_facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The figures of an attack's record as a reader takes them in; a failed check is not to be overlooked."""
    facts = {}
    for name, interval in metrics.get("intervals", {}).items():
        facts[name.replace("_", " ")] = _percent(metrics[name], interval)
    if "protocol" in metrics:
        protocol = metrics["protocol"]
        facts["protocol"] = (
            f"{protocol['name']} ({'official' if protocol['official'] else 'changed'}), {protocol['hash']}"
        )
        facts["rows broken by"] = ", ".join(f"{name} {count}" for name, count in metrics["broken_by"].items())
    for point in metrics.get("security_curve", ()):
        facts[f"robust accuracy at {point['eps']:.4g}"] = _percent(point["robust_accuracy"], point["interval"])
    for id, found in metrics.get("transfer", {}).items():
        facts[f"success rate on {id[:12]}"] = _percent(found["success_rate"], found["interval"])
    for check, found in metrics.get("sanity", {}).items():
        said = {True: "passed", False: "FAILED", None: "not known"}[found["passed"]]
        facts[f"sanity: {check}"] = f"{said} ({found['value']:.3g}). {found['means']}"
    return facts if metrics.get("sanity") else {**facts, "sanity": UNCHECKED}


def attack_picture(metrics: Mapping[str, Any]) -> Image.Image | None:
    """Bars by class and, of several radii, the security curve; None where there are too many classes to be drawn."""
    classes, curve = metrics.get("per_class", {}), metrics.get("security_curve", ())
    parts = [part for part, wanted in (("curve", curve), ("classes", 0 < len(classes) <= MOST_CLASSES)) if wanted]
    if not parts:
        return None
    figure = blank(1.5 + 4.5 * len(parts), 3.2)
    for place, part in enumerate(parts, 1):
        axes = figure.add_subplot(1, len(parts), place)
        _draw_curve(axes, curve) if part == "curve" else _draw_classes(axes, classes)
        axes.set_ylim(0, 1)
    return drawn(figure)


def _draw_classes(axes: Any, classes: Mapping[str, Mapping[str, Any]]) -> None:
    places = range(len(classes))
    axes.bar(places, [one["clean_accuracy"] for one in classes.values()], color=PALE, width=0.8)
    axes.bar(places, [one["robust_accuracy"] for one in classes.values()], color=HELD, width=0.5)
    for place, one in enumerate(classes.values()):
        if one["interval"]:
            axes.plot([place, place], one["interval"], color=INK, linewidth=1)
    axes.set_xticks(places, classes, rotation=90 if max(map(len, classes)) > 2 else 0)
    axes.set_ylabel("accuracy")


def _draw_curve(axes: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    radii = [point["eps"] for point in curve]
    axes.plot(radii, [point["robust_accuracy"] for point in curve], color=FOOLED, marker="o", markersize=4)
    bounded = [point for point in curve if point["interval"]]
    low, high = ([point["interval"][end] for point in bounded] for end in (0, 1))
    axes.fill_between([point["eps"] for point in bounded], low, high, color=FOOLED, alpha=0.15, linewidth=0)
    axes.set_xlim(0, max(radii))
    axes.set_xlabel("radius")
    axes.set_ylabel("robust accuracy")


def _percent(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "none"
    bounds = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
    return f"{100 * value:.1f} %{bounds}"
