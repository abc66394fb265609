"""The command that writes a run for archives and other programs: `celljury export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any, get_args

import typer

from celljury.terminal import clear_errors, progress_of


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    to: Annotated[str, typer.Option(help="cellxgene, cas, h5ad or h5mu.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    query: Annotated[
        Path | None, typer.Option(help="File with the run's cells.", show_default="the query that the run names")
    ] = None,
    calls: Annotated[
        str, typer.Option(help="calls, final (curators' decisions over them), or auto: final where applied.")
    ] = "auto",
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Check what archives ask for (cellxgene, cas).")
    ] = True,
    validator: Annotated[
        Path | None,
        typer.Option(
            help="The archive's validator, or the virtual environment it is in.",
            show_default="cellxgene-schema on PATH",
        ),
    ] = None,
    author: Annotated[str, typer.Option(help="cas: first and last name of the first author.", show_default=False)] = "",
    title: Annotated[str, typer.Option(help="cas: title of the data set.", show_default=False)] = "",
    url: Annotated[str, typer.Option(help="cas: where the annotation will be published.", show_default=False)] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")] = False,
) -> None:
    """Write a run for CELLxGENE, as Cell Annotation Schema, or as h5ad or h5mu with the calls as columns.

    Exit status 1 also where the file is written but the archive would not take it as it is; --no-check leaves that out.
    """
    with clear_errors(), progress_of(quiet=as_json) as progress:
        from celljury.export.cas import Publication
        from celljury.export.make import Target, export_run, exported_json, exported_lines
        from celljury.export.run_columns import Which
        from celljury.run import Run

        target: Any = _one_of(to, get_args(Target), "--to")
        which: Any = _one_of(calls, get_args(Which), "--calls")
        _only_with_cas(target, {"--author": author, "--title": title, "--url": url})
        made = export_run(
            Run.open(run), to=target, out=out, query=query, calls=which, check=check, validator=validator,
            about=Publication(author, title, url), overwrite=overwrite, progress=progress,
        )  # fmt: skip
    print(json.dumps(exported_json(made)) if as_json else "\n".join(exported_lines(made)))
    if not made.taken:
        if not as_json:
            print(f"{out} is written, but the archive would not take it as it is.", file=sys.stderr)
        raise typer.Exit(1)


def _one_of(value: str, allowed: tuple[str, ...], option: str) -> str:
    if value not in allowed:
        message = f"{option} {value}: expected {', '.join(allowed)}"
        raise typer.BadParameter(message)
    return value


def _only_with_cas(to: str, given: dict[str, str]) -> None:
    idle = [name for name, value in given.items() if value]
    if idle and to != "cas":
        message = f"{', '.join(idle)}: only with --to cas; the archive takes the query's own fields"
        raise typer.BadParameter(message)
