"""What a metric's page says beside its docstring: direction, quantity, baseline, and what it asks of the model.

All of it is read from the code with `ast`, as methods are, so that nothing is imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from xaicli.evaluate.direction import Better, better
from xaicli.methods import Method
from xaicli.signatures import definition, show

FOLDER = Path(__file__).parent.parent / "evaluate"
OWN = {"attribution", "signed", "explainer", "explainers", "other"}  # roots of which every explainer has its own
NEEDS = {
    "mask": "object masks",
    "labels": "true classes",
    "clean": "the images before the attack, or those that generated ones began from",
    "judge": "another checkpoint of the same classes, with --judge",
    "reached": "what the generation reached",
    "best": "the training images that drive the most what was driven",
    "company": "the data that the model was trained on",
    "held_out": "images of the model's training data that were held out",
    "trained": "which images the model was trained on, and as what",
    "explainers": "the explainers themselves, which are asked again",
    "other": "the maps of a second explainer or checkpoint",
}


@dataclass(frozen=True)
class Question:
    """A query that calls the model."""

    query: str
    what: str
    forwards: str  # a row, where that is a plain number or formula
    shared: bool  # by all explainers


@dataclass(frozen=True)
class MetricPage:
    """What there is to know of a metric before it is used."""

    better: Better
    quantity: str | None
    baseline: str | None
    needs: tuple[str, ...]
    asks: tuple[Question, ...]

    @property
    def record(self) -> dict[str, object]:
        """Fields of the metric's record."""
        asks = [{**asdict(question), "forwards": question.forwards or None} for question in self.asks]
        named = {"better": self.better, "quantity": self.quantity, "baseline": self.baseline}
        return {**named, "needs": list(self.needs), "asks": asks}

    @property
    def lines(self) -> Iterator[str]:
        """The page's lines."""
        yield f"Better    {self.better}"
        if self.quantity:
            yield f"Quantity  {self.quantity}"
        if self.baseline:
            yield f"Baseline  {self.baseline}"
        if self.needs:
            yield f"Needs     {', '.join(self.needs)}"
        if not self.asks:
            yield "It asks nothing of the model."
            return
        yield "It asks the model for the following; what other metrics ask for, too, is asked once."
        for one in self.asks:
            whose = "once for all explainers" if one.shared else "for each explainer"
            cost = f", forwards a row: {one.forwards}" if one.forwards else ""
            yield f"  {one.query} ({whose}{cost})"
            yield f"    {one.what}"


def metric_page(method: Method) -> MetricPage:
    """The page of a metric; of a third party's, what its signature and docstring say."""
    queries = _queries()
    below = _below(method.queries, queries)
    defaults = {option.name: show(option.default) for option in method.options}
    quantity = defaults.get("quantity") or defaults.get("score") or (None if method.plugin else _fixed_quantity(method))
    if quantity is None and "masked" in below:
        quantity = "probability"
    asks = tuple(
        Question(name, _first_line(queries[name]), cost, not OWN & {*_below(_needs(queries[name]), queries)})
        for name in below
        if name in queries and (cost := _forwards(queries[name])) is not None
    )
    needs = tuple(text for root, text in NEEDS.items() if root in below)
    return MetricPage(better(method.summary), quantity, defaults.get("baseline"), needs, asks)


@cache
def _queries() -> dict[str, ast.FunctionDef]:
    """The functions that the modules of the evaluation list as their QUERIES."""
    found: dict[str, ast.FunctionDef] = {}
    for path in sorted(FOLDER.glob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        listed = {
            name.id
            for node in body
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["QUERIES"]
            for name in ast.walk(node.value)
            if isinstance(name, ast.Name)
        }
        found |= {node.name: node for node in body if isinstance(node, ast.FunctionDef) and node.name in listed}
    return found


def _needs(node: ast.FunctionDef) -> tuple[str, ...]:
    return tuple(argument.arg for argument in [*node.args.posonlyargs, *node.args.args])


def _below(needs: tuple[str, ...], queries: Mapping[str, ast.FunctionDef]) -> list[str]:
    """All queries and roots that these rest on, each once, after what it rests on itself."""
    found: list[str] = []
    for need in needs:
        inner = _below(_needs(queries[need]), queries) if need in queries else []
        found += [name for name in (*inner, need) if name not in found]
    return found


def _forwards(node: ast.FunctionDef) -> str | None:
    """The cost that a query declares; empty where it is no plain formula, None if the query costs nothing."""
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "forwards":
            cost = mark.args[0]
            cost = cost.body if isinstance(cost, ast.Lambda) else cost
            plain = isinstance(cost, ast.Constant | ast.BinOp) or isinstance(mark.args[0], ast.Lambda)
            calls = [ast.unparse(call.func) for call in ast.walk(cost) if isinstance(call, ast.Call)]
            return ast.unparse(cost) if plain and {*calls} <= {"min", "max", "len"} else ""
    return None


def _fixed_quantity(method: Method) -> str | None:
    """The quantity that `@reports` names."""
    module, function = method.target.split(":")
    node = definition(FOLDER.parent / Path(*module.split(".")).with_suffix(".py"), function)
    for mark in node.decorator_list:
        for keyword in mark.keywords if isinstance(mark, ast.Call) else ():
            if keyword.arg == "quantity":
                return str(ast.literal_eval(keyword.value))
    return None


def _first_line(node: ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]
