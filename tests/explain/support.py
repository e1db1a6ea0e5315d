"""Which attribution methods explain which families of networks: the table in the README, made by asking all of all.

    python -m tests.explain.support            prints the table, and says on stderr why the rest is refused
    python -m tests.explain.support --write    puts it into the README

A method that ends in any other way than by maps or by an error of ours is a fault, and ends this with 1.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.models.families import FAMILIES, lively
from tests.nets import classify, explain_answers, some_images
from xaicli.errors import XaicliError
from xaicli.explain.explainer import Explainer
from xaicli.methods import describe, names
from xaicli.models.classifier import Classifier
from xaicli.models.layers import look
from xaicli.specs import Spec, parse_spec

README = Path(__file__).parents[2] / "README.md"
START, END = "<!-- families -->\n", "<!-- /families -->"
# Enough to see that a method runs, whatever it would find with more.
SMALL = {
    "n": 2,
    "steps": 3,
    "samples": 6,
    "background": 2,
    "windows": 2,
    "masks": 4,
    "segments": 4,
    "evaluations": 8,
    "permutations": 1,
    "experts": 2,
}


@dataclass(frozen=True)
class Outcome:
    """How a method ended on a family: with maps, refused with an exit code, or as it never should (code 1)."""

    code: int
    reason: str = ""


Codes = Mapping[str, Mapping[str, int]]  # family -> method -> exit code


def small(name: str, net: Classifier) -> Spec:
    """A method with options that make it quick; one that asks about every channel of a layer gets a narrow one."""
    known = {option.key for option in describe("explain", name).options}
    chosen = {key: str(value) for key, value in SMALL.items() if key in known}
    explainer = Explainer(parse_spec("explain", name))
    layers = look(net).spatial
    if layers and explainer.forwards(4, lambda _: 2) > explainer.forwards(4, lambda _: 1):
        chosen["layer"] = min(layers, key=lambda layer: layer.channels).name
    return parse_spec("explain", name, chosen)


def outcome(name: str, net: Classifier) -> Outcome:
    """Explain an image by one method."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            explainer = Explainer(small(name, net))
            columns = explainer.columns(explain_answers(net, some_images(1, net), batch_size=1))
    except XaicliError as error:
        return Outcome(error.exit_code, str(error))
    except Exception as error:
        return Outcome(1, f"{type(error).__name__}: {error}")
    if np.any(columns["status"] != 1):
        return Outcome(1, f"rows have the status {columns['status'].tolist()}")
    return Outcome(0)


def network(family: str) -> Classifier:
    """A lively network of the family, in the precision that users have."""
    built, side = lively(family)
    return classify(built, (3, side, side), 5, torch.float32)


def asked(families: Iterable[str]) -> dict[str, dict[str, Outcome]]:
    """Every method on these families."""
    found: dict[str, dict[str, Outcome]] = {}
    for family in families:
        net = network(family)
        found[family] = {name: outcome(name, net) for name in names("explain")}
        for name, ended in found[family].items():
            if ended.code:
                print(f"{family} {name} {ended.code}: {ended.reason}", file=sys.stderr, flush=True)
    return found


def table(codes: Codes) -> str:
    """Methods that the same families support under one letter, and a row for each family."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in next(iter(codes.values())):
        groups.setdefault(tuple(row[name] for row in codes.values()), []).append(name)
    letters = [chr(ord("A") + number) for number in range(len(groups))]
    lines = [
        f"* **{letter}**: {', '.join(f'`{name}`' for name in group)}"
        for letter, group in zip(letters, groups.values(), strict=True)
    ]
    lines += ["", f"| network | {' | '.join(letters)} |", "|---" * (len(groups) + 1) + "|"]
    for number, family in enumerate(codes):
        cells = " | ".join("yes" if column[number] == 0 else str(column[number]) for column in groups)
        lines.append(f"| `{family}` | {cells} |")
    return "\n".join(lines) + "\n"


def read(text: str) -> dict[str, dict[str, int]]:
    """The codes that such a table says."""
    groups = {
        letter: re.findall(r"`([^`]+)`", listed) for letter, listed in re.findall(r"^\* \*\*(.)\*\*: (.*)$", text, re.M)
    }
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.M)
    return {
        family: {
            name: 0 if cell == "yes" else int(cell)
            for (_, group), cell in zip(groups.items(), cells.split(" | "), strict=True)
            for name in group
        }
        for family, cells in rows
    }


def main() -> int:
    """Ask, print and, if wished, write; the exit code."""
    torch.set_num_threads(1)
    found = asked(FAMILIES)
    if any(ended.code == 1 for row in found.values() for ended in row.values()):
        return 1
    made = table({family: {name: ended.code for name, ended in row.items()} for family, row in found.items()})
    if "--write" in sys.argv[1:]:
        before, rest = README.read_text(encoding="utf-8").split(START)
        README.write_text(before + START + made + END + rest.split(END)[1], encoding="utf-8")
    else:
        sys.stdout.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
