"""One HTML page that holds everything it shows: no script, no link, no file beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from xaicli.report.sheet import png

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22223b; max-width: 75em; margin: 2em auto; padding: 0 1em }
img { max-width: 100%; height: auto } figure { margin: 1em 0 } figcaption { color: #4a4e69 }
th { text-align: left; font-weight: 500; padding-right: 1.5em; vertical-align: top } td { overflow-wrap: anywhere }
.card { margin: 1em 0 } .card td { padding-right: 1.5em }
"""


@dataclass(frozen=True)
class Section:
    """What the page says of one artifact."""

    title: str
    facts: Mapping[str, Any]
    picture: Image.Image | None = None
    caption: str = ""
    table: Sequence[Sequence[str]] = ()
    """Lines of cells, the names of the columns first and that of a line in its first cell."""


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    body = "\n".join(_section(section) for section in sections)
    name = html.escape(title)
    head = f'<meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    rows = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in section.facts.items()
    )
    figure = _table(section.table) if section.table else ""
    if section.picture is not None:
        caption = f"<figcaption>{html.escape(section.caption)}</figcaption>"
        data = base64.b64encode(png(section.picture)).decode()
        figure += f'<figure><img alt="" src="data:image/png;base64,{data}">{caption}</figure>'
    return f"<section>\n<h2>{html.escape(section.title)}</h2>\n<table>\n{rows}\n</table>\n{figure}\n</section>"


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = ([html.escape(cell) for cell in line] for line in lines)
    names = "".join(f"<th>{cell}</th>" for cell in head)
    body = "\n".join(f"<tr><th>{line[0]}</th>{''.join(f'<td>{cell}</td>' for cell in line[1:])}</tr>" for line in rest)
    return f'<table class="card">\n<tr>{names}</tr>\n{body}\n</table>\n'
