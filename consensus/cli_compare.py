"""The command that sets two runs side by side: `celljury compare`."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from celljury.terminal import clear_errors, progress_of


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of the run that was.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of the run that is.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables.", show_default="RUN_B/compare/NAME_OF_A")
    ] = None,
    calls: Annotated[
        str, typer.Option(help="calls, final (with curators' decisions), or auto: final where there is one.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison in --out.")] = False,
) -> None:
    """Say what changed between two runs over the same cells, cell by cell and term by term, and why."""
    if calls not in ("auto", "calls", "final"):
        message = f"--calls: expected auto, calls or final, got {calls!r}"
        raise typer.BadParameter(message)
    with clear_errors(), progress_of(quiet=as_json) as progress:
        from celljury.compare import compare_runs
        from celljury.compare.lines import summary_lines

        found = compare_runs(run_a, run_b, out=out, calls=calls, overwrite=overwrite, progress=progress)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(found.as_dict(), default=str))
        return
    print("\n".join(["", *summary_lines(found), "", "Written:", *(f"  {path}" for path in found.written)]))
