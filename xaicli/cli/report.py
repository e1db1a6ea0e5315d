"""`xaicli report`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from xaicli.cli.options import Looking, command
from xaicli.cli.output import emit_all
from xaicli.errors import UsageError

EXAMPLES = """
xaicli report maps/*.h5 -o maps.html
xaicli report maps/*.h5 -n 6 -o contact-sheet.png
xaicli explain m.safetensors -m representer -m influence | xaicli report - -o why.html
xaicli report m.safetensors m.representer.h5 -n 30
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    command(app, "report", examples=EXAMPLES, rich_help_panel="Helpers")(report)


def report(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Any artifacts, or - for records.")],
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.html|FILE.png|DIR/",
            help="The page, or its pictures alone; report.html by default.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", min=1, metavar="N", help="Rows that a picture shows; 10 by default.")
    ] = None,
    *,
    looking: Looking,
) -> int:
    """Show artifacts on one self-contained page: figures, maps, experts, and the training images behind a decision."""
    if output == "-":
        raise UsageError("a report is a page for a browser; name a file with -o.")
    from xaicli.files.sources import gather

    found = gather(sources)
    from xaicli.report.run import report

    return emit_all(report(found, replace(looking.settings, output=output, limit=limit)))
