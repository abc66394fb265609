"""The command `celljury report`."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import suppress
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celljury.terminal import clear_errors, progress_of

if TYPE_CHECKING:
    from celljury.progress import Progress
    from celljury.report.make import Report
    from celljury.run import Run

EXAMPLES = (
    "Examples: [bold]celljury report run[/bold]; [bold]celljury report run --level cell_class --level term --donor donor"
    " --condition disease[/bold]; [bold]celljury report run --truth cell_type --open[/bold]"
)

Column = str | None


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    level: Annotated[
        list[str] | None,
        typer.Option(
            "--level",
            help="cell_class, cell_subclass, term (each called term), depth:N, subset:NAME, or a file of ids; may be given"
            " again. The first is the first page's.",
            show_default="cell_class, cell_subclass, term",
        ),
    ] = None,
    calls: Annotated[
        str,
        typer.Option(
            help="What is counted: calls, final (with curators' decisions), or auto: final where it is there."
        ),
    ] = "auto",
    sample: Annotated[Column, typer.Option(help="Column with samples.", show_default="the run's own batches")] = None,
    donor: Annotated[Column, typer.Option(help="Column with donors: fractions are averaged over them.")] = None,
    condition: Annotated[Column, typer.Option(help="Column with conditions, such as disease.")] = None,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="A further column to divide the cells by; may be given again.")
    ] = None,
    query: Annotated[
        Path | None, typer.Option(help="File with these columns.", show_default="RUN/query.celljury.h5ad")
    ] = None,
    truth: Annotated[Column, typer.Option(help="Column with the known types: errors and confusion tables.")] = None,
    label_map: Annotated[
        Path | None, typer.Option("--map", help="SSSOM table for known types that are no names of the ontology.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write.", show_default="RUN")] = None,
    formats: Annotated[str, typer.Option("--format", help="Of the tables, with commas.")] = "tsv,xlsx,tex,html",
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw nothing: faster.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")] = False,
) -> None:
    """Write report.html: labels by level, sample and donor, how sure, what needs review, and text for a paper."""
    if calls not in ("auto", "calls", "final"):
        message = f"--calls: expected auto, calls or final, got {calls!r}"
        raise typer.BadParameter(message)
    if label_map is not None and truth is None:
        message = "--map: only with --truth, whose labels it maps"
        raise typer.BadParameter(message)
    with clear_errors(), progress_of(quiet=as_json) as progress:
        from celljury.report.levels import DEFAULT_LEVELS
        from celljury.report.make import check_report, make_report
        from celljury.run import Run

        opened, levels = Run.open(run), tuple(level or DEFAULT_LEVELS)
        wanted = tuple(dict.fromkeys(name.strip() for name in formats.split(",") if name.strip()))
        check_report(opened, levels=levels, formats=wanted)
        evaluation = None
        if truth is not None:
            evaluation = _evaluated(opened, out or run, truth=truth, donor=donor, query=query, label_map=label_map,
                                    progress=progress)  # fmt: skip
        made = make_report(
            opened, levels=levels, calls=calls, sample=sample, donor=donor, condition=condition,  # type: ignore[arg-type]
            by=tuple(by or ()), query=query, truth=truth, label_map=label_map, evaluation=evaluation, out=out,
            formats=wanted, figures=not no_figures, progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps(outcome(made, run)))
    else:
        print("\n".join(["", *lines(made, run)]))
    if open_:
        import webbrowser

        if not webbrowser.open(made.page.resolve().as_uri()):
            print(f"no browser was found: {made.page} is the page, open it yourself", file=sys.stderr)


def _evaluated(
    run: Run, folder: Path, *, truth: str, donor: str | None, query: Path | None, label_map: Path | None,
    progress: Progress,
) -> Path:  # fmt: skip
    """Return the folder of an evaluation against these types: the run's where it is of them and not older, else a new one."""
    from celljury.evaluate import evaluate

    at = run.folder / "evaluation" / "evaluation.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(at.read_text(encoding="utf-8"))
        over = "donors" if donor is not None else "cells"
        if (
            found["truth"]["column"] == truth
            and found["made"] >= run.record["ended"]
            and found["intervals"]["over"] == over
        ):
            return at.parent
    progress("set calls against known types", 0, 1)
    made = evaluate(run, truth=truth, donor=donor, query=query, label_map=label_map, out=folder / "evaluation")
    progress("set calls against known types", 1, 1)
    return made.folder


def lines(made: Report, run: Path) -> list[str]:
    """Return the first page in few lines, and where the files are."""
    from celljury.report.card_words import warning_lines
    from celljury.report.report_glance import first_lines
    from celljury.run import Run

    warnings = warning_lines(list(made.warnings))
    said = [*warnings, *([""] if warnings else []), *first_lines(made.glance, Run.open(run).record), ""]
    said.append(f"Report: {made.page}")
    said.append(
        f"  {len(made.tables)} tables in {made.folder / 'tables'}, {len(made.figures)} figures in {made.folder / 'figures'};"
    )
    said.append("  methods.md and references.bib for a paper, report.json for programs")
    if made.glance.n_open:
        said.append(f"{made.glance.n_open:,} cells wait for a curator: celljury review {shlex.quote(str(run))}")
    return said


def outcome(made: Report, run: Path) -> dict[str, Any]:
    """Return what was made as plain values."""
    glance = made.glance
    levels = []
    for level, rows in glance.levels:
        found = rows[["term", "label", "n_cells", "n_review"]].to_dict("records")
        labels = [{k: int(v) if str(k).startswith("n_") else v for k, v in row.items()} for row in found]
        levels.append({"level": level.name, "labels": labels})
    return {
        "run": str(run), "page": str(made.page), "n_cells": glance.n_cells, "status": dict(glance.n_by_status),
        "n_review": glance.review.n_review, "n_reviewed": glance.review.n_decided, "levels": levels,
        "warnings": list(made.warnings), "tables": [table.name for table in made.tables],
        "figures": [figure.name for figure in made.figures], "written": [str(path) for path in made.written],
    }  # fmt: skip
